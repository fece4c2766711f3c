"""The record of who did what in a project."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from luthier.accounts.audit import Entry, entries
from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.pages import After, listed
from luthier.api.platform import Here
from luthier.spec.accounts import AuditEntry
from luthier.spec.wire import Page

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
) -> Page[AuditEntry]:
    """What was done, the newest first."""
    before = _number(after) if after is not None else None
    return listed([_wire(entry) for entry in entries(here.database, caller.project, limit + 1, before, action, key)], limit)


def _number(after: str) -> int:
    number = after.removeprefix(PREFIX)
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        raise ApiError(400, f"'{after}' is not the id of an entry, such as {PREFIX}12 - 'after'", "after")
    return int(number)


def _wire(entry: Entry) -> AuditEntry:
    return AuditEntry(
        id=f"{PREFIX}{entry.number}",
        created_at=int(entry.at),
        project=entry.project,
        key=entry.key,
        action=entry.action,
        subject=entry.subject,
        details=entry.details,
        request_id=entry.request,
    )
