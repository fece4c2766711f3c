"""Luthier's side: `luthier train sft` as anybody would call it, and what its run folder says afterwards."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cases import ALPHA, LEARNING_RATE, RANK, Case, Work
from benchmarks.process import Watched, run
from benchmarks.results import Measurement, Step

SCRIPT = Path(sys.executable).with_name("luthier")
SEED = 0


def settings(case: Case, work: Work, threads: int) -> list[str]:
    """`key=value`s: the same work as the peer's, as few checkpoints as there can be; all else as it comes, certificate included."""
    return [
        f"adapter.rank={RANK}",
        f"adapter.alpha={ALPHA}",
        f"optimizer.learning_rate={LEARNING_RATE:g}",
        "optimizer.schedule=constant",
        "optimizer.warmup_share=0",
        f"train.batch_size={work.rows_per_step}",
        f"train.max_steps={work.num_steps}",
        f"train.dtype={case.dtype}",
        f"train.threads={threads}",
        f"train.seed={SEED}",
        "evaluation.prompts=[]",
        "checkpoints.every=1000000",
    ]


def measure(model: Path, rows: Path, given: list[str], threads: int, scratch: Path) -> Measurement:
    """One run into a fresh folder, which is removed again."""
    folder = scratch / "ours"
    shutil.rmtree(folder, ignore_errors=True)
    load = float(psutil.getloadavg()[0])
    command: list[str | Path] = [SCRIPT, "train", "sft", "--model", model, "--data", rows, "--out", folder, "--json", *given]
    watched = run(command, threads, scratch / "ours.log", watch=folder / "metrics.jsonl")
    measurement = _measurement(folder, watched, load)
    shutil.rmtree(folder)
    return measurement


def _measurement(folder: Path, watched: Watched, load: float) -> Measurement:
    lines = [(when, line) for when, line in zip(watched.lines, _read(folder / "metrics.jsonl"), strict=True) if line["kind"] == "train"]
    steps = tuple(Step(int(line["tokens"]), line["seconds"], line["loss"]) for _, line in lines)
    spans = [(when - line["seconds"], when) for when, line in lines]
    return Measurement(
        steps=steps,
        startup=_startup(folder, watched.started, lines[0][0]),
        total_s=watched.seconds,
        peak_bytes=watched.peak_bytes,
        peak_in_steps_bytes=watched.peak_within(spans),
        load=load,
    )


def _startup(folder: Path, started: float, first_step: float) -> dict[str, float]:
    """Where the time to the first step went, by when each file of the run folder was written."""
    events = _read(folder / "events.jsonl")
    first_checkpoint = folder / "checkpoints" / "step-00000000"
    moments = {
        "start and imports": (folder / ".lock").stat().st_mtime,
        "rows, model, probe": (folder / "start.json").stat().st_mtime,
        "certificate": next(event["time"] for event in events if event["kind"] == "certificate"),
        "first checkpoint": max(path.stat().st_mtime for path in first_checkpoint.iterdir()),
        "step 1": first_step,
    }
    before = [started, *moments.values()]
    return {name: when - earlier for (name, when), earlier in zip(moments.items(), before, strict=False)}


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
