"""An OpenAI account as its API shows it: pages, contents, patience. The key goes into a header and nowhere else."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from luthier.errors import SettingsError, UserError

AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504, 520, 522, 524})
"""Answers after which it is worth asking again."""
ATTEMPTS = 8
LONGEST_WAIT_S, FIRST_WAIT_S, TOLD_FROM_S = 120.0, 0.5, 3.0
TIMEOUT = httpx.Timeout(120.0, connect=20.0)
PAGE = 100
"""Of a list, as many as every one of them gives."""

Told = dict[str, Any]
Say = Callable[[str], None]
Answer = TypeVar("Answer")


class AccountError(UserError):
    """The account cannot be read any further for now: a key that is refused, a server that does not answer."""


class Refused(UserError):
    """One thing that is not handed out. `status`: HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Broken(Exception):
    """A body that came in part."""


class Account:
    """Reads, and changes nothing. `sleep`: waits so many seconds. `say`: told of long waits.

    Raises:
        SettingsError: a URL that is none.
    """

    def __init__(self, base_url: str, key: str, sleep: Callable[[float], None] = time.sleep, say: Say = lambda _: None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise SettingsError(f"`--base-url {parts.scheme}://{parts.hostname}…` is no URL; write one such as https://api.openai.com/v1.")
        self._key, self._sleep, self.say = key, sleep, say
        self._client = httpx.Client(base_url=base_url.rstrip("/"), headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def get(self, path: str, **params: Any) -> Told:
        """One object.

        Raises:
            Refused: it is not there, or not handed out. AccountError: the key is refused, or nobody answers.
        """

        def once() -> Told:
            response = self._client.get(path, params=params)
            self._check(response)
            found = response.json()
            if not isinstance(found, dict):
                raise Broken("what it answers is no JSON object")
            return found

        return self._patiently(once)

    def pages(self, path: str, limit: int = PAGE, **params: Any) -> Iterator[Told]:
        """Every element of a list, page by page. Raises as `get`."""
        after: str | None = None
        while True:
            page = self.get(path, limit=limit, **params, **({"after": after} if after is not None else {}))
            data = [one for one in page.get("data", ()) if isinstance(one, dict)]
            yield from data
            last = page.get("last_id") or (data[-1].get("id") if data else None)
            if not data or not page.get("has_more") or last == after or not isinstance(last, str):
                return
            after = last

    def download(self, path: str, target: Path) -> tuple[str, int]:
        """A content into a file, whole or not at all. Returns its SHA-256 and its bytes. Raises as `get`."""
        partial = target.with_name(f".{target.name}.partial")

        def once() -> tuple[str, int]:
            digest, number = hashlib.sha256(), 0
            with self._client.stream("GET", path) as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    self._check(response)
                with partial.open("wb") as file:
                    for chunk in response.iter_bytes(2**16):
                        file.write(chunk)
                        digest.update(chunk)
                        number += len(chunk)
                    file.flush()
                    os.fsync(file.fileno())
            partial.replace(target)
            return digest.hexdigest(), number

        try:
            return self._patiently(once)
        finally:
            partial.unlink(missing_ok=True)

    def _patiently(self, once: Callable[[], Answer]) -> Answer:
        """Ask, and ask again where that may help, as slowly as the server wants it."""
        why, wait = "", FIRST_WAIT_S
        for attempt in range(ATTEMPTS):
            try:
                return once()
            except _TryAgain as again:
                why, wanted = again.why, again.wait_s
            except (httpx.TransportError, Broken, ValueError) as error:  # ValueError: JSON that breaks off
                why, wanted = self._without_key(f"{type(error).__name__}: {error}"), None
            if attempt + 1 < ATTEMPTS:
                seconds = min(LONGEST_WAIT_S, wanted if wanted is not None else wait)
                wait *= 2
                if seconds >= TOLD_FROM_S:
                    self.say(f"{why}. Waiting {seconds:.0f} s.")
                self._sleep(seconds)
        raise AccountError(
            f"{self._client.base_url.host} was asked {ATTEMPTS} times and could not answer ({why}). "
            f"What was taken is kept: start the same command again later, and it goes on."
        )

    def _check(self, response: httpx.Response) -> None:
        """Raises for all but success."""
        status = response.status_code
        if status == httpx.codes.OK:
            return
        message = self._message(response)
        if status == 401:
            raise AccountError(f"{self._client.base_url.host} refuses the key in OPENAI_API_KEY ({message}). Put one there that may read.")
        if status in AGAIN:
            raise _TryAgain(f"{self._client.base_url.host} answers {status}: {message}", _wait_of(response))
        raise Refused(status, f"{status}: {message}")

    def _message(self, response: httpx.Response) -> str:
        """What the server says; servers repeat keys in it."""
        try:
            said = str(response.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            said = response.text
        return self._without_key(" ".join(said.split()))[:200].rstrip(".") or "nothing"

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "…")


class _TryAgain(Exception):
    """Busy. `wait_s`: as the server wants it."""

    def __init__(self, why: str, wait_s: float | None) -> None:
        super().__init__(why)
        self.why, self.wait_s = why, wait_s


def _wait_of(response: httpx.Response) -> float | None:
    """Seconds that the server asks for."""
    for header, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(response.headers[header]) * factor)
        except (KeyError, ValueError):
            continue
    return None
