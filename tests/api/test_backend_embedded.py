"""The sampler as a process: it starts when it is needed, answers what an assistant answers, and comes back when it was killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier.api.backend_embedded import EmbeddedBackend
from luthier.recipes.assistant import Sampling, open_assistant
from luthier.spec.rows import Message
from luthier.spec.serving import Ask, Embed, Piece

QUESTION = [{"role": "user", "content": "Count from 3."}]


class Held:
    """A backend in a loop that goes on from call to call."""

    def __init__(self, backend: EmbeddedBackend) -> None:
        self.backend, self.runner = backend, asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    async def all(self, ask: Ask) -> list[Piece]:
        return [piece async for piece in self.backend.answer(ask)]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    one = Held(EmbeddedBackend(tmp_path_factory.mktemp("log") / "sampler.log", ("--memory-gib", "2")))
    yield one
    one.run(one.backend.close())
    one.runner.close()


def chat(folder: Path, **fields: Any) -> Ask:
    return Ask(**{"base": str(folder), "messages": QUESTION, "temperature": 0.0, "max_tokens": 12, **fields})


def text_of(pieces: list[Piece]) -> str:
    assert pieces[-1].error is None, pieces[-1].error
    return "".join(piece.text for piece in pieces)


def test_it_needs_no_torch_and_hardly_any_time() -> None:
    program = (
        "import sys, time; began = time.perf_counter(); import luthier.api.backend_embedded, luthier.api.backend\n"
        "print(time.perf_counter() - began, *sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    words = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert len(words) == 1 and float(words[0]) < 2.0


def test_a_run_answers_as_in_a_terminal(held: Held, toy_run: Path, toy_folder: Path) -> None:
    mine = held.run(held.all(chat(toy_folder, adapter=str(toy_run / "adapter"))))
    greedy = Sampling(temperature=0.0, max_new_tokens=12)
    assert text_of(mine) == open_assistant(str(toy_run)).answer([Message("user", "Count from 3.")], greedy).text


def test_what_cannot_be_answered_comes_as_a_piece(held: Held) -> None:
    (piece,) = held.run(held.all(chat(Path("/nowhere"))))
    assert piece.error is not None and piece.error.kind == "not_found"


def test_it_stands_back_and_is_for_its_owner_alone(held: Held, toy_folder: Path) -> None:
    held.run(held.backend.load(str(toy_folder)))
    state = held.run(held.backend.state())
    assert os.getpriority(os.PRIO_PROCESS, state.pid) == os.getpriority(os.PRIO_PROCESS, 0) + 5
    folder = held.backend._folder
    assert folder is not None
    assert (folder.stat().st_mode & 0o777, (folder / "s").stat().st_mode & 0o777) == (0o700, 0o600)


def test_closing_the_iterator_hangs_up(held: Held, roomy_folder: Path) -> None:
    async def hang_up() -> int:
        pieces = held.backend.answer(chat(roomy_folder, max_tokens=None, logit_bias={257: -100.0}))
        await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]
        for _ in range(200):
            if (state := await held.backend.state()) is not None and state.running == 0:
                return 0
            await asyncio.sleep(0.01)
        return 1

    assert held.run(hang_up()) == 0


def test_killed_while_it_answers_it_says_so_and_answers_the_next(held: Held, roomy_folder: Path) -> None:
    async def killed() -> tuple[list[Piece], list[Piece]]:
        pieces: list[Piece] = []
        async for piece in held.backend.answer(chat(roomy_folder, max_tokens=None, logit_bias={257: -100.0})):
            if not pieces:
                assert held.backend.process is not None
                os.kill(held.backend.process.pid, signal.SIGKILL)
            pieces.append(piece)
        return pieces, await held.all(chat(roomy_folder))

    first, second = held.run(killed())
    assert (
        first[-1].error is not None and first[-1].error.kind == "internal" and "ended while it was at this one" in first[-1].error.message
    )
    assert text_of(second)


def test_embeddings_come_through(held: Held, toy_folder: Path) -> None:
    told = held.run(held.backend.embed(Embed(base=str(toy_folder), inputs=["a", "bc"])))
    assert [len(vector) for vector in told.vectors] == [32 * 4] * 2 and told.num_tokens == 3


def test_a_process_that_never_starts_refuses_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    async def refused() -> Piece:
        backend = EmbeddedBackend(tmp_path / "log", ("--no-such-option",))
        backend._wait = 0.01
        try:
            return [piece async for piece in backend.answer(chat(tmp_path))][-1]
        finally:
            await backend.close()

    error = asyncio.run(refused()).error
    assert error is not None and "does not start" in error.message and str(tmp_path / "log") in error.message


def test_it_ends_with_its_gateway(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys, pathlib\n"
        "from luthier.api.backend_embedded import EmbeddedBackend\n"
        "async def main():\n"
        f"    backend = EmbeddedBackend(pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "    backend.start()\n"
        "    while backend.process is None: await asyncio.sleep(0.01)\n"
        "    print(backend.process.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as gateway:
        assert gateway.stdout is not None
        sampler = int(gateway.stdout.readline())
        time.sleep(0.5)  # until it has asked to end with its parent
        gateway.kill()
    for _ in range(300):
        if not Path(f"/proc/{sampler}").exists() or "Z" in Path(f"/proc/{sampler}/stat").read_text().split()[2]:
            return
        time.sleep(0.01)
    os.kill(sampler, signal.SIGKILL)
    raise AssertionError("the sampler outlived its gateway")
