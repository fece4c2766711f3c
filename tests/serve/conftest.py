"""A sampler service in this process, on a Unix socket of its own, and adapters for it to serve."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from luthier.adapters import lora
from luthier.models.load import load_model
from luthier.serve.limits import GIB, Limits
from luthier.serve.service import Service
from luthier.spec.serving import Ask, Fault, Piece, Said, State, Told, framed, receive

CPU = torch.device("cpu")
ROOMY = Limits(GIB, GIB, GIB)


@dataclass(frozen=True)
class Heard:
    """All pieces of one ask."""

    pieces: list[Piece]

    def text(self, index: int = 0) -> str:
        return "".join(piece.text for piece in self.pieces if piece.index == index)

    @property
    def texts(self) -> list[str]:
        return [self.text(i) for i in range(1 + max(piece.index for piece in self.pieces))]

    @property
    def error(self) -> Fault | None:
        return self.pieces[-1].error

    @property
    def finish(self) -> str | None:
        return next((p.finish_reason for p in reversed(self.pieces) if p.finish_reason), None)


class House:
    """A service and its clients, in one loop that goes on from call to call."""

    def __init__(self, limits: Limits) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lt-"))
        self.runner = asyncio.Runner()
        self.decoder: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)
        self.runner.run(self._open(limits))

    async def _open(self, limits: Limits) -> None:
        self.service = Service(limits)
        self.server = await asyncio.start_unix_server(self.service.handle, str(self.folder / "s"))

    def close(self) -> None:
        self.server.close()
        self.service.close()
        self.runner.run(asyncio.sleep(0.01))
        self.runner.close()
        shutil.rmtree(self.folder)

    @contextlib.asynccontextmanager
    async def said(self, message: Said) -> AsyncIterator[Callable[[], Any]]:
        reader, writer = await asyncio.open_unix_connection(str(self.folder / "s"))
        writer.write(framed(message))
        try:
            yield lambda: receive(reader, self.decoder)
        finally:
            writer.close()

    async def hear(self, ask: Ask) -> Heard:
        pieces: list[Piece] = []
        async with self.said(ask) as reply:
            while not pieces or not pieces[-1].last:
                pieces.append(await reply())
        return Heard(pieces)

    async def tell(self, message: Said) -> Any:
        async with self.said(message) as reply:
            return await reply()

    def ask(self, *asks: Ask) -> list[Heard]:
        """All at once, answers in their order."""

        async def gathered() -> list[Heard]:
            return list(await asyncio.gather(*map(self.hear, asks)))

        return self.runner.run(gathered())

    def one(self, **fields: Any) -> Heard:
        return self.ask(Ask(**fields))[0]

    @property
    def state(self) -> State:
        return self.service.state()


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    opened = House(ROOMY)
    yield opened
    opened.close()


@pytest.fixture
def opened() -> Iterator[Callable[[Limits], House]]:
    """Houses with limits of their own."""
    houses: list[House] = []

    def make(limits: Limits) -> House:
        houses.append(House(limits))
        return houses[-1]

    yield make
    for one in houses:
        one.close()


@pytest.fixture(scope="session")
def adapters(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three adapters on the toy model, each of which says something else."""
    made = []
    for seed in range(3):
        model = load_model(toy_folder, torch.float32, CPU)
        config = lora.Config(rank=2 + seed, targets=("q_proj", "down_proj") if seed else "all-linear")
        lora.attach(model, config, "policy", torch.Generator().manual_seed(seed), model.get_output_embeddings())
        weights = lora.trainable(model, "policy")
        generator = torch.Generator().manual_seed(100 + seed)
        for weight in weights.values():
            weight.data.normal_(0, 0.5, generator=generator)
        folder = tmp_path_factory.mktemp("adapters") / f"a{seed}"
        folder.mkdir()
        tensors = {name: weight.detach() for name, weight in weights.items()}
        lora.save(model, config, "policy", tensors, str(toy_folder), model.get_output_embeddings(), folder)
        made.append(folder)
    return made
