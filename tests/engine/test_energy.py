"""The energy of a run: an estimate, and that of every part of it."""

import json
import os
import signal
from pathlib import Path

import pytest
from tests.engine.runs import spec_of

from luthier.engine.energy import EnergyMeter
from luthier.engine.report import Silent
from luthier.recipes.train import resume, train

pytest.importorskip("codecarbon", reason="codecarbon is not installed")


def _work() -> int:
    return sum(n * n for n in range(300_000))


def test_it_can_be_read_on_the_way_and_only_grows():
    meter = EnergyMeter()
    assert meter.watt_hours == 0
    with meter:
        readings = [meter.watt_hours for _ in range(3) if _work()]
    assert 0 < readings[0] <= readings[1] <= readings[2] <= meter.watt_hours


class _InterruptAt(Silent):
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, metrics: dict[str, float], seconds_left: float) -> None:
        if metrics["step"] == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_part_that_was_paused_or_killed_counts(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    """Each checkpoint knows what was spent until then, so that a resumed run goes on from there."""
    paused = train(spec_of(toy_folder, toy_rows, tmp_path / "run", checkpoints={"every": 1, "keep_states": 9}), _InterruptAt(2))
    assert paused.record["status"] == "paused"
    kept = [json.loads((paused.path / f"checkpoints/step-0000000{step}/state.json").read_text())["energy_wh"] for step in (0, 1, 2)]
    assert 0 < kept[0] <= kept[1] <= kept[2]
    assert paused.record["energy_wh_estimated"] == pytest.approx(kept[2], abs=2e-3)
    done = resume(paused.path)
    assert done.record["status"] == "succeeded"
    assert done.record["energy_wh_estimated"] >= paused.record["energy_wh_estimated"] + kept[0] / 2
