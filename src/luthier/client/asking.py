"""One call to the gateway: its address, its key, and what comes back as a type or as a `ClientError`."""

import os
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from luthier.client.errors import ClientError
from luthier.spec.base import Spec
from luthier.spec.wire import Wire

HERE = "http://127.0.0.1:8321"
"""Where `luthier serve` answers if nobody said otherwise."""

ADDRESSES = ("LUTHIER_BASE_URL", "OPENAI_BASE_URL")
"""Variables that say where the gateway is: the one that an old script has serves as well."""

OURS = "lt-"
"""With this keys of gateways begin; one of another service in OPENAI_API_KEY is not sent to them."""

PROJECT = "luthier-project"
TIMEOUT_S = 120.0

Answer = TypeVar("Answer", bound=Wire)


class Asking:
    """The connection. `http`: one of the caller's own, with its headers, proxies and certificates."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        project: str | None = None,
        timeout_s: float = TIMEOUT_S,
        http: httpx.Client | None = None,
    ) -> None:
        address = (base_url or _told(ADDRESSES) or HERE).rstrip("/").removesuffix("/v1").removesuffix("/api")
        key = api_key or (_key() if http is None else None)
        self._headers = {**({"authorization": f"Bearer {key}"} if key else {}), **({PROJECT: project} if project else {})}
        self._address = address if http is None or base_url else ""
        self._own = http is None
        self._http = http or httpx.Client(timeout=timeout_s)

    def ask(
        self,
        answer: type[Answer],
        method: str,
        path: str,
        ids: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Spec | None = None,
    ) -> Answer:
        """Ask and read. `path`: as the interface's page has it, `ids` for its parts in braces. Raises `ClientError`."""
        answered = self.send(method, path, ids, query, body)
        try:
            return answer.model_validate_json(answered.content)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "the whole"
            raise ClientError(
                f"The gateway's answer to {method} {path} is not what this version of the client knows ({where}: {fault['msg']}). "
                f"Use the client of the gateway's own version.",
                answered.status_code,
                request_id=answered.headers.get("x-request-id"),
            ) from error

    def send(
        self,
        method: str,
        path: str,
        ids: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Spec | None = None,
    ) -> httpx.Response:
        """The bare answer of a call that succeeded. Raises `ClientError`."""
        for name, value in (ids or {}).items():
            path = path.replace(f"{{{name}}}", quote(value, safe="") or "-")
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        sent = body.model_dump_json(exclude_unset=True) if body is not None else None
        headers = {**self._headers, **({"content-type": "application/json"} if sent is not None else {})}
        try:
            answered = self._http.request(method, f"{self._address}{path}", params=asked, content=sent, headers=headers)
        except httpx.ReadTimeout as error:
            raise ClientError(f"{method} {path} was not answered in time, and may be done all the same. `timeout_s` gives more.") from error
        except httpx.HTTPError as error:
            where = self._address or "the given connection"
            raise ClientError(f"{where} does not answer ({error}). Is `luthier serve` running there?") from error
        if not answered.is_success:
            raise _refused(answered)
        return answered

    def close(self) -> None:
        """Only what it opened itself."""
        if self._own:
            self._http.close()


def _refused(answered: httpx.Response) -> ClientError:
    """What the gateway says; or, where something else stands at that address, that it does not."""
    number, after = answered.headers.get("x-request-id"), answered.headers.get("retry-after")
    try:
        said = answered.json()["error"]
        message, code, param = str(said["message"]), said.get("code"), said.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, code, param = (
            f"{answered.url} answers {answered.status_code}, and not as a gateway of Luthier does. Check the address.",
            None,
            None,
        )
    seconds = float(after) if after is not None and after.isdecimal() else None
    return ClientError(message, answered.status_code, code, param, number, seconds)


def _told(variables: tuple[str, ...]) -> str | None:
    return next((value for name in variables if (value := os.environ.get(name))), None)


def _key() -> str | None:
    """That the environment has for a gateway, if any."""
    other = os.environ.get("OPENAI_API_KEY", "")
    return os.environ.get("LUTHIER_API_KEY") or (other if other.startswith(OURS) else None)
