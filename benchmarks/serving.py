"""The server under load: Luthier's gateway and sampler beside `transformers serve` with continuous batching, in alternation, over loopback.

    python -m benchmarks.serving                                   # 15M and 125M shapes, 1, 8, 32, 64 clients, 1 and 100 adapters
    python -m benchmarks.serving --shapes m15 --clients 32 --rounds 3
    python -m benchmarks.serving --shapes tiny --clients 2 --adapters 2 --seconds 3      # does the benchmark itself work?

Each client asks for an answer of 64 tokens as a stream, and asks again when it has it. Counted: tokens a second of all clients, and from a
request to its first token; meanwhile GET /v1/models is asked ten times a second. The peer serves the base alone.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import torch
from safetensors.torch import save_file

from benchmarks.inputs import CACHE, model_of
from benchmarks.results import Spread, as_table
from benchmarks.rows import sentence
from benchmarks.shapes import SHAPES
from luthier.store.blobs import blobs_of
from luthier.store.home import Home
from luthier.store.models import Model, Models, tuned_row
from luthier.store.tables import models as models_table

NEW, RANK = 64, 8
START_S, PEER_PORT = 120.0, 18_777


@dataclass
class Load:
    """What clients saw. `first`: seconds from a request to its first token; `listed`: of GET /v1/models."""

    tokens: int = 0
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    listed: list[float] = field(default_factory=list)
    failures: int = 0

    @property
    def speed(self) -> float:
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Server:
    """Where to ask, with which key, and by which names the models go."""

    url: str
    key: str
    names: Sequence[str]


async def loaded(server: Server, clients: int, seconds: float) -> Load:
    """So many clients, for so many seconds; answers under way at the end are counted as far as they have come."""
    load, until = Load(), time.perf_counter() + seconds
    headers = {"authorization": f"Bearer {server.key}"}
    limits = httpx.Limits(max_connections=clients + 4)
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=120.0, limits=limits) as client:
        began = time.perf_counter()
        tasks = [asyncio.create_task(_client(client, server, number, until, load)) for number in range(clients)]
        await asyncio.gather(*tasks, asyncio.create_task(_lister(client, until, load)))
        load.seconds = time.perf_counter() - began
    return load


async def _client(client: httpx.AsyncClient, server: Server, number: int, until: float, load: Load) -> None:
    turn = 0
    while time.perf_counter() < until:
        turn += 1
        body = {
            "model": server.names[(number + turn) % len(server.names)],
            "messages": [{"role": "user", "content": sentence(random.Random(number * 1000 + turn))}],
            "max_tokens": NEW,
            "temperature": 1.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        asked, first, pieces, told = time.perf_counter(), None, 0, None
        try:
            async with client.stream("POST", "/chat/completions", json=body) as answer:
                if answer.status_code != 200:
                    load.failures += 1
                    await asyncio.sleep(0.1)
                    continue
                async for line in answer.aiter_lines():
                    if time.perf_counter() > until:
                        break
                    if '"content":' in line and '"content":""' not in line.replace(" ", ""):
                        first = first or time.perf_counter() - asked
                        pieces += 1
                    if '"completion_tokens":' in line:
                        told = (json.loads(line.removeprefix("data: ")).get("usage") or {}).get("completion_tokens")
        except httpx.HTTPError:
            load.failures += 1
        load.tokens += told if told is not None else pieces  # an answer that was cut off at the end: a piece is a token, or nearly
        if first is not None:
            load.first.append(first)


async def _lister(client: httpx.AsyncClient, until: float, load: Load) -> None:
    while time.perf_counter() < until:
        asked = time.perf_counter()
        answer = await client.get("/models")
        if answer.status_code == 200:
            load.listed.append(time.perf_counter() - asked)
        await asyncio.sleep(0.1)


@contextmanager
def ours(folder: Path, adapters: int, scratch: Path) -> Iterator[Server]:
    """`luthier serve` with this base, and so many adapters of random weights on it."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    home = Home(str(scratch / "home"))
    names = _adapters(home, folder, adapters, scratch)
    said, log = scratch / "said.txt", scratch / "log.txt"
    with said.open("w") as out, log.open("w") as err:
        env = {**os.environ, "LUTHIER_HOME": str(home.folder)}
        command = [sys.executable, "-m", "luthier.cli", "serve", "--no-worker", "--port", "18787"]
        process = subprocess.Popen(command, env=env, stdout=out, stderr=err)
    try:
        began = time.perf_counter()
        while "Ctrl-C ends it" not in said.read_text():
            assert process.poll() is None and time.perf_counter() - began < START_S, log.read_text()
            time.sleep(0.05)
        told = dict(part.split("=", 1) for part in said.read_text().split() if part.startswith("OPENAI_"))
        yield Server(told["OPENAI_BASE_URL"], told["OPENAI_API_KEY"], names)
    finally:
        process.terminate()
        process.wait(60)


