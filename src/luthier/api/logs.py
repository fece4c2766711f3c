"""What models were asked and said, where the project has it logged."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from luthier.api.auth import Caller, may
from luthier.api.platform import Here
from luthier.spec.accounts import LogEntry, LogPage

router = APIRouter(prefix="/logs", tags=["Logs"])

Reads = Annotated[Caller, Depends(may("logs.read"))]

LARGEST = 2**31 - 1


@router.get("")
def list_logs(
    caller: Reads,
    here: Here,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=0, le=LARGEST, description="The number before which the page begins.")] = None,
) -> LogPage:
    """The newest first. Nothing is logged unless the project's setting `log_requests` says so."""
    found = here.log.newest(caller.project, limit + 1, before)
    return LogPage(data=[LogEntry(**vars(entry)) for entry in found[:limit]], has_more=len(found) > limit)
