"""The record of who did what in a project."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from luthier.accounts.audit import Entry, entries
from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.pages import After, page
from luthier.api.platform import Here

router = APIRouter(prefix="/audit", tags=["Audit"])

Reads = Annotated[Caller, Depends(may("audit.read"))]
PREFIX = "audit_"


@router.get("")
def list_entries(
    caller: Reads,
    here: Here,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: After = None,
    action: Annotated[str | None, Query(description="`files.delete`, or `files` for all that was done with files.")] = None,
    key: Annotated[str | None, Query(description="What was done with this key, by its id.")] = None,
) -> dict[str, Any]:
    """What was done, the newest first."""
    before = _number(after) if after is not None else None
    return page([_wire(entry) for entry in entries(here.database, caller.project, limit + 1, before, action, key)], limit, ends=True)


def _number(after: str) -> int:
    number = after.removeprefix(PREFIX)
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        raise ApiError(400, f"'{after}' is not the id of an entry, such as {PREFIX}12 - 'after'", "after")
    return int(number)


def _wire(entry: Entry) -> dict[str, Any]:
    return {
        "object": "audit.entry",
        "id": f"{PREFIX}{entry.number}",
        "created_at": int(entry.at),
        "project": entry.project,
        "key": entry.key,
        "action": entry.action,
        "subject": entry.subject,
        "details": entry.details,
        "request_id": entry.request,
    }
