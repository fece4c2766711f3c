"""What goes wrong, in the shape and the words that OpenAI's clients know: always an envelope, never a stack, never another one's shape."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from luthier.api.validation import first_fault
from luthier.errors import UserError
from luthier.store.database import DatabaseError

log = logging.getLogger("luthier.api")

RETRY_AFTER_S = 2
"""Told with what may go well soon."""


class ApiError(Exception):
    """An answer that says what is wrong. `param`: which field, dotted; `code`: for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        type: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.type = status, message, param, code, type
        self.headers = dict(headers or {})


class JsonResponse(JSONResponse):
    """JSON without the numbers that JSON does not have: what is not finite is an error here, never `NaN` on the wire."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def envelope(message: str, type: str = "invalid_request_error", param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The keys in the order that clients were seen to rely on."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


DATABASE_FAILS = "The database could not be written to. Nothing of this was kept. Try again."
"""Where the database is and what it said stands in the log."""


def answer(error: ApiError) -> JsonResponse:
    return JsonResponse(envelope(error.message, error.type, error.param, error.code), error.status, headers=error.headers)


def install(app: FastAPI) -> None:
    """Every foreseen way to fail ends in an envelope; `Envelope` sees to the others."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DatabaseError, _database)
    app.add_exception_handler(OperationalError, _database)
    app.add_exception_handler(UserError, _user_error)


def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return answer(error)


def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fault = first_fault(error.errors())
    return answer(ApiError(400, fault.message, fault.param))


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code == 404:
        message = f"Invalid URL ({request.method} {request.url.path})"
    elif error.status_code == 405:
        message = f"Not allowed to {request.method} on {request.url.path}. Look at /docs for what can be called."
    return answer(ApiError(error.status_code, message, headers=error.headers))


def _database(request: Request, error: Exception) -> Response:
    log.error("%s", error)
    message = DATABASE_FAILS if isinstance(error, DatabaseError) else "The database cannot be read at the moment. Try again."
    return answer(ApiError(503, message, code="database_unavailable", type="server_error", headers={"retry-after": str(RETRY_AFTER_S)}))


def _user_error(request: Request, error: Exception) -> Response:
    return answer(ApiError(400, str(error)))
