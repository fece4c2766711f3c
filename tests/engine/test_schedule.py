"""When a run measures itself and what it keeps: by steps, by epochs, in glances between; and runs that go on from an adapter."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from tests.engine.runs import spec_of, steps_of

from luthier.engine import checkpoint
from luthier.engine.folder import RunFolder, read_lines
from luthier.engine.validation import drawn_anew
from luthier.errors import RunError, SettingsError
from luthier.recipes.run import Run
from luthier.recipes.train import resume, train
from luthier.testing import toy_conversations, write_jsonl


@pytest.fixture(scope="module")
def by_epochs(tmp_path_factory: pytest.TempPathFactory, toy_folder: Path) -> Run:
    """8 rows, 3 a step: 3 steps an epoch, 4 epochs, of which the last two are kept. Read only."""
    folder = tmp_path_factory.mktemp("epochs")
    rows = toy_conversations(10)
    data = {
        "train": str(write_jsonl(folder / "train.jsonl", rows[:8])),
        "validation": str(write_jsonl(folder / "held.jsonl", rows[8:])),
    }
    settings = {
        "data": data,
        "method": {"name": "sft", "token_accuracy": True},
        "train": {"epochs": 4, "batch_size": 3},
        "evaluation": {"every": "epoch", "glance_every": 2, "glance_rows": 1},
        "checkpoints": {"every": 5, "keep_epochs": 2, "keep_states": 1, "keep_weights": 1},
    }
    return train(spec_of(toy_folder, toy_folder, folder / "run", **settings))


def lines(run: Run, kind: str) -> list[int]:
    return [line["step"] for line in run.metrics if line["kind"] == kind]


def test_validated_at_the_end_of_each_epoch_and_looked_at_between(by_epochs: Run):
    an_epoch = len(steps_of(by_epochs)) // 4
    assert lines(by_epochs, "validation") == [an_epoch * epoch for epoch in range(5)]
    total = 4 * an_epoch
    assert lines(by_epochs, "glance") == sorted({*range(2, total, 2), total})


def test_weights_of_the_last_epochs_are_kept_besides(by_epochs: Run):
    an_epoch = len(steps_of(by_epochs)) // 4
    folder = RunFolder(by_epochs.path)
    kept = checkpoint.steps_kept(folder)
    assert {3 * an_epoch, 4 * an_epoch} <= set(kept)
    assert set(kept) - {3 * an_epoch, 4 * an_epoch} <= {by_epochs.record["evaluation"]["best_step"]}
    assert checkpoint.steps_kept(folder, with_state=True) == [4 * an_epoch]


def test_whoever_follows_the_folder_is_told_how_far_it_goes(by_epochs: Run):
    (plan,) = [event for event in read_lines(by_epochs.path / "events.jsonl") if event["kind"] == "plan"]
    total = len(steps_of(by_epochs))
    assert (plan["total_steps"], plan["epochs_kept"], plan["step"]) == (total, [total * 3 // 4, total], 0)


def test_training_says_how_many_tokens_were_foreseen(by_epochs: Run):
    """A toy that begins at random foresees few, and more at the end; validation counts the same."""
    shares = [step["token_accuracy"] for step in steps_of(by_epochs)]
    assert all(0 <= share <= 1 for share in shares)
    assert shares[-1] > shares[0]


def test_a_look_takes_other_rows_each_time():
    looks = [drawn_anew(100, 8, 0, step) for step in range(5)]
    assert all(len(look) == len(set(look.tolist())) == 8 for look in looks)
    assert len({tuple(look.tolist()) for look in looks}) == 5
    assert np.array_equal(drawn_anew(100, 8, 0, 3), looks[3])
    assert drawn_anew(3, 8, 0, 1).tolist() == [0, 1, 2]


def test_methods_that_draw_answers_count_in_steps(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    spec = spec_of(
        toy_folder,
        toy_rows,
        tmp_path / "run",
        data={"validation_share": 0.25},
        method={"name": "grpo"},
        reward=[{"name": "length"}],
        evaluation={"every": "epoch"},
    )
    with pytest.raises(SettingsError, match="in steps"):
        train(spec)


def test_a_run_goes_on_from_an_adapter(toy_folder: Path, toy_rows: Path, toy_run: Path, tmp_path: Path):
    """Its first loss is what the other's weights give, and its adapter is theirs, moved."""
    start = toy_run / "adapter"
    fresh = train(spec_of(toy_folder, toy_rows, tmp_path / "fresh", train={"epochs": 1}, checkpoints={"keep_states": 1}))
    adapter = {"name": "lora", "rank": 4, "start": str(start)}
    further = train(spec_of(toy_folder, toy_rows, tmp_path / "further", train={"epochs": 1}, adapter=adapter))
    assert steps_of(further)[0]["loss"] < steps_of(fresh)[0]["loss"] - 0.2
    assert further.record["model"]["start"] == checkpoint.sha256(start / "adapter_model.safetensors")
    before, after = (load_file(path / "adapter_model.safetensors") for path in (start, further.path / "adapter"))
    assert before.keys() == after.keys()


def test_an_adapter_of_another_shape_is_refused(toy_folder: Path, toy_rows: Path, toy_run: Path, tmp_path: Path):
    adapter = {"name": "lora", "rank": 8, "start": str(toy_run / "adapter")}
    with pytest.raises(SettingsError, match=r"Set `adapter.rank=4` and `adapter.alpha=32`\."):
        train(spec_of(toy_folder, toy_rows, tmp_path / "run", adapter=adapter))


def test_an_adapter_that_changed_meanwhile_is_noticed(toy_folder: Path, toy_rows: Path, toy_run: Path, tmp_path: Path):
    start = tmp_path / "start"
    start.mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (start / name).write_bytes((toy_run / "adapter" / name).read_bytes())
    adapter = {"name": "lora", "rank": 4, "start": str(start)}
    run = train(spec_of(toy_folder, toy_rows, tmp_path / "run", train={"epochs": 1}, adapter=adapter))
    (run.path / "record.json").unlink()
    (start / "adapter_model.safetensors").write_bytes((run.path / "adapter" / "adapter_model.safetensors").read_bytes())
    with pytest.raises(RunError, match="the adapter it goes on from has changed"):
        resume(run.path)
