"""`Service`: the sampler process as the gateway sees it: requests over a Unix socket, one a connection."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec
import numpy as np

from luthier.errors import UserError
from luthier.rewards.local_model import pooled
from luthier.serve.base import Base
from luthier.serve.drawing import FAULTS, Drawing
from luthier.serve.figures import FIRST_TOKEN_S, Figures
from luthier.serve.limits import Limits
from luthier.serve.prepared import prepare
from luthier.serve.refused import Refused, fault_of
from luthier.serve.residents import Entry, Residents
from luthier.serve.said import Asked
from luthier.spec.serving import (
    Ask,
    BaseState,
    Done,
    Embed,
    Embedded,
    Fault,
    Load,
    Look,
    Piece,
    Said,
    State,
    Told,
    Unload,
    framed,
    receive,
)

log = logging.getLogger(__name__)

GRACE_S = 20.0
"""What answers under way get to come to their end when the process is asked to leave."""

EMBEDDED_AT_ONCE = 8
"""Inputs embedded between two tokens of all answers."""


class Service:
    """Made within a running loop, whose thread it belongs to."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.figures = Figures()
        self.failed = asyncio.Event()
        """Nothing is drawn any more: the process has to end."""
        self.drawing = Drawing(asyncio.get_running_loop(), self.figures, self.failed.set)
        self.residents = Residents(limits, self.drawing.let_go)
        self._preparing = ThreadPoolExecutor(1, "preparing")
        self._decoder: msgspec.msgpack.Decoder[Said] = msgspec.msgpack.Decoder(Said)
        self._arriving = 0
        self._handled: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        self.drawing.stop()
        self.residents.close()
        self._preparing.shutdown(wait=False, cancel_futures=True)

    async def drain(self, seconds: float) -> None:
        """Wait until whoever is served now has what they asked for, but no longer than this."""
        if self._handled:
            await asyncio.wait(self._handled, timeout=seconds)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._handled.add(task)
        try:
            with contextlib.suppress(EOFError, ConnectionError):  # the client hung up, and waits for nothing
                try:
                    said = await receive(reader, self._decoder)
                except (ValueError, msgspec.MsgspecError) as error:
                    writer.write(framed(Done(error=Fault(kind="bad_request", message=str(error)))))
                    await writer.drain()
                    return
                await self._reply_unless_gone(said, reader, writer)
        finally:
            self._handled.discard(task)
            writer.close()

    async def _reply_unless_gone(self, said: Said, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reply = asyncio.create_task(self._reply(said, writer))
        gone = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait({reply, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not reply.done():
                self.figures.cancelled += 1
                reply.cancel()
            await asyncio.wait({reply, gone})
        if not reply.cancelled():
            reply.result()

    async def _reply(self, said: Said, writer: asyncio.StreamWriter) -> None:
        if isinstance(said, Ask):
            await self._answer(said, writer)
            return
        told: Told
        match said:
            case Look():
                told = self.state()
            case Embed():
                told = await self._embed(said)
            case Load():
                told = await self._load(said)
            case Unload():
                told = await self._unload(said)
        writer.write(framed(told))
        await writer.drain()

    async def _answer(self, ask: Ask, writer: asyncio.StreamWriter) -> None:
        inbox: asyncio.Queue[Piece] = asyncio.Queue()
        self.figures.requests += 1
        try:
            async with contextlib.AsyncExitStack() as stack:
                asked = await self._let_in(ask, inbox, stack)
                await self._hand_on(asked, inbox, writer)
        except UserError as error:
            writer.write(framed(Piece(error=fault_of(error))))
            await writer.drain()

    async def _let_in(self, ask: Ask, inbox: "asyncio.Queue[Piece]", stack: contextlib.AsyncExitStack) -> Asked:
        """With its base in memory for as long as `stack` is open, and its place in the line."""
        arrived = time.monotonic()
        self._refuse_crowd(ask.n)
        self._arriving += ask.n
        try:
            base = await stack.enter_async_context(self.residents.using(ask.base))
            prepared = await asyncio.get_running_loop().run_in_executor(self._preparing, prepare, ask, base)
        finally:
            self._arriving -= ask.n
        asked = Asked(ask, base, prepared, inbox.put_nowait, arrived)
        self.drawing.enter(asked)
        return asked

    async def _hand_on(self, asked: Asked, inbox: "asyncio.Queue[Piece]", writer: asyncio.StreamWriter) -> None:
        """Pieces as they come, as many at once as there are."""
        last = False
        try:
            while not last:
                pieces = [await inbox.get()]
                while not inbox.empty():
                    pieces.append(inbox.get_nowait())
                last = pieces[-1].last
                writer.write(b"".join(map(framed, pieces)))
                await writer.drain()
        finally:
            if not last:
                self.drawing.cancel(asked)

    def _refuse_crowd(self, number: int) -> None:
        """Raises `Refused`: too many wait already."""
        waiting = self._arriving + self.drawing.num_waiting
        if waiting + number > self.limits.max_waiting and waiting:
            self.figures.overloaded += 1
            seconds = self.drawing.pace.seconds_for(waiting + number - self.limits.max_waiting)
            raise Refused(
                "overloaded",
                f"The server is overloaded: {waiting:,} answers wait for their turn. Try again in {seconds:.0f} seconds.",
                "rate_limit_exceeded",
                retry_after=seconds,
            )

    async def _embed(self, embed: Embed) -> Embedded:
        try:
            async with self.residents.using(embed.base) as base:
                ids = [_ids_of(one, base) for one in embed.inputs]
                vectors: list[bytes] = []
                for start in range(0, len(ids), EMBEDDED_AT_ONCE):
                    vectors += await self.drawing.compute(partial(_vectors, base, ids[start : start + EMBEDDED_AT_ONCE]))
                return Embedded(vectors=tuple(vectors), num_tokens=sum(map(len, ids)))
        except UserError as error:
            return Embedded(error=fault_of(error))
        except FAULTS as error:
            log.exception("%s: embedding failed", embed.base)
            return Embedded(error=Fault(kind="internal", message=f"The model failed ({type(error).__name__}: {error})."))

    async def _load(self, load: Load) -> Done:
        try:
            async with self.residents.using(load.base):
                return Done()
        except UserError as error:
            return Done(error=fault_of(error))

    async def _unload(self, unload: Unload) -> Done:
        try:
            done = await self._unload_adapter(unload.base, unload.adapter) if unload.adapter else self.residents.unload(unload.base)
        except UserError as error:
            return Done(error=fault_of(error))
        return Done() if done else Done(error=Fault(kind="overloaded", message="It is in use. Try again in a moment.", retry_after=1.0))

    async def _unload_adapter(self, name: str, adapter: str) -> bool:
        base = self.residents.find(name)
        if base is None:
            return True
        return await self.drawing.compute(lambda: base.adapters.unload(adapter, self.drawing.adapters_in_use(base)))

    def state(self) -> State:
        """How things are, at once, whatever is being computed or loaded."""
        figures = self.figures
        return State(
            pid=os.getpid(),
            uptime_s=time.monotonic() - figures.began,
            memory_bytes=figures.memory_bytes,
            waiting=self._arriving + self.drawing.num_waiting,
            running=self.drawing.num_running,
            requests=figures.requests,
            overloaded=figures.overloaded,
            cancelled=figures.cancelled,
            failed=figures.failed,
            first_token_bounds=FIRST_TOKEN_S,
            first_token_counts=tuple(figures.first_token_counts),
            first_token_sum_s=figures.first_token_sum_s,
            bases=tuple(self._base_state(entry) for entry in self.residents.entries.values()),
            models=figures.models,
        )

    def _base_state(self, entry: Entry) -> BaseState:
        base = entry.base
        if base is None:
            return BaseState(folder=str(entry.folder), status="loading" if entry.fault is None else "refused", reason=entry.fault or "")
        seats = self.drawing.seats.get(id(base))
        return BaseState(
            folder=str(entry.folder),
            status="ready",
            reason=base.probed.reason,
            tier=base.probed.packing.tier,
            dtype=base.dtype,
            context=base.context,
            num_bytes=base.num_bytes,
            waiting=0 if seats is None else len(seats.line),
            running=0 if seats is None else len(seats.running),
            token_budget=base.token_budget,
            tokens_held=0 if seats is None else seats.tokens_held,
            adapters=base.adapters.states,
        )


def _ids_of(one: str | list[int], base: Base) -> np.ndarray:
    """(n,) of an input to embed. Raises `Refused` where it is too long, or no token of this model."""
    ids = base.renderer.tokenizer.encode(one or " ") if isinstance(one, str) else np.array(one, dtype=np.int64)
    if len(ids) > base.context:
        raise Refused(
            "bad_request",
            f"This model's maximum context length is {base.context} tokens, however you requested {len(ids)} tokens "
            f"({len(ids)} in your prompt; 0 for the completion). Please reduce your prompt; or completion length.",
            "context_length_exceeded",
            "input",
        )
    if len(ids) and not 0 <= ids.min() <= ids.max() < base.vocabulary:
        raise Refused("bad_request", f"An input has tokens that this model does not know: it has {base.vocabulary:,}.", param="input")
    return ids


def _vectors(base: Base, inputs: Sequence[np.ndarray]) -> list[bytes]:
    means = [pooled(base.root, ids) for ids in inputs]
    return [(mean / (float(np.linalg.norm(mean)) or 1.0)).astype("<f4").tobytes() for mean in means]
