"""What goes with every answer: the request's id, how long it took, and which version of the interface this is."""

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.api.errors import ApiError, answer
from luthier.store.ids import new

log = logging.getLogger("luthier.api")

OPENAI_VERSION = "2020-10-01"


class Envelope:
    """Gives each request an id, which clients show and the log names; and an answer to those at which the server itself fails."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, number, status = time.perf_counter(), new("req_", 32), 0
        scope.setdefault("state", {})["request_id"] = number

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = number
                headers["openai-version"] = OPENAI_VERSION
                headers["openai-processing-ms"] = str(round((time.perf_counter() - began) * 1000))
            await send(message)

        try:
            await self.app(scope, receive, told)
        except Exception as error:
            log.error("%s %s %s", number, scope["method"], scope["path"], exc_info=error)
            if status:  # too late to say so: the answer had begun
                raise
            message = f"The server failed at this request. Its log says why, at {number}."
            await answer(ApiError(500, message, code="internal_error", type="server_error"))(scope, receive, told)
        finally:
            seconds = time.perf_counter() - began
            log.info("%s %s %s %d %.3f s", number, scope["method"], scope["path"], status, seconds)
