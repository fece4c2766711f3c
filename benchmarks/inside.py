"""Luthier beside itself: what a PPO step costs beside a GRPO step, what sharing prompts saves, what PPO's four roles hold.

    python -m benchmarks.inside                       # on 2 cores about half an hour
    python -m benchmarks.inside --cases ppo-grpo      # one of them
    python -m benchmarks.inside --quick               # does the benchmark itself work?

As in `benchmarks.run` each side is `luthier train` in a process of its own, the two take turns, and ratios are taken within a round. What
comes out stands in the same results file.
"""

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
from safetensors.numpy import load_file

from benchmarks import ours, results, rows
from benchmarks.cases import Work
from benchmarks.inputs import Model, model_of, rows_of
from benchmarks.process import CommandFailed, run
from benchmarks.results import GIB, Measurement, SidesResult, Spread
from benchmarks.run import arguments, of_today, read, told
from benchmarks.shapes import SHAPES

STILL = 1e-9
"""A learning rate at which weights move, so that a run counts, but in no digit that an answer is drawn by."""


@dataclass(frozen=True)
class Place:
    """Where a comparison runs."""

    model: Model
    threads: int
    scratch: Path

    def train(self, method: str, data: Path, given: list[str], look: Callable[[Path], None] | None = None) -> Measurement:
        return ours.measure(method, self.model.folder, data, given, self.threads, self.scratch, look)


class Looking:
    """Sees run folders before they are removed."""

    def __init__(self) -> None:
        self.answers: list[list[bytes]] = []
        self.computed: list[float] = []

    def __call__(self, folder: Path) -> None:
        lots = sorted((folder / "lots").glob("lot-*.safetensors"))
        self.answers.append([load_file(lot)["ids"].tobytes() for lot in lots])
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        last = [line for line in lines if line["kind"] == "train"][-1]
        self.computed.append(last["tokens_computed"] / last["tokens"])


Found = tuple[tuple[tuple[float, float], ...], tuple[str, ...]]
"""The figures of both sides by round, and what else there is to say."""


@dataclass(frozen=True)
class Sides(ABC):
    """One comparison. `ratio` is of the first side over the second."""

    name: str
    title: str
    sides: tuple[str, str]
    unit: str
    aim: str
    shape: str
    dtype: str
    work: Work

    @abstractmethod
    def measure(self, place: Place, number: int) -> Found:
        """`number` rounds."""


@dataclass(frozen=True)
class Critic(Sides):
    """PPO beside GRPO on the same answers. Each draws its own, at a rate at which nothing is learned, and so the same: that is checked."""

    def measure(self, place: Place, number: int) -> Found:
        _, data = rows_of(place.model, "grpo", self.work.num_rows, place.scratch)
        given = [*ours.common(self.dtype, self.work, place.threads), *ours.drawing(self.work), f"optimizer.learning_rate={STILL:g}"]
        each = self.work.answers
        rounds, looking = [], Looking()
        for _ in range(number):
            ppo = place.train("ppo", data, [*given, f"method.answers={each}", "method.rollout.passes=1"], looking)
            grpo = place.train("grpo", data, [*given, f"method.group={each}", "method.drop_equal=false"], looking)
            rounds.append((_a_step(ppo), _a_step(grpo)))
        if any(answers != looking.answers[0] for answers in looking.answers):
            raise SystemExit("PPO and GRPO did not learn from the same answers, so their steps are no comparison.")
        amount = f"{self.work.rows_per_step} answers of up to {self.work.new_tokens} tokens a step, {each} to a prompt"
        return tuple(rounds), (
            f"{amount}; drawing, scoring and one pass of learning. Every answer of all lots was the same on both sides.",
        )


@dataclass(frozen=True)
class Sharing(Sides):
    """Rows whose prompts begin alike beside rows of the same length whose prompts differ in their first word."""

    tokens: int = 96
    answers: int = 8

    def measure(self, place: Place, number: int) -> Found:
        prompts, count = self.work.rows_per_step // self.answers, place.model.count()
        data = {
            alike: rows.write(place.scratch / f"sharing-{alike}.jsonl", rows.several(prompts, self.answers, self.tokens, count, alike))
            for alike in (True, False)
        }
        given = [*ours.common(self.dtype, self.work, place.threads), f"train.epochs={self.work.num_steps}"]
        rounds, looking = [], Looking()
        for _ in range(number):
            shared, apart = (place.train("sft", data[alike], given, looking) for alike in (True, False))
            if [s.tokens for s in shared.steps] != [s.tokens for s in apart.steps]:
                raise SystemExit("Rows that begin alike and rows that do not differ in length, so their steps are no comparison.")
            rounds.append((shared.tokens_per_second, apart.tokens_per_second))
        computed = f"of their tokens {looking.computed[0]:.0%} are computed, without sharing {looking.computed[1]:.0%}"
        return tuple(rounds), (f"{self.answers} answers to each prompt, which is half of each row; {computed}.",)


SFT = Work(16, 3)


