"""What the queue is told that a run needs."""

from pathlib import Path

import pytest

from luthier.recipes import needs
from luthier.recipes.plan import plan
from luthier.spec.load import load_request


def test_memory_is_the_plans_peak_and_several_processes_on_a_cpu_take_it_several_times(toy_folder: Path, toy_rows: Path):
    def planned(*settings: str, processes: int = 1) -> int:
        spec = load_request("sft", list(settings), model=str(toy_folder), data=[str(toy_rows)])
        found, unknown = needs.planned_needs(spec, processes)
        assert unknown is None
        return int(found["memory_bytes"])

    once = planned()
    assert once == pytest.approx(plan(load_request("sft", [], model=str(toy_folder), data=[str(toy_rows)])).peak.bytes, rel=0.05)
    assert planned(processes=3) == pytest.approx(3 * once, rel=0.05)
    assert planned("adapter=full", processes=3) < 2 * once


def test_a_model_that_cannot_be_planned_is_anybodys_and_that_is_said(toy_folder: Path, toy_rows: Path, monkeypatch: pytest.MonkeyPatch):
    def no_shapes(*_: object) -> None:
        raise NotImplementedError("no kernel for meta")

    monkeypatch.setattr("torch.nn.functional.linear", no_shapes)
    found, unknown = needs.planned_needs(load_request("sft", [], model=str(toy_folder), data=[str(toy_rows)]))
    assert found == {}
    assert unknown is not None
    assert "cannot be planned (NotImplementedError: no kernel for meta), so any worker may take it" in unknown
