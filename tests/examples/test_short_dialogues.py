"""The example for short dialogues, on the toy, and on real dialogues with a small story model."""

from pathlib import Path

import pytest

from luthier.recipes.train import train
from luthier.spec.load import load_run


def test_it_runs_on_any_model_and_rows(root: Path, toy_folder: Path, toy_rows: Path, tmp_path: Path):
    given = [f"model.path={toy_folder}", f"data.train={toy_rows}", f"out={tmp_path / 'run'}", "train.max_steps=2", "evaluation.prompts=[]"]
    run = train(load_run(str(root / "examples/short-dialogues.yaml"), given))
    assert run.record["status"] == "succeeded"


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_story_model_learns_real_dialogues(root: Path, shared: Path, tmp_path: Path):
    """Held-out answers of SODA take less than 1.40 bits a byte within 200 steps, 2.15 before."""
    given = [f"model.path={shared / 'models/stories260k'}", f"data.train={shared / 'data/soda_chat_val/chat_val.txt'}"]
    run = train(load_run(str(root / "examples/short-dialogues.yaml"), [*given, f"out={tmp_path / 'run'}"]))
    before, after = run.record["evaluation"]["before"], run.record["evaluation"]["after"]
    assert run.record["steps"] <= 200
    assert before["bits_per_byte"] == pytest.approx(2.15, abs=0.02)
    assert after["bits_per_byte"] < 1.40