@dataclass(frozen=True)
class Roles(Sides):
    """PPO's policy, reference, critic and reward model on one base, beside supervised tuning of it."""

    sft_work: Work = SFT

    def measure(self, place: Place, number: int) -> Found:
        source, data = rows_of(place.model, "sft", self.sft_work.num_rows, place.scratch)
        _, prompts = rows_of(place.model, "grpo", self.work.num_rows, place.scratch)
        sft = ours.common(self.dtype, self.sft_work, place.threads)
        judge = f"[{{name: reward_model, path: {self._judge(place)}, accept: true}}]"
        ppo = [*ours.common(self.dtype, self.work, place.threads), *ours.drawing(self.work, judge)]
        ppo += [f"method.answers={self.work.answers}", "method.rollout.passes=1"]
        rounds = []
        for _ in range(number):
            four, one = place.train("ppo", prompts, ppo), place.train("sft", data, sft)
            rounds.append((four.peak_bytes / GIB, one.peak_bytes / GIB))
        return tuple(rounds), (
            f"PPO: {self.work.rows_per_step} answers of up to {self.work.new_tokens} tokens a step, judged by a reward model that was "
            f"tuned from the same base; SFT: {self.sft_work.rows_per_step} rows of {source} a step.",
        )

    def _judge(self, place: Place) -> Path:
        """A reward model of two steps, which is as large as any."""
        work, folder = Work(4, 2), place.scratch / "judge"
        _, data = rows_of(place.model, "reward_model", work.num_rows, place.scratch)
        shutil.rmtree(folder, ignore_errors=True)
        command: list[str | Path] = [ours.SCRIPT, "train", "reward_model", "--model", place.model.folder, "--data", data, "--out", folder]
        run([*command, *ours.common(self.dtype, work, place.threads)], place.threads, place.scratch / "judge.log")
        return folder


def _a_step(side: Measurement) -> float:
    return side.steady_s / len(side.steps[1:])


_BF16 = ("m125", "bfloat16")
_TOY = ("tiny", "float32")
_COST = (("PPO", "GRPO"), "s", "at most 1.5×")
_SAVES = (("shared", "apart"), "tokens/s", "at least 1.3×")
_HOLDS = (("PPO", "SFT"), "GiB", "at most 1.5×")

CASES: dict[str, Sides] = {
    case.name: case
    for case in (
        Critic("ppo-grpo", "PPO step, 15M, bf16", *_COST, "m15", "bfloat16", Work(64, 4, 8, 64)),
        Sharing("sharing", "Shared prompts, 125M, bf16", *_SAVES, *_BF16, Work(32, 4)),
        Sharing("sharing-pairs", "Shared prompts of pairs, 125M, bf16", *_SAVES, *_BF16, Work(16, 4), answers=2),
        Roles("roles", "Peak memory, 125M, bf16", *_HOLDS, *_BF16, Work(16, 2, 4, 64)),
    )
}
TOYS: dict[str, Sides] = {
    case.name: case
    for case in (
        Critic("tiny-ppo-grpo", "PPO step, a toy", *_COST, *_TOY, Work(8, 3, 4, 8)),
        Sharing("tiny-sharing", "Shared prompts, a toy", *_SAVES, *_TOY, Work(4, 2), tokens=48, answers=2),
        Roles("tiny-roles", "Peak memory, a toy", *_HOLDS, *_TOY, Work(4, 2, 2, 8), sft_work=Work(4, 2)),
    )
}


def main(given: list[str] | None = None) -> Path:
    """Measure, write after each comparison, draw. The results file of the same day and machine is added to."""
    assert __doc__ is not None
    cases, toys = ({case.name: case.title for case in found.values()} for found in (CASES, TOYS))
    options = read(arguments(__doc__, cases, toys), given, cases, toys)
    path, known = of_today(options.out)
    for name in options.cases:
        case = {**CASES, **TOYS}[name]
        print(f"{case.title}: {case.sides[0]} beside {case.sides[1]}, {options.threads} threads", flush=True)
        place = Place(model_of(case.shape, options.cache, options.threads), options.threads, options.cache / "scratch")
        rounds, notes = case.measure(place, options.rounds)
        ratio = Spread.of(first / second for first, second in rounds)
        print(f"  {ratio.text(2, '×')}, {case.aim}. {' '.join(notes)}", flush=True)
        result = SidesResult(
            title=case.title,
            sides=case.sides,
            unit=case.unit,
            rounds=rounds,
            ratio=ratio,
            aim=case.aim,
            shape=SHAPES[case.shape].title,
            threads=options.threads,
            measured=datetime.now().isoformat(timespec="minutes"),
            notes=notes,
        )
        path, known = of_today(options.out)  # others may have written meanwhile
        known = msgspec.structs.replace(known, inside={**known.inside, name: result})
        results.write(known, path)
    told(known, path)
    return path


if __name__ == "__main__":
    try:
        main()
    except CommandFailed as error:
        raise SystemExit(str(error)) from None
