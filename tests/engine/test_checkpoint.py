"""Checkpoints are whole or not there, whatever call the process dies at, and what is kept is what was asked for."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.engine.fatal_calls import FatalCall
from tests.engine.runs import end_of, start

from luthier.engine import checkpoint
from luthier.engine.checkpoint import Progress
from luthier.engine.folder import RunFolder, mend, read_lines

CPU = torch.device("cpu")


def tensors_of(step: int) -> dict[str, torch.Tensor]:
    return {"weights/a": torch.full((3, 2), float(step)), "optimizer/a/exp_avg": torch.full((3, 2), -float(step))}


def write(folder: RunFolder, step: int, keep_states: int = 1, keep_weights: int = 2, best: int | None = None) -> None:
    """What the loop does at a checkpoint."""
    tensors = tensors_of(step)
    checkpoint.save(folder, Progress(step), tensors, lambda path: save_file({"a": tensors["weights/a"]}, path / "weights.safetensors"))
    checkpoint.prune(folder, keep_states, keep_weights, best)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_what_is_saved_comes_back(folder: RunFolder):
    progress = Progress(7, lot=2, best_loss=0.5, lot_terms={"loss": 1.5}, certificate=[{"step": 0, "passed": True}])
    checkpoint.save(folder, progress, tensors_of(7), lambda path: (path / "note").write_text("x"))
    loaded = checkpoint.load_latest(folder, CPU)
    assert loaded is not None
    assert loaded[0] == progress
    assert {name: value.tolist() for name, value in loaded[1].items()} == {n: v.tolist() for n, v in tensors_of(7).items()}


def test_there_is_nothing_to_load_at_first(folder: RunFolder):
    assert checkpoint.load_latest(folder, CPU) is None


@pytest.mark.parametrize("name", [checkpoint.STATE, checkpoint.STATE_TENSORS, checkpoint.HASHES, "weights.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_checkpoint_is_passed_over_and_named(folder: RunFolder, name: str, damage: str):
    write(folder, 1, keep_states=2)
    write(folder, 2, keep_states=2)
    path = checkpoint.path_of(folder, 2) / name
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-9], "flipped": bytes([content[0] ^ 1]) + content[1:], "gone": b""}[damage])
    if damage == "gone":
        path.unlink()
    loaded = checkpoint.load_latest(folder, CPU)
    assert loaded is not None
    assert loaded[0].step == 1
    said = [line["message"] for line in read_lines(folder.events_file) if line["kind"] == "damaged"]
    assert said == [] if (name, damage) == (checkpoint.STATE, "gone") else [f"step-00000002 is damaged ({name}) and was passed over"]


def test_states_and_weights_are_kept_as_asked_for(folder: RunFolder):
    """2 full states, 4 weights, and the best besides."""
    for step in range(1, 9):
        write(folder, step, keep_states=2, keep_weights=4, best=min(step, 2))
    assert checkpoint.steps_kept(folder) == [2, 5, 6, 7, 8]
    assert checkpoint.steps_kept(folder, with_state=True) == [7, 8]
    assert all(checkpoint.find_damage(checkpoint.path_of(folder, step)) is None for step in checkpoint.steps_kept(folder))
    assert not list((checkpoint.path_of(folder, 5)).glob("state*"))


def test_pruned_weights_do_not_hide_damage(folder: RunFolder):
    for step in (1, 2):
        write(folder, step)
    (checkpoint.path_of(folder, 1) / "weights.safetensors").write_bytes(b"")
    assert checkpoint.find_damage(checkpoint.path_of(folder, 1)) == "weights.safetensors"


def num_calls(folder: RunFolder) -> int:
    """Calls that touch the file system while checkpoint 3 is written after 1 and 2, and the older ones are pruned."""
    read, written = os.pipe()

    def count() -> None:
        fatal = FatalCall(folder.path, at=0)
        write(folder, 3)
        os.write(written, str(fatal.count).encode())

    assert end_of(start(count)) == 0
    return int(os.read(read, 20))


def test_dying_at_any_call_leaves_the_old_state_or_the_new_one(tmp_path: Path):
    """Of each n: a process dies at its n-th call, then another writes the checkpoint again, as a resumed run would."""

    def fresh(n: int) -> RunFolder:
        folder = RunFolder(tmp_path / str(n))
        folder.path.mkdir()
        for step in (1, 2):
            write(folder, step)
        return folder

    total = num_calls(fresh(0))
    assert total > 15, "mkdirs, writes, syncs, a rename and removals"
    found = []
    for n in range(1, total + 1):
        folder = fresh(n)
        assert end_of(start(lambda folder=folder, n=n: (FatalCall(folder.path, n), write(folder, 3)))) == -9
        loaded = checkpoint.load_latest(folder, CPU)
        assert loaded is not None
        found.append(loaded[0].step)
        assert loaded[1]["weights/a"].tolist() == tensors_of(loaded[0].step)["weights/a"].tolist()
        write(folder, 3)
        assert checkpoint.steps_kept(folder) == [2, 3]
        assert checkpoint.steps_kept(folder, with_state=True) == [3]
        assert sorted(p.name for p in folder.checkpoints.iterdir()) == ["step-00000002", "step-00000003"]
        assert sorted(p.name for p in checkpoint.path_of(folder, 2).iterdir()) == ["hashes.json", "weights.safetensors"]
    assert found == sorted(found)
    assert {2, 3} == set(found), "before the rename the old one, after it the new one"


def test_a_torn_line_is_cut_off(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    whole = json.dumps({"step": 1}) + "\n"
    path.write_text(whole + '{"step": 2, "mess', encoding="utf-8")
    assert read_lines(path) == [{"step": 1}]
    mend(path)
    assert path.read_text(encoding="utf-8") == whole
    mend(path)
    assert path.read_text(encoding="utf-8") == whole
