"""Who answers batches: a task of the gateway, which asks its own routes line by line and keeps each answer as it comes."""

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import anyio
import msgspec
from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message

from luthier.accounts.accounts import Admitted
from luthier.accounts.projects import ProjectSettings
from luthier.accounts.roles import Caller
from luthier.api import errors
from luthier.api.platform import Platform
from luthier.errors import UserError
from luthier.store.batches import LEASE_S, Answer, Batch, Batches, LeaseLost
from luthier.store.blobs import Blob, Chunks
from luthier.store.ids import new

log = logging.getLogger("luthier.api")

AT_ONCE = 16
"""Requests of a batch that are under way together: as many as a sampler draws for at once without making others wait long."""
BATCHES_AT_ONCE = 2
PERIOD_S = 1.0
"""How often it is looked whether there is something to do."""
MOST_REQUESTS = 50_000
MOST_LINE_BYTES = 8 * 2**20
MOST_ERRORS = 100
"""Faults of an input file that are told."""
TRIES = 3
"""Of a request at which the server itself fails."""
LONGEST_WAIT_S = 30.0

EXPIRED = {"code": "batch_expired", "message": "This request could not be executed before the completion window expired."}


@dataclass(frozen=True)
class Line:
    """A request of an input file. `number`: of its line, from 1."""

    number: int
    custom_id: str
    body: dict[str, Any]


@dataclass
class Watched:
    """What a batch's heartbeat has heard. `stop`: cancelling or expired, where it should end early."""

    stop: str | None = None


