"""Luthier's side: `luthier train` as anybody would call it, and what its run folder says afterwards."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from safetensors.numpy import load_file

from benchmarks.cases import ALPHA, LEARNING_RATE, RANK, REWARD, Case, Work
from benchmarks.process import Watched, run
from benchmarks.results import Measurement, Step, spread_over
from luthier.batches.order import steps as in_order

SCRIPT = Path(sys.executable).with_name("luthier")
SEED = 0
REFERENCE = ("logps/chosen", "logps/rejected")
"""What TRL calls the mean log-probabilities of a step's better and worse answers."""


def settings(case: Case, work: Work, threads: int) -> list[str]:
    """`key=value`s: the same work as the peer's; all else as it comes, certificate included."""
    return [*common(case.dtype, work, threads), *_of_method(case, work)]


def common(dtype: str, work: Work, threads: int) -> list[str]:
    """Of any method. As few checkpoints as there can be, and no sampled answers besides."""
    return [
        f"adapter.rank={RANK}",
        f"adapter.alpha={ALPHA}",
        f"optimizer.learning_rate={LEARNING_RATE:g}",
        "optimizer.schedule=constant",
        "optimizer.warmup_share=0",
        f"train.batch_size={work.rows_per_step}",
        f"train.max_steps={work.num_steps}",
        f"train.dtype={dtype}",
        f"train.threads={threads}",
        f"train.seed={SEED}",
        "evaluation.prompts=[]",
        "checkpoints.every=1000000",
    ]


def _of_method(case: Case, work: Work) -> list[str]:
    """What TRL's defaults say otherwise, and what is drawn."""
    if case.method == "reward_model":
        return ["method.center=0"]
    if case.method == "grpo":
        return [f"method.group={work.answers}", *drawing(work)]
    return []


def drawing(work: Work, reward: str = f"{REWARD}:score") -> list[str]:
    """The answers of each step, and what they are worth."""
    rollout = {"prompts": work.read_per_step, "max_new_tokens": work.new_tokens}
    return [*(f"method.rollout.{key}={value}" for key, value in rollout.items()), f"reward={reward}"]


def first_step_of(num_rows: int, read_per_step: int) -> list[int]:
    """The rows that the first step learns from, or draws answers to."""
    return list(in_order([0] * num_rows, [1.0], read_per_step, SEED, 0)[0])


def measure(
    method: str,
    model: Path,
    rows: Path,
    given: list[str],
    threads: int,
    scratch: Path,
    look: Callable[[Path], None] | None = None,
) -> Measurement:
    """One run into a fresh folder, which is removed again.

    Args:
        look: sees the folder before.
    """
    folder = scratch / "ours"
    shutil.rmtree(folder, ignore_errors=True)
    load = float(psutil.getloadavg()[0])
    command: list[str | Path] = [SCRIPT, "train", method, "--model", model, "--data", rows, "--out", folder, "--json", *given]
    watched = run(command, threads, scratch / "ours.log", watch=folder / "metrics.jsonl")
    measurement = _measurement(_Traces.of(folder), watched, load)
    if look is not None:
        look(folder)
    shutil.rmtree(folder)
    return measurement


