"""Who asks, and whether they may. Every route says what it takes by `may`; one that says nothing fails a test.

Writes = Annotated[Caller, Depends(may("files.write"))]

@router.delete("/{file}")
def delete(file: str, caller: Writes) -> …
"""

from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.accounts.accounts import Accounts, Admitted, KeyRefused, ProjectRefused
from luthier.accounts.keys import shortened
from luthier.accounts.roles import EVERYWHERE, FOR_EVERYWHERE, PERMISSIONS, Caller, allows
from luthier.api.errors import RETRY_AFTER_S, ApiError, answer
from luthier.api.limits import take_request
from luthier.spec.nearest import listed
from luthier.store.database import DatabaseError

__all__ = ["Caller", "Door", "May", "anyone", "may", "permission_of"]

BEHIND = ("/v1/", "/api/")
"""Paths that nobody enters without a key, whatever their routes say."""

PROJECT = "luthier-project"
"""The header by which a key for every project chooses one. OpenAI's own is left alone: old scripts send it, with ids of theirs."""

NONE = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY). You can obtain an API key on the server with:  luthier keys create"
)
WRONG = "Incorrect API key provided: {key}. {why}You can find your API keys on the server with:  luthier keys list"


class May(SecurityBase):
    """A route's dependency: it lets a caller in whose role has the permission, and tells the route who that is."""

    def __init__(self, permission: str) -> None:
        assert permission in PERMISSIONS, f"{permission} is not in the table of accounts/roles.py"
        self.permission = permission
        self.model = HTTPBearer(description="A key of `luthier keys create`. The header `api-key` works, too.")
        self.scheme_name = "key"

    async def __call__(self, request: Request) -> Caller:
        admitted: Admitted = getattr(request.state, "admitted", None) or await admit(request)
        caller = admitted.caller
        if not allows(caller, self.permission):
            raise ApiError(403, _not_allowed(caller, self.permission), code="permission_denied")
        return caller


def may(permission: str) -> May:
    """What a route depends on that takes this permission: one of the table in accounts/roles.py."""
    return May(permission)


async def anyone() -> None:
    """What a route depends on that takes no key: `dependencies=[Depends(anyone)]`."""


def permission_of(dependant: Dependant) -> str | None:
    """What a route takes, by its dependencies: a permission; empty where it is for anyone; None where it does not say."""
    found = [call.permission if isinstance(call, May) else "" for call in _calls(dependant) if isinstance(call, May) or call is anyone]
    assert len(set(found)) <= 1, f"a route takes {found}, and must take one"
    return found[0] if found else None


def _calls(dependant: Dependant) -> Iterator[object]:
    for one in dependant.dependencies:
        yield one.call
        yield from _calls(one)


class Door:
    """Before everything that lies behind a key: whoever has none is sent away before a byte of a body is read.

    Keeps whom it let in as `state.admitted`, and tells with each answer how much the key has left this minute.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(BEHIND):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            _refuse_nul(scope)
            await admit(request)
        except ApiError as error:
            await answer(error)(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(getattr(request.state, "rates", {}))
            await send(message)

        await self.app(scope, receive, told)


def _refuse_nul(scope: Scope) -> None:
    """No id holds a NUL, and PostgreSQL fails at a text that does. Raises `ApiError`."""
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise ApiError(400, "The address of your request holds a NUL character (%00), which no id or value here does. Take it out.")


async def admit(request: Request) -> Admitted:
    """Whom the request's key lets in, its request counted. Raises `ApiError`."""
    key = _given(request)
    if key is None:
        raise _refused(NONE)
    accounts: Accounts = request.app.state.platform.accounts
    try:
        admitted = accounts.remembered(key)
        if admitted is None:
            admitted = await run_in_threadpool(accounts.admit, key)
        if wanted := request.headers.get(PROJECT):
            caller = await run_in_threadpool(accounts.in_project, admitted.caller, wanted)
            admitted = Admitted(caller, admitted.settings, admitted.until)
    except KeyRefused as error:
        raise _refused(WRONG.format(key=shortened(key), why=f"{error} " if str(error) else "")) from error
    except ProjectRefused as error:
        raise ApiError(403, str(error), code="permission_denied") from error
    except DatabaseError as error:
        again = {"retry-after": str(RETRY_AFTER_S)}
        raise ApiError(503, str(error), code="database_unavailable", type="server_error", headers=again) from error
    request.state.admitted = admitted
    take_request(request, admitted)
    return admitted


def _given(request: Request) -> str | None:
    """The key that a request brings, as OpenAI's clients send it, or as Azure's do."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and key.strip():
        return key.strip()
    return request.headers.get("api-key", "").strip() or None


def _refused(message: str) -> ApiError:
    return ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})


def _not_allowed(caller: Caller, permission: str) -> str:
    roles = PERMISSIONS[permission]
    if caller.role in roles and permission in EVERYWHERE:
        of = f"a key for every project, of an {listed(sorted(roles & FOR_EVERYWHERE))}"
        return f"This key is for its own project; {permission} takes {of}. One is made on the server with:  luthier keys create --all"
    return f"The role {caller.role} of this key has no permission {permission}; the roles that do are {listed(sorted(roles), 'and')}."
