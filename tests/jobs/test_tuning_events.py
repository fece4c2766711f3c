"""A run's folder as OpenAI's events, checkpoints and results: read while it grows, torn, cut back and gone on with."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from luthier.jobs.tuning_events import checkpoint_event, note_events, step_events
from luthier.jobs.tuning_results import newest, results_csv, snapshots, tuned
from luthier.jobs.tuning_steps import Cursor, estimated_finish, trained_tokens


def train(step: int, loss: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"step": step, "loss": loss, "token_accuracy": 0.5, "seconds": 0.1, **more, "kind": "train"}


def glance(step: int, loss: float) -> dict[str, Any]:
    return {"step": step, "kind": "glance", "loss": loss, "token_accuracy": 0.25}


def full(step: int, loss: float, **more: Any) -> dict[str, Any]:
    return {"step": step, "kind": "validation", "loss": loss, "token_accuracy": 0.4, **more}


def lot(step: int, reward: float) -> dict[str, Any]:
    return {"step": step, "kind": "lot", "lot": step - 1, "reward": reward, "answer_tokens": 12.5, "unfinished": 0.25, "seconds": 2.0}


def drawn(step: int, reward: float) -> list[dict[str, Any]]:
    """A step of a job that draws answers, validated after it."""
    return [
        lot(step, reward),
        {"step": step, "loss": 0.1, "seconds": 1.0, "kind": "train"},
        full(step, -reward, reward=reward),
    ]


class Folder:
    """A run's folder that is written as a run writes it."""

    def __init__(self, path: Path, total_steps: int = 4, epochs_kept: tuple[int, ...] = (2, 4)) -> None:
        self.path = path
        path.mkdir(exist_ok=True)
        self.begin(0, total_steps, epochs_kept)

    def begin(self, step: int, total_steps: int, epochs_kept: tuple[int, ...] = (), at: float = 1000.0) -> None:
        with (self.path / "events.jsonl").open("a") as file:
            plan = {"time": at, "kind": "plan", "message": "", "step": step, "total_steps": total_steps, "epochs_kept": epochs_kept}
            file.write(json.dumps({"time": at, "kind": "certificate", "message": "passed", "step": 0}) + "\n" + json.dumps(plan) + "\n")

    def add(self, *lines: dict[str, Any], torn: str = "") -> None:
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines) + torn)

    def cut_back(self, last_step: int) -> None:
        """As a run that goes on does: a new file with the lines up to a step."""
        path = self.path / "metrics.jsonl"
        kept = [line for line in path.read_text().splitlines() if line.endswith("}") and json.loads(line)["step"] <= last_step]
        partial = path.with_name(".partial")
        partial.write_text("".join(f"{line}\n" for line in kept))
        partial.replace(path)

    def save(self, step: int) -> None:
        folder = self.path / "checkpoints" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        for name in ("adapter_config.json", "adapter_model.safetensors", "state.json", "state.safetensors", "hashes.json"):
            (folder / name).write_text("{}")

    def end(self, status: str = "succeeded", steps: int = 4) -> None:
        (self.path / "adapter").mkdir()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (self.path / "adapter" / name).write_text("{}")
        record = {"status": status, "steps": steps, "tokens": 5070, "stopped_early": False, "evaluation": {"best_step": None}}
        (self.path / "record.json").write_text(json.dumps(record))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "run")


def test_a_step_is_told_in_openais_words(folder: Folder):
    folder.add(full(0, 9.0), train(1, 0.154), glance(1, 0.272), train(2, 0.1), glance(2, 0.2), full(2, 0.4))
    first, last = step_events(folder.path, ended=True)[0]
    assert first.message == "Step 1/4: training loss=0.15, validation loss=0.27"
    assert last.message == "Step 2/4: training loss=0.10, validation loss=0.20, full validation loss=0.40"
    assert (first.key, first.type, first.level) == ("step-1", "metrics", "info")
    assert last.data == {
        "step": 2,
        "total_steps": 4,
        "train_loss": 0.1,
        "train_mean_token_accuracy": 0.5,
        "valid_loss": 0.2,
        "valid_mean_token_accuracy": 0.25,
        "full_valid_loss": 0.4,
        "full_valid_mean_token_accuracy": 0.4,
    }


def test_the_newest_step_waits_until_all_of_it_is_there(folder: Folder):
    folder.add(train(1), train(2))
    events, cursor = step_events(folder.path)
    assert [event.key for event in events] == ["step-1"]
    folder.add(glance(2, 0.3), torn='{"step": 3, "lo')
    assert step_events(folder.path, cursor)[0] == []
    (folder.path / "metrics.jsonl").write_text((folder.path / "metrics.jsonl").read_text().rpartition("\n")[0] + "\n")
    folder.add(train(3))
    events, cursor = step_events(folder.path, cursor)
    assert [(event.key, event.data.get("valid_loss")) for event in events] == [("step-2", 0.3)]
    assert [event.key for event in step_events(folder.path, cursor, ended=True)[0]] == ["step-3"]


def test_line_by_line_every_step_is_told_once(folder: Folder):
    lines = [full(0, 2.0), *(part for step in range(1, 5) for part in (train(step), glance(step, 0.5)))]
    told, cursor = list[str](), Cursor()
    for line in lines:
        folder.add(line)
        events, cursor = step_events(folder.path, cursor)
        told += [event.key for event in events]
    told += [event.key for event in step_events(folder.path, cursor, ended=True)[0]]
    assert told == ["step-1", "step-2", "step-3", "step-4"]


