"""A learning curve trains each share once, on nested rows, and says what more data would bring."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data import load as loading
from luthier.data.split import content_key
from luthier.errors import RunError, SettingsError
from luthier.recipes.curve import Plan, curve, nested, read_curve
from luthier.recipes.curve_figure import draw
from luthier.spec.load import load_run
from luthier.spec.run import DataSource, RunSpec
from luthier.testing import toy_conversations, write_jsonl

FRUIT = ("apple", "pear", "plum", "fig", "lime", "date")
BEASTS = ("dog", "cat", "cow", "hen", "pig", "owl")


def labeled_rows(says: str) -> list[dict[str, str]]:
    pairs = [*((word, "fruit") for word in FRUIT), *((word, "beast") for word in BEASTS)]
    return [{"text": says.format(word), "label": label} for word, label in pairs]


def spec_of(model: Path, rows: Path, validation: Path | None = None, **settings: Any) -> RunSpec:
    given = ["train.batch_size=4", "train.dtype=float32", "adapter=full", "optimizer.learning_rate=0.005", "checkpoints.every=100"]
    data = {"train": str(rows)} | ({"validation": str(validation)} if validation else {})
    return load_run(None, given, model=str(model), data=data, **settings)


@pytest.fixture(scope="module")
def measured(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, dict[str, Any], list[str]]:
    """A finished curve over three shares, and what was said on the way."""
    folder = tmp_path_factory.mktemp("curve")
    train = write_jsonl(folder / "things.jsonl", labeled_rows("I see a {}."))
    held = write_jsonl(folder / "held.jsonl", labeled_rows("There is one {} here."))
    plan = Plan(spec_of(toy_folder, train, held), folder / "out", (0.5, 0.75, 1.0))
    said: list[str] = []
    return plan, curve(plan, said.append), said


def test_every_share_is_measured_on_the_same_rows(measured: tuple[Plan, dict[str, Any], list[str]]):
    _, found, _ = measured
    assert [point["rows"] for point in found["points"]] == [6, 9, 12]
    assert found["held_out_rows"] == 12
    assert all(0 <= point["accuracy"] <= 1 and point["loss"] > 0 for point in found["points"])
    assert {fit["forecasts"][0]["rows"] for fit in found["fits"].values()} == {24}


def test_a_finished_curve_trains_nothing_again(measured: tuple[Plan, dict[str, Any], list[str]]):
    plan, found, _ = measured
    before = {path: path.stat().st_mtime_ns for path in plan.folder.rglob("record.json")}
    said: list[str] = []
    assert curve(plan, said.append) == found == read_curve(plan.folder)
    assert said == ["3 shares are measured already"]
    assert {path: path.stat().st_mtime_ns for path in plan.folder.rglob("record.json")} == before


def test_another_share_joins_the_curve(measured: tuple[Plan, dict[str, Any], list[str]], tmp_path: Path):
    """Shares may be added; other settings are another curve."""
    import shutil

    plan, found, _ = measured
    folder = Path(shutil.copytree(plan.folder, tmp_path / "out"))
    more = curve(Plan(plan.spec, folder, (0.5, 0.6, 0.75, 1.0)))
    assert [point["share"] for point in more["points"]] == [0.5, 0.6, 0.75, 1.0]
    assert [point for point in more["points"] if point["share"] != 0.6] == found["points"]
    other = plan.spec.model_copy(update={"train": plan.spec.train.model_copy(update={"epochs": 2})})
    with pytest.raises(RunError, match="the curve of other settings"):
        curve(Plan(other, folder, plan.shares))


def test_the_figure_is_drawn_the_same_each_time(measured: tuple[Plan, dict[str, Any], list[str]], tmp_path: Path):
    _, found, _ = measured
    first = [file.read_bytes() for file in draw(found, tmp_path)]
    assert [file.read_bytes() for file in draw(found, tmp_path)] == first
    assert b"accuracy on held-out rows" in first[1] or b"<svg" in first[1]


def test_the_rows_of_a_share_are_among_those_of_a_larger_one(tmp_path: Path):
    rows = loading.read(DataSource(path=str(write_jsonl(tmp_path / "rows.jsonl", toy_conversations(10)))))
    drawn = [{content_key(row) for row in nested(rows, share, 3)} for share in (0.1, 0.4, 0.7, 1.0)]
    assert [len(keys) for keys in drawn] == [1, 4, 7, 10]
    assert all(small < large for small, large in itertools.pairwise(drawn))
    assert drawn[1] != {content_key(row) for row in nested(rows, 0.4, 4)}


def test_conversations_are_copied_as_they_are_and_held_out_by_seed(toy_folder: Path, tmp_path: Path):
    """Weights, tools and their calls survive the copies; without validation rows a tenth is set aside."""
    rows = toy_conversations(20)
    call = {"id": "c1", "type": "function", "function": {"name": "count", "arguments": '{"from": 3}'}}
    rows[1] = {
        "messages": [{"role": "user", "content": "Count."}, {"role": "assistant", "content": None, "tool_calls": [call]}],
        "tools": [{"type": "function", "function": {"name": "count", "parameters": {"type": "object", "properties": {}}}}],
    }
    rows[3]["messages"][-1]["weight"] = 0.5
    train = write_jsonl(tmp_path / "rows.jsonl", rows)
    said: list[str] = []
    plan = Plan(spec_of(toy_folder, train, train={"max_steps": 2}), tmp_path / "out", (0.4, 0.7, 1.0))
    found = curve(plan, said.append)
    assert found["held_out_rows"] == 2
    assert "accuracy" not in found["points"][0]
    assert said[0].startswith("No rows to validate on are named: 10 %")
    original = {content_key(row) for row in loading.read(DataSource(path=str(train)))}
    copies = [loading.read(DataSource(path=str(tmp_path / f"out/{name}.jsonl"))) for name in ("train-1", "held-out")]
    assert {content_key(row) for rows in copies for row in rows} == original


def test_a_budget_ends_the_curve_or_says_that_it_is_too_small(toy_folder: Path, tmp_path: Path):
    train = write_jsonl(tmp_path / "things.jsonl", labeled_rows("I see a {}."))
    held = write_jsonl(tmp_path / "held.jsonl", labeled_rows("There is one {} here."))
    plan = Plan(spec_of(toy_folder, train, held), tmp_path / "out", (0.5, 0.75, 1.0), budget_s=1e-3)
    with pytest.raises(RunError, match="held 1 shares; a curve needs 3"):
        curve(plan)
    assert len(json.loads((tmp_path / "out/curve.json").read_text(encoding="utf-8"))["points"]) == 1
    with pytest.raises(RunError, match="not finished"):
        read_curve(tmp_path / "out")


@pytest.mark.parametrize("shares", [(0.5, 1.0), (0.5, 0.2, 1.0), (0.0, 0.5, 1.0), (0.2, 0.5, 1.5)])
def test_shares_that_make_no_curve_are_refused(toy_folder: Path, toy_rows: Path, tmp_path: Path, shares: tuple[float, ...]):
    with pytest.raises(SettingsError, match="`--shares`"):
        Plan(spec_of(toy_folder, toy_rows), tmp_path / "out", shares)


def test_a_folder_with_other_things_is_left_alone(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="not empty"):
        curve(Plan(spec_of(toy_folder, toy_rows), tmp_path))