def _adapters(home: Home, folder: Path, number: int, scratch: Path) -> list[str]:
    """The names of the models: the base's own where there is no adapter."""
    models = Models(home.database, blobs_of(home), home.folder / "models")
    base = models.add_base(str(folder), "base")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    width = config.get("head_dim") or hidden // heads
    shapes = {"q_proj": (heads * width, hidden), "v_proj": (kv * width, hidden)}
    peft = {"peft_type": "LORA", "r": RANK, "lora_alpha": 16, "target_modules": sorted(shapes), "task_type": "CAUSAL_LM", "bias": "none"}
    names = []
    for index in range(number):
        place = scratch / f"adapter-{index}"
        place.mkdir()
        draw = torch.Generator().manual_seed(index)
        tensors = {}
        for layer in range(layers):
            for name, (rows, columns) in shapes.items():
                at = f"base_model.model.model.layers.{layer}.self_attn.{name}"
                tensors[f"{at}.lora_A.weight"] = torch.randn(RANK, columns, generator=draw) * 0.02
                tensors[f"{at}.lora_B.weight"] = torch.randn(rows, RANK, generator=draw) * 0.02
        save_file(tensors, place / "adapter_model.safetensors")
        (place / "adapter_config.json").write_text(json.dumps({**peft, "base_model_name_or_path": str(folder)}), encoding="utf-8")
        weights = {file.name: models.blobs.put_file(file).sha256 for file in sorted(place.iterdir())}
        made = Model(f"ft:base:luthier::{index:08d}", base.base, time.time(), "default", "ftjob-none", "adapter", weights, {"base": "base"})
        with home.database.write() as connection:
            connection.execute(models_table.insert().values(tuned_row(made)))
        names.append(made.name)
    return names or [base.name]


@contextmanager
def peer(folder: Path, scratch: Path) -> Iterator[Server]:
    """`transformers serve` with continuous batching."""
    scratch.mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).with_name("transformers")
    options = ["--continuous-batching", "--device", "cpu", "--dtype", "bfloat16", "--port", str(PEER_PORT)]
    with (scratch / "peer.log").open("w") as log:
        process = subprocess.Popen(
            [program, "serve", *options, str(folder)], stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    try:
        began = time.perf_counter()
        while True:
            assert process.poll() is None and time.perf_counter() - began < START_S, (scratch / "peer.log").read_text()
            try:
                if httpx.get(f"http://127.0.0.1:{PEER_PORT}/health", timeout=1.0).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield Server(f"http://127.0.0.1:{PEER_PORT}/v1", "none", [str(folder)])
    finally:
        process.terminate()
        process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["m15", "m125"])
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 32, 64])
    parser.add_argument("--adapters", nargs="+", type=int, default=[0, 1, 100], help="0: the base itself")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--cache", type=Path, default=CACHE)
    options = parser.parse_args()
    rows: list[tuple[object, ...]] = [
        ("shape", "clients", "adapters", "tokens/s", "peer's", "ratio", "first token p50, p99", "/v1/models p99", "failed")
    ]
    for shape in options.shapes:
        folder = model_of(shape, options.cache, os.cpu_count() or 1).folder
        found: dict[tuple[int, int], list[Load]] = {}
        beside: dict[int, list[Load]] = {}
        for _ in range(options.rounds):
            for adapters in options.adapters:
                with ours(folder, adapters, options.cache / "serving") as server:
                    asyncio.run(loaded(server, 2, min(5.0, options.seconds)))  # loads the model, and the adapters that it meets
                    for clients in options.clients:
                        found.setdefault((clients, adapters), []).append(asyncio.run(loaded(server, clients, options.seconds)))
            if not options.no_peer:
                with peer(folder, options.cache / "serving-peer") as server:
                    asyncio.run(loaded(server, 2, min(5.0, options.seconds)))
                    for clients in options.clients:
                        beside.setdefault(clients, []).append(asyncio.run(loaded(server, clients, options.seconds)))
        rows += [_row(shape, clients, adapters, loads, beside.get(clients, [])) for (clients, adapters), loads in sorted(found.items())]
    print(as_table(rows))


def _row(shape: str, clients: int, adapters: int, loads: list[Load], beside: list[Load]) -> tuple[object, ...]:
    first = sorted(seconds for load in loads for seconds in load.first)
    listed = sorted(seconds for load in loads for seconds in load.listed)
    ratio = Spread.of(a.speed / b.speed for a, b in zip(loads, beside, strict=True)).text(1, "×") if beside else ""
    return (
        shape,
        clients,
        adapters,
        f"{statistics.median(load.speed for load in loads):,.0f}",
        f"{statistics.median(load.speed for load in beside):,.0f}" if beside else "",
        ratio,
        f"{_at(first, 0.5) * 1000:,.0f}, {_at(first, 0.99) * 1000:,.0f} ms",
        f"{_at(listed, 0.99) * 1000:,.0f} ms",
        sum(load.failures for load in loads),
    )


def _at(ordered: Sequence[float], share: float) -> float:
    """A quantile of numbers in order."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


if __name__ == "__main__":
    main()
