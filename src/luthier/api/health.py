"""Whether the gateway is there, whether it can do its work, and how much of it it does: for whoever operates it."""

import logging
import time
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Request
from sqlalchemy.exc import DBAPIError
from starlette.responses import Response

from luthier.accounts.roles import Caller
from luthier.api.auth import anyone, may
from luthier.api.errors import JsonResponse
from luthier.api.figures import CONTENT_TYPE, exposed
from luthier.api.platform import Here, Platform
from luthier.errors import UserError
from luthier.jobs.leases import Leases

log = logging.getLogger("luthier.api")

router = APIRouter(tags=["Operations"])

Reads = Annotated[Caller, Depends(may("metrics.read"))]


@router.get("/healthz", dependencies=[Depends(anyone)])
async def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", dependencies=[Depends(anyone)])
async def ready(here: Here) -> Response:
    """Whether requests can be served: the database and the files can be reached. 503 where not, with what is wrong."""
    began = time.perf_counter()
    faults = await anyio.to_thread.run_sync(_faults, here)
    body: dict[str, Any] = {"status": "ready" if not faults else "not ready", "checked_in_s": round(time.perf_counter() - began, 4)}
    return JsonResponse({**body, **({"faults": faults} if faults else {})}, 503 if faults else 200)


@router.get("/metrics")
async def metrics(caller: Reads, here: Here, request: Request) -> Response:
    """Figures of this gateway, of the sampler process and of the queue, as Prometheus reads them."""
    state = await here.backend.state()
    text = await anyio.to_thread.run_sync(exposed, here, request.app.state.figures, state)
    return Response(text, media_type=CONTENT_TYPE)


def _faults(here: Platform) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        Leases(here.database).working()
    except (UserError, DBAPIError) as error:
        log.error("not ready: %s", error)
        found["database"] = f"The database {here.database} cannot be read at the moment."
    try:
        here.blobs.exists("0" * 64)
    except UserError as error:
        found["files"] = str(error)
    return found