class BatchWork:
    """`routers`: those of the endpoints that a batch can ask, as they lie under /v1. `pace`: how long its waits are, as a factor."""

    def __init__(self, platform: Platform, routers: Iterable[APIRouter], pace: float = 1.0) -> None:
        self.platform, self.batches = platform, Batches(platform.database, platform.blobs)
        self.period_s, self.beat_s, self.wait_s = PERIOD_S * pace, LEASE_S / 6 * pace, LONGEST_WAIT_S * pace
        self.app: ASGIApp = _inner(platform, routers)

    async def run(self) -> None:
        """Until it is cancelled. A batch under way is then left to whoever comes next."""
        async with anyio.create_task_group() as group:
            for _ in range(BATCHES_AT_ONCE):
                group.start_soon(self._serve)

    async def _serve(self) -> None:
        while True:
            lease, batch = new("", 16), None
            try:
                batch = await run_in_threadpool(self.batches.take, lease)
                if batch is not None:
                    await self._work(batch, lease)
            except LeaseLost:
                log.warning("another gateway goes on with a batch that this one was too slow with")
            except Exception as error:  # a batch that fails must not end the gateway, nor the others
                log.error("%s waits: %s", batch.id if batch is not None else "batches", error, exc_info=not isinstance(error, UserError))
                await anyio.sleep(self.wait_s)
            finally:
                if batch is not None:
                    with anyio.CancelScope(shield=True):
                        await run_in_threadpool(self.batches.let_go, batch.id, lease)
            if batch is None:
                await anyio.sleep(self.period_s)

    async def _work(self, batch: Batch, lease: str) -> None:
        watched = Watched("cancelled" if batch.status == "cancelling" else None)  # that its time is over, its first beat tells
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._beat, batch.id, lease, watched)
                if batch.status == "validating" and not await self._validate(batch, lease):
                    group.cancel_scope.cancel()
                    return
                if batch.status != "finalizing":
                    await self._answer(batch, lease, watched)
                await run_in_threadpool(self.batches.finalize, batch.id, lease)
                await run_in_threadpool(self._end, batch, lease, watched.stop or "completed")
                group.cancel_scope.cancel()
        except BaseExceptionGroup as raised:
            lost, others = raised.split(LeaseLost)
            if others is None and lost is not None:
                raise LeaseLost(batch.id) from raised
            if len(raised.exceptions) == 1:
                raise raised.exceptions[0] from raised
            raise

    async def _beat(self, id: str, lease: str, watched: Watched) -> None:
        while True:
            status, late = await run_in_threadpool(self.batches.beat, id, lease)
            watched.stop = "cancelled" if status == "cancelling" else "expired" if late else None
            await anyio.sleep(self.beat_s)

    async def _validate(self, batch: Batch, lease: str) -> bool:
        """Whether its input file is sound. Of one that is not, the faults are told."""

        def looked_at() -> tuple[list[dict[str, Any]], int, str | None]:
            with closing(self._input(batch)) as chunks:
                return checked(_raw_lines(chunks), batch.endpoint)

        faults, total, model = await run_in_threadpool(looked_at)
        if faults:
            await run_in_threadpool(self.batches.refuse, batch.id, lease, faults)
            return False
        await run_in_threadpool(self.batches.begin, batch.id, lease, total, model)
        return True

    async def _answer(self, batch: Batch, lease: str, watched: Watched) -> None:
        """Every request that has no answer yet, some at once."""
        done = await run_in_threadpool(self.batches.answered, batch.id)
        places = anyio.Semaphore(AT_ONCE)

        async def one(line: Line) -> None:
            try:
                if (answer := await self._one(batch, line, watched)) is not None:
                    await run_in_threadpool(self.batches.keep, batch.id, lease, [answer])
            finally:
                places.release()

        with closing(self._input(batch)) as chunks:
            lines = (line for line in _lines(chunks) if line.number not in done)
            async with anyio.create_task_group() as group:
                while watched.stop is None:
                    await places.acquire()
                    line = await run_in_threadpool(next, lines, None)
                    if line is None:
                        break
                    group.start_soon(one, line)
        if watched.stop == "expired":
            await run_in_threadpool(self._expire, batch, lease)

    def _expire(self, batch: Batch, lease: str) -> None:
        """Tell of each request that has no answer why."""
        answered = self.batches.answered(batch.id)
        told = [_told(line, None, EXPIRED, failed=True) for line in _lines(self._input(batch)) if line.number not in answered]
        for start in range(0, len(told), 500):
            self.batches.keep(batch.id, lease, told[start : start + 500])

    async def _one(self, batch: Batch, line: Line, watched: Watched) -> Answer | None:
        """The answer to a request; None where the batch ended before there was one. The server's own trouble is waited for."""
        failures = 0
        while watched.stop is None:
            number = new("req_", 32)
            status, headers, body = await self._ask(batch, line.body, number)
            failures += status >= 500
            if status < 429 or 429 < status < 500 or failures >= TRIES:
                return _told(line, {"status_code": status, "request_id": number, "body": body}, None, failed=status >= 400)
            told = headers.get("retry-after", "")
            await anyio.sleep(min(float(told) if told.isdecimal() else self.period_s, self.wait_s))
        return None

    async def _ask(self, batch: Batch, body: dict[str, Any], number: str) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body of what the route answers."""
        caller = Caller(batch.project, batch.key, batch.role)
        payload = json.dumps({name: value for name, value in body.items() if name != "stream"}).encode()
        given: list[Message] = [{"type": "http.request", "body": payload, "more_body": False}]
        sent: list[Message] = []

        async def receive() -> Message:
            if not given:
                await anyio.sleep_forever()  # this client does not hang up
            return given.pop()

        async def send(message: Message) -> None:
            sent.append(message)

        path = batch.endpoint
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(payload)).encode())],
            "client": None,
            "server": None,
            "state": {"admitted": Admitted(caller, ProjectSettings(), math.inf), "request_id": number},
        }
        await self.app(scope, receive, send)
        start = next(message for message in sent if message["type"] == "http.response.start")
        content = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
        return start["status"], headers, json.loads(content)

    def _end(self, batch: Batch, lease: str, status: str) -> None:
        output, wrong = (self._written(batch, failed) for failed in (False, True))
        self.batches.end(batch.id, lease, status, output, wrong)

    def _written(self, batch: Batch, failed: bool) -> Blob:
        return self.platform.blobs.put(self.batches.lines(batch.id, failed))

    def _input(self, batch: Batch) -> Chunks:
        file = self.platform.files.for_job(batch.project, batch.input_file)
        return self.platform.blobs.open(file.sha256)


def checked(lines: Iterable[tuple[int, bytes]], endpoint: str) -> tuple[list[dict[str, Any]], int, str | None]:
    """Faults of an input file, as OpenAI tells them, how many requests it has, and the model that the first asks."""
    faults: list[dict[str, Any]] = []
    seen: set[str] = set()
    model, total = None, 0
    for number, raw in lines:
        total += 1
        fault = "too_many_requests" if total > MOST_REQUESTS else None
        if fault is not None:
            faults.append(_fault(fault, f"The file has more than {MOST_REQUESTS:,} requests.", number, None))
            break
        read = _read(raw, endpoint)
        if isinstance(read, tuple):
            faults.append(_fault(*read[:2], number, read[2]))
        elif read["custom_id"] in seen:
            faults.append(_fault("duplicate_custom_id", f"The custom_id {read['custom_id']!r} was used before.", number, "custom_id"))
        else:
            seen.add(read["custom_id"])
            model = model or read["body"].get("model")
        if len(faults) == MOST_ERRORS:
            break
    if not total:
        faults.append(_fault("empty_file", "The file has no requests.", None, None))
    return faults, total, model if isinstance(model, str) else None


def _read(raw: bytes, endpoint: str) -> dict[str, Any] | tuple[str, str, str | None]:
    """A request; or (code, message, param) of what is wrong with it."""
    if len(raw) > MOST_LINE_BYTES:
        return "line_too_long", f"The line is longer than {MOST_LINE_BYTES:,} bytes.", None
    try:
        read = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "invalid_json_line", "This line is not parseable as valid JSON.", None
    if not isinstance(read, dict):
        return "invalid_json_line", "This line is not a JSON object.", None
    for name, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if name not in read:
            return "missing_required_parameter", f"Missing required parameter: '{name}'.", name
        if not isinstance(read[name], kind):
            return "invalid_type", f"'{name}' should be {'text' if kind is str else 'an object'}.", name
    if read["method"] != "POST":
        return "invalid_method", "The method should be 'POST'.", "method"
    if read["url"] != endpoint:
        return "mismatched_url", f"The url should be {endpoint!r}, the endpoint of the batch.", "url"
    return read


def _fault(code: str, message: str, line: int | None, param: str | None) -> dict[str, Any]:
    return {"code": code, "line": line, "message": message, "param": param}


def _raw_lines(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number, line), blank ones left out, without a mark of the byte order. One that is too long is cut behind its limit."""
    left, number = b"", 0
    for chunk in chunks:
        *whole, left = (left + chunk).split(b"\n")
        for raw in whole:
            number += 1
            yield from _not_blank(number, raw)
        left = left[: MOST_LINE_BYTES + 1]
    yield from _not_blank(number + 1, left)


def _not_blank(number: int, raw: bytes) -> Iterator[tuple[int, bytes]]:
    raw = raw.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else raw.strip()
    if raw:
        yield number, raw


def _lines(chunks: Iterable[bytes]) -> Iterator[Line]:
    for number, raw in _raw_lines(chunks):
        read = msgspec.json.decode(raw)
        yield Line(number, read["custom_id"], read["body"])


def _told(line: Line, response: Mapping[str, Any] | None, error: Mapping[str, Any] | None, failed: bool) -> Answer:
    told = {"id": new("batch_req_", 32), "custom_id": line.custom_id, "response": response, "error": error}
    return Answer(line.number, failed, json.dumps(told, ensure_ascii=False))


def _inner(platform: Platform, routers: Iterable[APIRouter]) -> FastAPI:
    """The routes alone: who asks is known, and what is counted for a key was counted when the batch was made."""
    app = FastAPI(default_response_class=errors.JsonResponse, openapi_url=None)
    app.state.platform = platform
    errors.install(app)
    for router in routers:
        app.include_router(router, prefix="/v1")
    return app
