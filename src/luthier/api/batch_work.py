"""Who answers batches: a task of the gateway, which asks its own routes line by line and keeps each answer as it comes."""

import json
import logging
import math
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import anyio
from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message

from luthier.accounts.accounts import Admitted
from luthier.accounts.projects import ProjectSettings
from luthier.accounts.roles import Caller
from luthier.api import errors
from luthier.api.batch_lines import Line, checked, fault_of, lines_of, raw_lines
from luthier.api.platform import Platform
from luthier.errors import UserError
from luthier.store.batches import LEASE_S, Answer, Batch, Batches, LeaseLost
from luthier.store.blobs import Blob, BlobGone, Chunks
from luthier.store.files import FileNotFound
from luthier.store.ids import new

log = logging.getLogger("luthier.api")

AT_ONCE = 16
"""Requests of a batch that are under way together: as many as a sampler draws for at once without making others wait long."""
BATCHES_AT_ONCE = 2
PERIOD_S = 1.0
"""How often it is looked whether there is something to do."""
TRIES = 3
"""Of a request at which the server itself fails."""
LONGEST_WAIT_S = 30.0

UNANSWERED = {
    "expired": {"code": "batch_expired", "message": "This request could not be executed before the completion window expired."},
    "revoked": {"code": "key_revoked", "message": "This request was not executed: the key that made its batch opens nothing any more."},
}
"""What is told of each request that has no answer, by why the batch ended early."""

ENDS = {"revoked": "cancelled"}
"""The status of a batch that stopped for this, where it is called otherwise."""


class InputGone(UserError):
    """A batch's input file is lost."""


@dataclass
class Watched:
    """What a batch's heartbeat has heard. `stop`: cancelled, expired, or revoked (its key), where it should end early."""

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
            try:
                done = await self._next()
            except Exception as error:  # a batch that fails must not end the gateway, nor the others
                log.error("batches wait: %s", error, exc_info=not isinstance(error, UserError))
                await anyio.sleep(self.wait_s)
            else:
                await anyio.sleep(0 if done else self.period_s)

    async def _next(self) -> bool:
        """Work on a batch, as far as that goes. Returns whether there was one."""
        lease = new("", 16)
        batch = await run_in_threadpool(self.batches.take, lease)
        if batch is None:
            return False
        try:
            await self._work(batch, lease)
        except LeaseLost:
            log.warning("another gateway goes on with %s, with which this one was too slow", batch.id)
        except InputGone as error:
            fault = fault_of("input_file_gone", str(error), None, "input_file_id")
            await run_in_threadpool(self.batches.refuse, batch.id, lease, [fault])
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self.batches.let_go, batch.id, lease)
        return True

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
                stop = watched.stop or "completed"
                await run_in_threadpool(self._end, batch, lease, ENDS.get(stop, stop))
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
            status, late, revoked = await run_in_threadpool(self.batches.beat, id, lease)
            watched.stop = "cancelled" if status == "cancelling" else "expired" if late else "revoked" if revoked else None
            await anyio.sleep(self.beat_s)

    async def _validate(self, batch: Batch, lease: str) -> bool:
        """Whether its input file is sound. Of one that is not, the faults are told."""

        def looked_at() -> tuple[list[dict[str, Any]], int, str | None]:
            with closing(self._input(batch)) as chunks:
                return checked(raw_lines(chunks), batch.endpoint)

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
            lines = (line for line in lines_of(chunks) if line.number not in done)
            async with anyio.create_task_group() as group:
                while watched.stop is None:
                    await places.acquire()
                    line = await run_in_threadpool(next, lines, None)
                    if line is None:
                        break
                    group.start_soon(one, line)
        if watched.stop in UNANSWERED:
            await run_in_threadpool(self._leave, batch, lease, UNANSWERED[watched.stop])

    def _leave(self, batch: Batch, lease: str, why: Mapping[str, str]) -> None:
        """Tell of each request that has no answer why."""
        answered = self.batches.answered(batch.id)
        told = [_told(line, None, why, failed=True) for line in lines_of(self._input(batch)) if line.number not in answered]
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
        try:
            await self.app(scope, receive, send)
        except Exception as error:  # one request that fails must not end the batch
            log.error("request %s of %s: %s", number, batch.id, batch.endpoint, exc_info=error)
            message = f"The server failed at this request. Its log says why, at {number}."
            return 500, {}, errors.envelope(message, "server_error", code="internal_error")
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
        try:
            return self.platform.blobs.open(self.platform.files.for_job(batch.project, batch.input_file).sha256)
        except (FileNotFound, BlobGone) as error:
            raise InputGone(f"The file {batch.input_file} is not there any more.") from error


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
