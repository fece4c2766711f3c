"""Runs that learn from people and from rewards, killed with SIGKILL wherever it hurts, go on to the same weights, and never draw again.

What was drawn and judged lies in `lots/` before it is learned from: a lot that is there is read, bit for bit, however often its run dies.
"""

import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tests.engine.runs import end_of, killed_after, start, steps_of, weights_of
from tests.methods.conftest import Make, lots_of

from luthier.engine import lots
from luthier.engine.folder import RunFolder
from luthier.engine.loop import Loop
from luthier.methods.dpo import DPO
from luthier.methods.grpo import GRPO
from luthier.methods.kto import KTO
from luthier.methods.orpo import ORPO
from luthier.methods.ppo import PPO
from luthier.methods.reward_model import RewardModel
from luthier.models.sample import Sampler
from luthier.recipes.run import Run
from luthier.recipes.train import resume, train
from luthier.spec.run import RunSpec

ON_POLICY: dict[str, tuple[type, dict[str, Any]]] = {
    "ppo": (PPO, {"answers": 2, "rollout": {"prompts": 4, "max_new_tokens": 8, "passes": 2}, "kl": {"target": 2.0}}),
    "grpo": (GRPO, {"group": 4, "kl": 0.04, "rollout": {"prompts": 4, "max_new_tokens": 8, "passes": 2}}),
}
OF_PEOPLE: dict[str, tuple[type, str]] = {
    "dpo": (DPO, "Preference"),
    "kto": (KTO, "Thumb"),
    "orpo": (ORPO, "Preference"),
    "reward_model": (RewardModel, "Ranking"),
}

MOMENTS: dict[str, tuple[Any, str]] = {
    "while it draws": (Sampler, "step"),
    "while it stores what it drew": (lots, "fsync"),
    "between minibatches": (Loop, "_step"),
    "while it looks back at a lot": (Loop, "_lot"),
}


def counting(target: Any, name: str, patch: pytest.MonkeyPatch, happens: Callable[[int], None]) -> None:
    """Calls `happens` with its number before each call of a function."""
    real, numbers = getattr(target, name), itertools.count(1)

    def counted(*arguments: Any, **named: Any) -> Any:
        happens(next(numbers))
        return real(*arguments, **named)

    patch.setattr(target, name, counted)


def seen(run: Run) -> list[dict[str, Any]]:
    """What was found of each lot, but for how long it took."""
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lots_of(run)]


class Unbroken:
    """A run that nobody disturbed, and how often it came by each of the moments."""

    def __init__(self, spec: Callable[[Path], RunSpec], folder: Path, kind: type) -> None:
        self.spec, self.folder, self.kind = spec, folder, kind
        self.calls = dict.fromkeys(MOMENTS, 0)
        with pytest.MonkeyPatch.context() as patch:
            for moment, (target, name) in MOMENTS.items():
                counting(target, name, patch, lambda number, moment=moment: self.calls.update({moment: number}))
            began = time.perf_counter()
            self.run = train(spec(folder / "unbroken"))
            self.seconds = time.perf_counter() - began

    def go_on(self, out: Path) -> Run:
        """Resume, or start where the process died before there was a run."""
        return resume(out) if RunFolder(out).is_run else train(self.spec(out))

    def dies(self, out: Path, moment: str, call: int) -> bool:
        """In a process of its own, which kills itself at that call; whether it came so far."""
        target, name = MOMENTS[moment]

        def happens(number: int) -> None:
            if number == call:
                os.kill(os.getpid(), signal.SIGKILL)

        def work() -> None:
            counting(target, name, pytest.MonkeyPatch(), happens)
            self.go_on(out)

        return end_of(start(work)) == -signal.SIGKILL

    def assert_goes_on(self, out: Path) -> None:
        """To the same weights by the same steps; what lay in `lots/` is what lies there now, and was not collected again."""
        stored = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (out / "lots").glob("lot-*")}
        collected: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            real = self.kind.collect

            def collect(method: Any, examples: Any, state: Any, number: int) -> Any:
                collected.append(number)
                return real(method, examples, state, number)

            patch.setattr(self.kind, "collect", collect)
            run = self.go_on(out)
        assert not {f"lot-{number:06d}.safetensors" for number in collected} & set(stored)
        for name, (written, content) in stored.items():
            path = out / "lots" / name
            assert (path.stat().st_mtime_ns, path.read_bytes()) == (written, content)
        assert run.record["status"] == "succeeded" and run.record["bit_exact"] is True
        assert weights_of(run) == weights_of(self.run)
        assert [line["loss"] for line in steps_of(run)] == [line["loss"] for line in steps_of(self.run)]
        assert seen(run) == seen(self.run)
        names = sorted(path.name for path in (self.run.path / "lots").glob("lot-*"))
        assert sorted(path.name for path in (out / "lots").glob("lot-*")) == names
        for name in names:
            mine, theirs = (load_file(path / "lots" / name) for path in (out, self.run.path))
            assert {k: v.numpy().tobytes() for k, v in mine.items()} == {k: v.numpy().tobytes() for k, v in theirs.items()}


