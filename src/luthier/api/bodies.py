"""Bodies are bounded, and JSON is JSON: before a route sees one, it is whole, and has been parsed once."""

from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.api.errors import ApiError, answer

MOST_BYTES = 32 * 2**20
"""Of a JSON body. Files come in parts of a form, which their routes read as a stream."""

UNREADABLE = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. "
    "The request should contain valid JSON. {reason})"
)


class SoundBodies:
    """Answers 413 to a body that is too large, and 400 to JSON that is none: cut off, with NaN, or nested too deeply."""

    def __init__(self, app: ASGIApp, most_bytes: int = MOST_BYTES) -> None:
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS") or _is_form(scope):
            await self.app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except ApiError as error:
            await answer(error)(scope, receive, send)
            return
        if body is None:  # the client has left
            return
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Message:
            return next(given, None) or await receive()

        await self.app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body. Raises `ApiError`."""
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size > self.most_bytes:
                raise ApiError(413, f"The body of your request is larger than {self.most_bytes:,} bytes. Send large data as a file.")
            parts.append(part)
            if not message.get("more_body", False):
                break
        body = b"".join(parts)
        if body and _is_json(scope):
            _check(body)
        return body


def _check(body: bytes) -> None:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, UNREADABLE.format(reason=f"{error}.")) from error
    except RecursionError as error:
        raise ApiError(400, UNREADABLE.format(reason="It is nested too deeply.")) from error
    if rb"\u0000" in body and _has_nul(value):
        raise ApiError(400, "A text in the body of your request holds the character U+0000, which cannot be kept. Leave it out.")


def _has_nul(value: Any) -> bool:
    """Whether a text somewhere in it holds the one character that databases refuse."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(one) for key, one in value.items())
    return isinstance(value, list) and any(_has_nul(one) for one in value)


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _is_form(scope: Scope) -> bool:
    return _header(scope, b"content-type").startswith("multipart/")


def _is_json(scope: Scope) -> bool:
    kind = _header(scope, b"content-type").partition(";")[0].strip()
    return kind == "application/json" or kind.endswith("+json")
