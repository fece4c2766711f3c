"""What a gateway does beside its requests: it answers batches, and removes what has expired."""

import logging
from collections.abc import Iterable

import anyio
from fastapi import APIRouter
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool

from luthier.api.batch_work import BatchWork
from luthier.api.platform import Platform
from luthier.errors import UserError

log = logging.getLogger("luthier.api")

SWEPT_EVERY_S = 600.0


async def upkeep(platform: Platform, routers: Iterable[APIRouter]) -> None:
    """Until it is cancelled. `routers`: those of the endpoints that a batch can ask."""
    async with anyio.create_task_group() as group:
        group.start_soon(BatchWork(platform, routers).run)
        group.start_soon(_sweep, platform)


async def _sweep(platform: Platform) -> None:
    """Uploads and files that have expired, and bytes that a crash has left. Several gateways may do so at once."""
    while True:
        try:
            await run_in_threadpool(platform.uploads.sweep)
            await run_in_threadpool(platform.files.sweep)
        except (UserError, DBAPIError, OSError) as error:
            log.warning("what has expired could not be removed, which is tried again later: %s", error)
        await anyio.sleep(SWEPT_EVERY_S)
