"""`EmbeddedBackend`: the sampler process of this machine, started when it is needed and again when it dies."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from luthier.api.backend import internal
from luthier.spec.serving import Ask, Done, Embed, Embedded, Fault, Load, Look, Piece, Said, State, Told, Unload, framed, receive

BACKLOG = 2048
"""Connections that may wait while the process starts."""

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 30.0
"""Before a process that died is started again; twice as long each time."""

LIVED_S = 30.0
"""A process that lived so long started well: the next wait is a short one again."""

HOPELESS = 3
"""Deaths soon after a start, one after the other, after which requests are refused instead of waiting for the next try."""

LOOK_S = 2.0
CLOSE_S = 25.0
"""What the process gets to bring answers under way to their end."""

Reply = TypeVar("Reply", Embedded, Done)


class EmbeddedBackend:
    """The process listens on a socket that this one holds, in a folder of our own: whoever connects while it starts, waits.

    Args:
        log: a file that takes what the process prints. options: further ones of `luthier sampler`.
    """

    def __init__(self, log: Path, options: Sequence[str] = ()) -> None:
        self.log, self.options = log, tuple(options)
        self.process: asyncio.subprocess.Process | None = None
        self._folder: Path | None = None
        self._listener: socket.socket | None = None
        self._watch: asyncio.Task[None] | None = None
        self._wait = FIRST_WAIT_S
        self._num_early = 0
        self._connections: set[asyncio.StreamWriter] = set()
        self._decoder: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)

    def start(self) -> None:
        if self._watch is not None:
            return
        self._folder = Path(tempfile.mkdtemp(prefix="luthier-"))  # for its owner alone, and short: a socket's path has 107 bytes
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._path.chmod(0o600)
        self._listener.listen(BACKLOG)
        self._watch = asyncio.get_running_loop().create_task(self._keep_running(self._listener))

    async def answer(self, ask: Ask) -> AsyncIterator[Piece]:
        async with contextlib.aclosing(self._said(ask)) as told:
            async for reply in told:
                match reply:
                    case Piece():
                        yield reply
                        if reply.last:
                            return
                    case Fault():
                        yield Piece(error=reply)
                        return
                    case _:
                        yield Piece(error=internal("The sampler process said what was not asked."))
                        return

    async def embed(self, embed: Embed) -> Embedded:
        return await self._one(embed, Embedded)

    async def load(self, base: str, adapter: str | None = None) -> Done:
        """An adapter is loaded by its first request: that takes a moment."""
        return await self._one(Load(base=base), Done)

    async def unload(self, base: str, adapter: str | None = None) -> Done:
        return await self._one(Unload(base=base, adapter=adapter), Done)

    async def state(self) -> State | None:
        if self.process is None:
            return None
        try:
            async with asyncio.timeout(LOOK_S), contextlib.aclosing(self._said(Look())) as told:
                reply = await anext(told)
        except TimeoutError:  # it starts
            return None
        return reply if isinstance(reply, State) else None

    async def close(self) -> None:
        if self._watch is None:
            return
        self._watch.cancel()
        await asyncio.wait({self._watch})
        if self.process is not None and self.process.returncode is None:
            await _end(self.process)
        assert self._listener is not None and self._folder is not None
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._watch = self.process = None

    @property
    def _path(self) -> Path:
        assert self._folder is not None
        return self._folder / "s"

    async def _one(self, said: Said, kind: type[Reply]) -> Reply:
        async with contextlib.aclosing(self._said(said)) as told:
            reply = await anext(told)
        if isinstance(reply, kind):
            return reply
        return kind(error=reply if isinstance(reply, Fault) else internal("The sampler process said what was not asked."))

    async def _said(self, said: Said) -> AsyncGenerator[Told | Fault]:
        """The replies to one request; a fault where the process dies meanwhile, or does not start. It is for the caller to end it."""
        self.start()
        if self._is_hopeless and (self.process is None or self.process.returncode is not None):
            yield self._hopeless()
            return
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        self._connections.add(writer)
        try:
            writer.write(framed(said))
            await writer.drain()
            while True:
                reply = await receive(reader, self._decoder)
                self._wait, self._num_early = FIRST_WAIT_S, 0
                yield reply
        except (EOFError, ConnectionError):
            yield self._hopeless() if self._is_hopeless else _died()
        finally:
            self._connections.discard(writer)
            writer.close()

    @property
    def _is_hopeless(self) -> bool:
        return self._num_early >= HOPELESS

    def _hopeless(self) -> Fault:
        return internal(f"The process that draws answers does not start. {self.log} holds what it said.")

    async def _keep_running(self, listener: socket.socket) -> None:
        while True:
            began = time.monotonic()
            self.process = await self._started(listener)
            await self.process.wait()
            if time.monotonic() - began >= LIVED_S:
                self._wait, self._num_early = FIRST_WAIT_S, 0
            self._num_early += 1
            if self._is_hopeless:
                for writer in list(self._connections):
                    writer.transport.abort()
            wait, self._wait = self._wait, min(2 * self._wait, LONGEST_WAIT_S)
            await asyncio.sleep(wait)

    async def _started(self, listener: socket.socket) -> asyncio.subprocess.Process:
        number = listener.fileno()
        command = [sys.executable, "-m", "luthier.cli", "sampler", "--listener", str(number), "--parent", str(os.getpid()), *self.options]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(number,),
                start_new_session=True,  # Ctrl-C in a terminal is for the gateway, which ends it in order
            )


def _died() -> Fault:
    return internal("The process that draws answers ended while it was at this one. Another one is being started: ask again.")


async def _end(process: asyncio.subprocess.Process) -> None:
    """In order, or at once where that takes too long."""
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(CLOSE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
