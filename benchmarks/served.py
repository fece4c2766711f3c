"""Servers to measure, each in a process of its own on loopback: `luthier serve` with tuned models, and `transformers serve`."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import torch
from safetensors.torch import save_file

from benchmarks.peer import PYTHON
from luthier.store.blobs import blobs_of
from luthier.store.home import Home
from luthier.store.models import Model, Models, tuned_row
from luthier.store.tables import models as models_table

RANK = 8
START_S, PEER_PORT = 120.0, 18_777
PEER_MEMORY = "0.2"
"""Share of the free memory that it takes for keys and values at once: more than 64 conversations of these lengths need."""


@dataclass(frozen=True)
class Server:
    """Where to ask, with which key, and by which names the models go. `log`: what the process says of its faults."""

    url: str
    key: str
    names: Sequence[str]
    process: "subprocess.Popen[bytes]"
    log: Path
    home: Path | None = None


@dataclass(frozen=True)
class PeerSettings:
    """How `transformers serve` is set: its type of number, its attention function, and the threads that compute."""

    dtype: str
    attention: str
    threads: int

    def __str__(self) -> str:
        return f"{self.dtype}, {self.attention}, {self.threads} thread{'s' * (self.threads > 1)}"


CORES = os.cpu_count() or 1
PEER_SWEEP = [
    *(PeerSettings(dtype, attention, CORES) for dtype in ("bfloat16", "float32") for attention in ("sdpa", "eager")),
    *(PeerSettings(dtype, "sdpa", CORES - 1) for dtype in ("bfloat16", "float32") if CORES > 1),
]
"""All that it has for a CPU: `--compile` needs a C++ compiler, and flash attention a GPU. With a core left to the clients, too, as here."""


@contextmanager
def ours(folder: Path, adapters: int, scratch: Path, *options: str) -> Iterator[Server]:
    """`luthier serve` with this base, and so many adapters of random weights on it. `options`: further ones of the command."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    home = Home(str(scratch / "home"))
    names = _adapters(home, folder, adapters, scratch)
    said, log = scratch / "said.txt", scratch / "log.txt"
    with said.open("w") as out, log.open("w") as err:
        env = {**os.environ, "LUTHIER_HOME": str(home.folder)}
        command = [sys.executable, "-m", "luthier.cli", "serve", "--port", "18787", *options]
        process = subprocess.Popen(command, env=env, stdout=out, stderr=err)
    try:
        began = time.perf_counter()
        while "Ctrl-C ends it" not in said.read_text():
            assert process.poll() is None and time.perf_counter() - began < START_S, log.read_text()
            time.sleep(0.05)
        told = dict(part.split("=", 1) for part in said.read_text().split() if part.startswith("OPENAI_"))
        yield Server(told["OPENAI_BASE_URL"], told["OPENAI_API_KEY"], names, process, log, Path(home.folder))
    finally:
        process.terminate()
        process.wait(60)
        home.database.close()


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
def peer(folder: Path, settings: PeerSettings, scratch: Path) -> Iterator[Server]:
    """`transformers serve` with continuous batching, in the peers' environment."""
    scratch.mkdir(parents=True, exist_ok=True)
    program, log = PYTHON.with_name("transformers"), scratch / "peer.log"
    options = ["--continuous-batching", "--device", "cpu", "--port", str(PEER_PORT), "--cb-max-memory-percent", PEER_MEMORY]
    options += ["--dtype", settings.dtype, "--attn-implementation", settings.attention]
    with log.open("w") as out:
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(settings.threads)}
        process = subprocess.Popen([program, "serve", *options, str(folder)], stdout=out, stderr=out, env=env)
    try:
        began = time.perf_counter()
        while True:
            assert process.poll() is None and time.perf_counter() - began < START_S, log.read_text()
            try:
                if httpx.get(f"http://127.0.0.1:{PEER_PORT}/health", timeout=1.0).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield Server(f"http://127.0.0.1:{PEER_PORT}/v1", "none", [str(folder)], process, log)
    finally:
        process.terminate()
        process.wait(60)
