"""The benchmark of classification: its few-shot rows, its table, and one cell with a toy."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.classification import ALL, few, markdown, without

from benchmarks import classification

ROWS = [(f"text {i}", "ab"[i % 2]) for i in range(40)]


def test_few_rows_are_nested_and_balanced():
    five, ten = few(ROWS, "5"), few(ROWS, "10")
    assert [label for _, label in five].count("a") == 5
    assert len(ten) == 20
    assert set(five) < set(ten) < set(few(ROWS, ALL))
    assert five == sorted(five, key=ROWS.index)


def test_test_rows_that_were_learned_are_left_out():
    assert without([("one", "a"), ("two", "b")], [("one", "b")]) == [("two", "b")]


def cell(size: str, accuracy: float, scope: dict[str, Any] | None = None) -> dict[str, Any]:
    scores = {"accuracy": accuracy, "accuracy_low": accuracy - 0.02, "accuracy_high": accuracy + 0.02, "f1": accuracy}
    column = {"scores": scores, "out_of_scope": scope}
    return {"model": "stories260k", "data": "clinc150", "size": size, "test_rows": 5500, "columns": [column, column, column]}


def test_the_table_is_in_order_with_out_of_scope_below():
    scope = {"recall": 0.5, "precision": 0.25, "area": 0.75, "in_scope_accuracy": 0.6}
    lines = markdown([cell(ALL, 0.8, scope), cell("5", 0.3)]).splitlines()
    assert lines[2].startswith("| CLINC150 | 5 | stories260k | **30.0%** ± 2.0 | 0.300 |")
    assert lines[3].endswith("| 5,500 |")
    assert lines[-1] == "| CLINC150 | all | stories260k | 50.0% | 25.0% | 0.750 | 60.0% | 50.0% | 25.0% | 0.750 | 60.0% |"


@pytest.mark.slow
def test_a_cell_is_measured_and_kept(toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The real commands on a toy: measured once, printed again without measuring."""
    rows = {
        "train": [(f"I see {w}.", "ab"[i % 2]) for i, w in enumerate(["one", "two", "three", "four", "five", "six"])],
        "test": [("Look, one!", "a")],
    }
    monkeypatch.setattr(classification, "SHARED", tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/toy").symlink_to(toy_folder)
    monkeypatch.setitem(classification.MODELS, "toy", classification.ModelCase("toy", 1e-3, None))
    monkeypatch.setitem(classification.DATA, "things", classification.DataCase("things", "Things", {"5": 1}))
    monkeypatch.setitem(classification.READERS, "things", lambda part: iter(rows[part]))
    asked = ["--models", "toy", "--data", "things", "--sizes", "5", "--out", str(tmp_path / "out.json"), "--cache", str(tmp_path / "cache")]
    classification.main(asked)
    (found,) = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert (found["train_rows"], found["test_rows"], found["classes"]) == (6, 1, 2)
    before = capsys.readouterr().out
    classification.main(asked)
    assert capsys.readouterr().out in before