def test_steps_that_are_made_again_are_not_told_again(folder: Folder):
    """Killed in step 4, gone on with after step 2: the lines of step 3 are another length than they were."""
    folder.add(train(1), train(2), train(3), train(4), torn='{"st')
    events, cursor = step_events(folder.path)
    assert [event.key for event in events] == ["step-1", "step-2", "step-3"]
    folder.cut_back(2)
    folder.begin(2, 4)
    assert step_events(folder.path, cursor)[0] == []
    folder.add(train(3, seconds=123.456789), train(4, seconds=0.25))
    assert step_events(folder.path, cursor)[0] == []
    assert [event.key for event in step_events(folder.path, cursor, ended=True)[0]] == ["step-4"]


def test_without_a_cursor_everything_is_told_under_the_same_keys(folder: Folder):
    folder.add(train(1), train(2), train(3))
    once = step_events(folder.path)[0]
    assert step_events(folder.path)[0] == once


def test_a_run_that_has_not_begun_has_nothing_to_tell(tmp_path: Path):
    assert step_events(tmp_path) == ([], Cursor())
    assert snapshots(tmp_path) == []
    assert tuned(tmp_path) is None
    assert newest(tmp_path) is None
    assert trained_tokens(tmp_path) is None
    assert estimated_finish(tmp_path, 1, 2000.0) is None


def test_drawn_answers_are_told_as_openai_tells_reinforcement(folder: Folder):
    folder.add(*drawn(1, 0.424), lot(2, 0.5), {"step": 2, "loss": 0.2, "kind": "train"})
    first, second = step_events(folder.path, ended=True)[0]
    assert first.message == "Step 1/4 , train mean reward=0.42, full validation mean reward=0.42"
    assert second.message == "Step 2/4 , train mean reward=0.50"
    assert first.data["scores"] == {"train_reward_mean": 0.424, "valid_reward_mean": 0.424, "graders": []}
    assert first.data["completion_tokens_mean"] == 12.5


def test_pairs_are_told_with_how_often_the_better_answer_wins(folder: Folder):
    folder.add({"step": 1, "loss": 0.69, "rewards/accuracy": 0.75, "rewards/margin": 0.1, "kind": "train"})
    (event,) = step_events(folder.path, ended=True)[0]
    assert event.data["train_reward_accuracy"] == 0.75
    assert results_csv(folder.path).splitlines()[1] == b"1,0.69,0.75,,"


def test_checkpoints_are_the_ends_of_the_kept_epochs(folder: Folder):
    folder.save(1)  # on the way, for going on
    folder.add(train(1), train(2, 0.5), full(2, 0.4))
    assert snapshots(folder.path) == []
    folder.save(2)
    (snapshot,) = snapshots(folder.path)
    assert snapshot.step == 2
    assert [path.name for path in snapshot.files] == ["adapter_config.json", "adapter_model.safetensors"]
    assert snapshot.metrics == {
        "step": 2,
        "train_loss": 0.5,
        "train_mean_token_accuracy": 0.5,
        "full_valid_loss": 0.4,
        "full_valid_mean_token_accuracy": 0.4,
        "type": "supervised",
    }
    assert tuned(folder.path) is None
    folder.add(train(3), train(4, 0.1))
    folder.save(4)
    folder.end()
    assert [snapshot.step for snapshot in snapshots(folder.path)] == [2]  # the last is the tuned model
    last = tuned(folder.path)
    assert last is not None
    assert (last.step, last.metrics["train_loss"], last.files[0].parent.name) == (4, 0.1, "adapter")
    assert trained_tokens(folder.path) == 5070


def test_of_drawn_answers_the_best_in_validation_are_kept(tmp_path: Path):
    folder = Folder(tmp_path / "run", 5, ())
    for step, reward in ((1, 0.1), (2, 0.9), (3, 0.3), (4, 0.8), (5, 0.2)):
        folder.add(*drawn(step, reward))
        folder.save(step)
    assert snapshots(folder.path) == []
    folder.end(steps=5)
    assert [snapshot.step for snapshot in snapshots(folder.path)] == [2, 3, 4]
    assert snapshots(folder.path)[0].metrics["type"] == "reinforcement"


def test_a_paused_job_has_its_newest_weights(folder: Folder):
    folder.add(train(1), train(2), train(3))
    folder.save(1)
    folder.save(3)
    snapshot = newest(folder.path)
    assert snapshot is not None
    assert snapshot.step == 3


def test_the_results_file_holds_numbers_or_nothing(folder: Folder):
    folder.add(full(0, 9.0), train(1, 0.123456789), glance(1, 0.5), train(2, 0.25))
    rows = list(csv.reader(results_csv(folder.path).decode().splitlines()))
    assert rows == [
        ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"],
        ["1", "0.123457", "0.5", "0.5", "0.25"],
        ["2", "0.25", "0.5", "", ""],
    ]


def test_the_end_is_estimated_from_what_was_done_since_it_began(folder: Folder):
    """Begun at 1,000 s after step 0; step 1 of 4 at 1,010 s: three more of 10 s. Gone on at 2,000 s after step 2; step 3 at 2,005 s."""
    assert estimated_finish(folder.path, 1, 1010.0) == 1040
    assert estimated_finish(folder.path, 0, 1010.0) is None
    folder.begin(2, 4, at=2000.0)
    assert estimated_finish(folder.path, 3, 2005.0) == 2010


def test_checkpoints_and_notes_have_keys_and_words():
    assert (
        checkpoint_event(200, "ft:a:b:c:d:ckpt-step-200").message
        == "Checkpoint created at step 200 with Snapshot ID: ft:a:b:c:d:ckpt-step-200"
    )
    assert checkpoint_event(200, "x").key == "checkpoint-200"
    (note,) = note_events([{"level": "warn", "message": "Look."}])
    assert (note.key, note.level, note.message) == ("note-1", "warn", "Look.")