@pytest.fixture(scope="module", params=ON_POLICY)
def rewarded(request: pytest.FixtureRequest, make: Make, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """PPO or GRPO with a reward: 6 lots, each learned from twice, two steps or more a pass."""
    kind, settings = ON_POLICY[request.param]
    method = {"name": request.param, **settings}
    data = {"checkpoints": {"every": 3, "keep_states": 9}}
    return Unbroken(lambda out: make(method, "Task", out, **data), tmp_path_factory.mktemp(request.param), kind)


@pytest.mark.parametrize("rewarded", ["grpo"], indirect=True)
def test_killed_between_two_minibatches_of_one_lot(rewarded: Unbroken, tmp_path: Path):
    """After a lot was stored and a step of it made, and no checkpoint since."""
    out = tmp_path / "run"
    assert rewarded.dies(out, "between minibatches", 2)
    assert len(list((out / "lots").glob("lot-*"))) == 1
    rewarded.assert_goes_on(out)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_a_moment_that_hurts_and_again_while_it_goes_on(moment: str, rewarded: Unbroken, tmp_path: Path):
    """At random calls, by seed: of the run, and of the one that goes on."""
    draws = random.Random(moment)
    killed = 0
    for number in range(3):
        out = tmp_path / str(number)
        killed += rewarded.dies(out, moment, draws.randint(1, rewarded.calls[moment]))
        killed += rewarded.dies(out, moment, draws.randint(1, max(1, rewarded.calls[moment] // 2)))
        rewarded.assert_goes_on(out)
    assert killed >= 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_any_time_and_again_while_it_goes_on(rewarded: Unbroken, tmp_path: Path):
    draws = random.Random(1)
    killed = 0
    for number in range(4):
        out = tmp_path / str(number)
        moment = draws.uniform(0.1, 0.9) * rewarded.seconds
        killed += killed_after(moment, lambda out=out: train(rewarded.spec(out))) == -signal.SIGKILL
        killed += killed_after(moment / 2, lambda out=out: rewarded.go_on(out)) == -signal.SIGKILL
        rewarded.assert_goes_on(out)
    assert killed >= 4


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", OF_PEOPLE)
def test_what_people_said_is_learned_from_to_the_same_weights(name: str, make: Make, tmp_path: Path):
    """Killed at a random step and at a random time. The reference's log-probabilities, where there are some, are not computed again."""
    kind, rows = OF_PEOPLE[name]
    unbroken = Unbroken(lambda out: make({"name": name}, rows, out, checkpoints={"every": 2}), tmp_path, kind)
    draws = random.Random(name)
    out = tmp_path / "killed"
    assert unbroken.dies(out, "between minibatches", draws.randint(2, unbroken.calls["between minibatches"]))
    killed_after(draws.uniform(0.2, 0.8) * unbroken.seconds, lambda: unbroken.go_on(out))
    unbroken.assert_goes_on(out)
