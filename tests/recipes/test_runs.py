"""What runs look like from outside: finished, going on, killed or damaged; what differs between two."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.engine.folder import RunFolder
from luthier.errors import RunError
from luthier.recipes.runs import chosen, different, list_runs, look, results, settings


def test_a_finished_run(toy_run: Path):
    line = look(toy_run).summary()
    assert (line["name"], line["status"], line["method"], line["adapter"]) == ("toy", "succeeded", "sft", "lora")
    assert (line["steps"], line["data"], line["loss_of"]) == (8, "counting.jsonl", "validation")
    assert line["loss_after"] < line["loss_before"]


def test_results_have_what_was_measured_before_and_after(toy_run: Path):
    found = results(look(toy_run))
    curve = look(toy_run).curve("validation")
    assert found["validation loss"] == (curve[0][1], curve[-1][1])
    assert [step for step, _ in curve] == [0, 2, 4, 6, 8]
    assert found["steps"] == 8
    assert "validation token accuracy" in found


def test_status_without_a_record(toy_run: Path, tmp_path: Path):
    run = RunFolder(Path(shutil.copytree(toy_run, tmp_path / "run")))
    run.record_file.unlink()
    assert look(run.path).status == "interrupted"
    with run.locked():
        assert look(run.path).status == "training"
    assert results(look(run.path))["steps"] == 8


def test_the_list_is_by_age_and_names_what_cannot_be_read(toy_run: Path, tmp_path: Path):
    for name in ("b", "a", "broken"):
        shutil.copytree(toy_run, tmp_path / name, copy_function=shutil.copyfile)
    (tmp_path / "broken/run.yaml").write_text("modle: starter\n", encoding="utf-8")
    (tmp_path / "no-run").mkdir()
    sights, faults = list_runs(tmp_path)
    assert [sight.path.name for sight in sights] == ["b", "a"]
    assert len(faults) == 1
    assert "broken cannot be read: " in faults[0]
    assert "Did you mean" in faults[0]


def test_only_settings_off_their_defaults_are_shown(toy_run: Path):
    found = chosen(look(toy_run).spec)
    assert found["adapter.rank"] == 4
    assert found["train.epochs"] == 4
    assert "train.seed" not in found
    assert "data.train[0].format" not in found
    assert "out" not in settings(look(toy_run).spec)


def test_settings_in_which_two_runs_differ(toy_run: Path, toy_full_run: Path):
    found = different(look(toy_run).spec, look(toy_full_run).spec)
    assert found["adapter.name"] == ("lora", "full")
    assert found["adapter.rank"] == (4, None)
    assert found["train.batch_size"] == (3, 2)
    assert "model.path" not in found
    assert different(look(toy_run).spec, look(toy_run).spec) == {}


def test_no_folder_and_no_run_are_sentences(tmp_path: Path):
    with pytest.raises(RunError, match="There is no folder"):
        list_runs(tmp_path / "nowhere")
    with pytest.raises(RunError, match="holds no run"):
        look(tmp_path)


def test_looking_needs_no_torch():
    program = "import luthier.recipes.runs, luthier.cli._plot, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "False"
