"""Processes that encode rows beside this one. They run this file, know neither torch nor the run, and end with the pipe they read from.

Not `multiprocessing`: it would run a user's own script again in each of them.
"""

import os
import pickle
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Self

from luthier.batches.chunk import Chunk, Encoding, encode_chunk
from luthier.errors import UserError
from luthier.spec.rows import Row
from luthier.text.renderer import Renderer

PACKAGE = Path(__file__).resolve().parents[2]

AHEAD = 2
"""Chunks that wait for each process, so that none of them idles."""


class WorkerDied(UserError):
    """A process that encoded rows ended before it was done."""


def encode_in(processes: int, chunks: Iterable[list[Row]], renderer: Renderer, encoding: Encoding) -> Iterator[Chunk]:
    """Each chunk encoded, in order. Which process did it makes no difference: a row is encoded by itself.

    Raises:
        UserError: as `encode_chunk`, for the first row that cannot be encoded.
    """
    if processes < 2:
        yield from (encode_chunk(chunk, renderer, encoding) for chunk in chunks)
        return
    with ExitStack() as stack:
        idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for _ in range(processes):
            idle.put(stack.enter_context(_Worker(renderer, encoding)))

        def encode(chunk: list[Row]) -> Chunk:
            worker = idle.get()
            try:
                return worker.encode(chunk)
            finally:
                idle.put(worker)

        threads = ThreadPoolExecutor(processes)
        stack.callback(threads.shutdown, wait=True, cancel_futures=True)
        waiting: deque[Future[Chunk]] = deque()
        for chunk in chunks:
            waiting.append(threads.submit(encode, chunk))
            if len(waiting) > AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Worker:
    """One process, told a renderer first and then chunk after chunk."""

    def __init__(self, renderer: Renderer, encoding: Encoding) -> None:
        paths = [str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-m", "luthier.batches.workers"]
        self._process = subprocess.Popen(  # a process group of its own: Ctrl-C is this process's affair
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, process_group=0
        )
        self._first: Any = (renderer, encoding)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # it ended before it took everything, which was said already
                pipe.close()

    def encode(self, chunk: list[Row]) -> Chunk:
        source, sink = self._process.stdout, self._process.stdin
        assert source is not None and sink is not None
        try:
            if self._first is not None:
                _send(sink, self._first)
                self._first = None
            _send(sink, chunk)
            answer = pickle.load(source)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            raise WorkerDied(
                f"A process that encoded rows ended early (exit code {self._process.wait()}); often there was too little memory. "
                f"Set `train.threads=1`: then this process encodes them itself."
            ) from None
        if isinstance(answer, Exception):
            raise answer
        encoded: Chunk = answer
        return encoded


def _send(sink: IO[bytes], value: Any) -> None:
    pickle.dump(value, sink, protocol=pickle.HIGHEST_PROTOCOL)
    sink.flush()


def work(source: IO[bytes], sink: IO[bytes]) -> None:
    """Encode what comes until nothing comes any more."""
    renderer, encoding = pickle.load(source)
    while True:
        try:
            chunk = pickle.load(source)
        except EOFError:
            return
        try:
            _send(sink, encode_chunk(chunk, renderer, encoding))
        except UserError as error:
            _send(sink, error)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    with suppress(BrokenPipeError):  # nobody is left to answer
        work(sys.stdin.buffer, answers)
    os._exit(0)