@dataclass(frozen=True)
class _Traces:
    """What a run folder says. `lots`: the files of what was collected; `collected`: (first step, when it was there) of each."""

    folder: Path
    lines: list[dict[str, Any]]
    events: list[dict[str, Any]]
    lots: list[Path]
    collected: list[tuple[int, float]]

    @classmethod
    def of(cls, folder: Path) -> "_Traces":
        lines, events = (_read(folder / name) for name in ("metrics.jsonl", "events.jsonl"))
        first = {line["lot"]: line["step"] for line in lines if line["kind"] == "lot"}
        lots = sorted((folder / "lots").glob("lot-*.safetensors"))
        collected = [(first.get(number, 1), path.stat().st_mtime) for number, path in enumerate(lots)]
        return cls(folder, lines, events, lots, collected)

    @property
    def train(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == "train"]

    @property
    def begin(self) -> float:
        """When everything was ready for the first lot."""
        return max(path.stat().st_mtime for path in (self.folder / "checkpoints" / "step-00000000").iterdir())

    @property
    def certified(self) -> dict[int, float]:
        """Step → when its certificate was there."""
        return {event["step"]: event["time"] for event in self.events if event["kind"] == "certificate"}

    @property
    def draws(self) -> bool:
        """Whether lots are drawn on the way; the only one of other methods is the data itself, and serves every epoch."""
        return any(line["kind"] == "lot" for line in self.lines)

    def collecting(self) -> list[float]:
        """Seconds that each lot took before its first step: its answers, what a reference says of it."""
        found, before, certified = [], self.begin, self.certified
        for (first, there), (after, _) in pairwise([*self.collected, (len(self.train) + 1, 0.0)]):
            found.append(there - before)
            before = there
            for line in self.train[first - 1 : after - 1]:
                before = max(before + line["seconds"], certified.get(line["step"], 0.0))
        return found

    def facts(self) -> dict[str, float]:
        """Of the first step, by the names that the peer's side has, too."""
        first = self.train[0]
        if "entropy" in first:
            return {"entropy": first["entropy"]}
        return {"loss": first["loss"], **self._reference()}

    def _reference(self) -> dict[str, float]:
        """Mean log-probabilities, under the reference, of the better and of the worse answers of the first step's rows."""
        lot = load_file(self.lots[0]) if self.lots else {}
        if "token/reference" not in lot:
            return {}
        sequences = np.cumsum([0, *lot["lengths"]])
        scored = np.cumsum([0, *((lot["weights"][a:b] != 0).sum() for a, b in pairwise(sequences))])
        sums = np.array([lot["token/reference"][a:b].sum(dtype=np.float64) for a, b in pairwise(scored)]).reshape(-1, 2)
        chosen, rejected = sums[first_step_of(len(sums), len(sums) // len(self.train))].mean(0)
        return dict(zip(REFERENCE, (float(chosen), float(rejected)), strict=True))


def _measurement(traces: _Traces, watched: Watched, load: float) -> Measurement:
    ends = [when for when, line in zip(watched.lines, traces.lines, strict=True) if line["kind"] == "train"]
    spans = [(when - line["seconds"], when) for when, line in zip(ends, traces.train, strict=True)]
    steps = [Step(int(line["tokens"]), line["seconds"], line["loss"]) for line in traces.train]
    collecting, facts = traces.collecting(), traces.facts()
    if traces.draws:
        for (first, _), seconds in zip(traces.collected, collecting, strict=True):
            step = steps[first - 1]
            steps[first - 1] = Step(step.tokens, step.seconds + seconds, step.loss)
    return Measurement(
        steps=tuple(steps) if traces.draws else spread_over(steps, sum(collecting)),
        startup=_startup(traces, watched.started, ends[0]),
        total_s=watched.seconds,
        peak_bytes=watched.peak_bytes,
        peak_in_steps_bytes=watched.peak_within(spans),
        load=load,
        facts=facts,
        kept_s=sum(collecting) if set(REFERENCE) <= facts.keys() else 0.0,
    )


def _startup(traces: _Traces, started: float, first_step: float) -> dict[str, float]:
    """Where the time to the first step went, by when each file of the run folder was written."""
    folder = traces.folder
    moments = {
        "start and imports": (folder / ".lock").stat().st_mtime,
        "rows, model, probe": (folder / "start.json").stat().st_mtime,
        "certificate": next(event["time"] for event in traces.events if event["kind"] == "certificate"),
        "first checkpoint": traces.begin,
        **({"first lot": traces.collected[0][1]} if traces.collected else {}),
        "step 1": first_step,
    }
    before = [started, *moments.values()]
    return {name: when - earlier for (name, when), earlier in zip(moments.items(), before, strict=False)}


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
