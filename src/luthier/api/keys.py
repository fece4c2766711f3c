"""Keys of a project: who has which, a new one, one that opens nothing any more."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from luthier.accounts import keys
from luthier.accounts.audit import note
from luthier.accounts.keys import KeyFault, Wanted
from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.pages import After, listed
from luthier.api.platform import Here
from luthier.spec.accounts import Key, MadeKey, NewKey
from luthier.spec.wire import Page

router = APIRouter(prefix="/keys", tags=["Keys"])

Reads = Annotated[Caller, Depends(may("keys.read"))]
Writes = Annotated[Caller, Depends(may("keys.write"))]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("")
def list_keys(caller: Reads, here: Here, limit: Limit = 100, after: After = None) -> Page[Key]:
    """The project's keys, the newest first: what is known of them, not the keys themselves."""
    try:
        found = here.accounts.keys.of(caller.project, limit + 1, after)
    except KeyFault as error:
        raise ApiError(404, str(error), "after", "key_not_found") from error
    return listed([_wire(key) for key in found], limit)


@router.post("")
def create(asked: NewKey, caller: Writes, here: Here, request: Request) -> MadeKey:
    """A new key. `value` is the key itself: it is told this once."""
    if asked.everywhere and not caller.everywhere:
        raise ApiError(403, "Only a key for every project makes another one for every project.", "everywhere", "permission_denied")
    wanted = Wanted(caller.project, asked.role, asked.name, asked.days, asked.everywhere, caller.key or None)
    try:
        known, key = here.accounts.keys.create(wanted)
    except KeyFault as error:
        raise ApiError(400, str(error)) from error
    details = {"role": known.role, "name": known.name, "everywhere": known.everywhere}
    note(here.database, caller, "keys.create", known.id, details, request.state.request_id)
    return MadeKey(**vars(_wire(known)), value=key)


@router.get("/{key}")
def retrieve(key: str, caller: Reads, here: Here) -> Key:
    """What is known of a key."""
    try:
        return _wire(here.accounts.keys.get(key, caller.project))
    except KeyFault as error:
        raise ApiError(404, str(error), "key", "key_not_found") from error


@router.delete("/{key}")
def revoke(key: str, caller: Writes, here: Here, request: Request) -> Key:
    """Let a key open nothing any more, within seconds. What is known of it stays."""
    try:
        revoked = here.accounts.revoke(key, caller.project)
    except KeyFault as error:
        raise ApiError(404, str(error), "key", "key_not_found") from error
    note(here.database, caller, "keys.revoke", key, {}, request.state.request_id)
    return _wire(revoked)


def _wire(key: keys.Key) -> Key:
    return Key(
        id=key.id,
        name=key.name,
        redacted_value=key.hint,
        role=key.role,
        project=key.project,
        everywhere=key.everywhere,
        status=key.status,
        created_by=key.created_by,
        created_at=int(key.created_at),
        expires_at=_seconds(key.expires_at),
        revoked_at=_seconds(key.revoked_at),
        last_used_at=_seconds(key.last_used_at),
    )


def _seconds(at: float | None) -> int | None:
    return int(at) if at is not None else None
