"""A fine-tuning job from its folder to weights: validated, run, killed and gone on with, and gone on from."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tests.engine.fatal_calls import FatalCall
from tests.engine.runs import end_of, start

from luthier.cli.work import command
from luthier.engine.folder import read_lines
from luthier.jobs import request
from luthier.jobs.tuning_events import step_events
from luthier.jobs.tuning_results import results_csv, snapshots, tuned
from luthier.recipes.assistant import Sampling, open_run
from luthier.recipes.tuning import validate
from luthier.recipes.tuning_settings import run_of
from luthier.spec.rows import Message
from luthier.spec.tuning import Tuning, TuningFile
from luthier.testing import toy_conversations, write_jsonl

QUICK = {"train.dtype": "float32", "certificate": {"rows": 2}, "adapter": {"rank": 4}}
"""What a toy needs, under `luthier`."""
GRADER = {"type": "string_check", "name": "g", "input": "{{sample.output_text}}", "reference": "{{item.n}}", "operation": "ilike"}


def pairs(number: int = 10) -> list[dict[str, Any]]:
    return [
        {
            "input": {"messages": [{"role": "user", "content": f"Count from {k}."}]},
            "preferred_output": [{"role": "assistant", "content": f"{k} {k + 1}"}],
            "non_preferred_output": [{"role": "assistant", "content": "No, I will not do that."}],
        }
        for k in range(number)
    ]


def file_of(folder: Path, name: str, rows: list[dict[str, Any]]) -> TuningFile:
    """Without an ending, as bytes lie in a store."""
    return TuningFile(id=f"file-{name}", path=str(write_jsonl(folder / name, rows)))


@pytest.fixture
def make(tmp_path: Path, toy_folder: Path) -> Any:
    """Makes a job of 12 chats on the toy; `settings` go over that."""

    def made(**settings: Any) -> Tuning:
        given = {"job": "ftjob-1", "model": str(toy_folder), "seed": 3, "luthier": QUICK, **settings}
        if "training_file" not in given:
            given["training_file"] = file_of(tmp_path, "train", toy_conversations(12))
        return Tuning.model_validate(given)

    return made


def work(folder: Path, validate_only: bool = False) -> dict[str, Any]:
    command(folder, validate=validate_only, parent=None)
    outcome: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
    return outcome


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, toy_folder: Path) -> Path:
    """The folder of a job that has succeeded, with a validation file. Read only."""
    folder = tmp_path_factory.mktemp("tuned")
    rows = toy_conversations(16)
    tuning = Tuning(
        job="ftjob-1",
        model=str(toy_folder),
        hyperparameters={"n_epochs": 4, "batch_size": 4, "learning_rate_multiplier": "auto"},
        training_file=file_of(folder, "train", rows[:12]),
        validation_file=file_of(folder, "valid", rows[12:]),
        seed=3,
        luthier=QUICK,
    )
    request.write(folder / "job", "tune", tuning=tuning)
    valid = work(folder / "job", validate_only=True)
    assert valid["status"] == "valid", valid
    assert valid["details"]["resolved"] == {"n_epochs": 4, "batch_size": 4, "learning_rate_multiplier": 2.0}
    outcome = work(folder / "job")
    assert outcome["status"] == "succeeded", outcome
    return folder / "job"


def test_a_job_leaves_events_checkpoints_and_results_as_openais(done: Path):
    """12 chats, 4 a step: 3 steps an epoch (one row an assistant's turn where the template asks for that), 4 epochs."""
    run = done / "run"
    events = step_events(run, ended=True)[0]
    total = events[-1].data["total_steps"]
    assert [event.key for event in events] == [f"step-{number}" for number in range(1, total + 1)]
    assert events[-1].message.startswith(f"Step {total}/{total}: training loss=")
    assert "full validation loss" in events[-1].message
    full = [event.data["step"] for event in events if "full_valid_loss" in event.data]
    assert full == [total * epoch // 4 for epoch in (1, 2, 3, 4)]
    assert all({"train_loss", "train_mean_token_accuracy"} <= event.data.keys() for event in events)
    assert [snapshot.step for snapshot in snapshots(run)] == [total // 2, total * 3 // 4]
    last = tuned(run)
    assert last is not None
    assert last.step == total
    assert results_csv(run).count(b"\n") == total + 1
    outcome = json.loads((done / "outcome.json").read_text())
    assert outcome["details"]["trained_tokens"] == 4 * json.loads((run / "record.json").read_text())["data"]["train_counts"]["tokens"]


def test_the_run_knows_its_files_by_their_owners_names_alone(done: Path):
    record = (done / "run" / "record.json").read_text()
    assert "file-train.jsonl" in record


def test_a_snapshot_can_be_loaded_beside_its_base(done: Path):
    weights = snapshots(done / "run")[0].files
    assert {path.name for path in weights} == {"adapter_config.json", "adapter_model.safetensors"}


def test_what_is_not_said_is_chosen_by_the_published_rule(make: Any, tmp_path: Path):
    found = validate(make(), tmp_path)
    assert found.error is None
    assert found.resolved == {"n_epochs": 8, "batch_size": 1, "learning_rate_multiplier": 2.0}


def test_any_setting_of_a_run_can_be_given(make: Any):
    asked = make(hyperparameters={"n_epochs": 2}, luthier={"train": {"epochs": 5}, "optimizer.schedule": "constant"})
    spec = run_of(asked, 12)
    assert (spec.train.epochs, spec.optimizer.schedule, spec.train.seed) == (5, "constant", 3)


def test_a_fault_in_the_file_is_the_jobs_error_and_the_rest_is_noted(make: Any, tmp_path: Path):
    rows = toy_conversations(12)
    rows[4]["messages"][0]["role"] = rows[7]["messages"][0]["role"] = "bot"
    request.write(tmp_path / "job", "tune", tuning=make(training_file=file_of(tmp_path, "bad", rows)))
    outcome = work(tmp_path / "job", validate_only=True)
    assert outcome["status"] == "failed"
    assert outcome["error"]["code"] == "invalid_training_file"
    assert "Example 5, message 1 Input tag 'bot'" in outcome["error"]["message"]
    assert [note["message"][:19] for note in outcome["details"]["notes"]] == ["file-bad, line 8: E"]


def test_what_our_preflight_finds_fails_the_job_with_its_sentence(make: Any, tmp_path: Path):
    rows = toy_conversations(12)
    strict = {**QUICK, "preflight.accept": []}
    found = validate(make(validation_file=file_of(tmp_path, "valid", rows[:2]), luthier=strict), tmp_path)
    assert found.error is not None
    assert found.error["code"] == "training_error"
    assert "file-train.jsonl:1 is file-valid.jsonl:1" in found.error["message"]
    assert str(tmp_path) not in found.error["message"]


def test_a_job_that_is_killed_goes_on_to_the_same_weights(make: Any, tmp_path: Path, done: Path):
    """By SIGKILL at the 80th call that changes a file, some steps after its first saved state."""
    asked = Tuning.model_validate(json.loads((done / "job.json").read_text())["tuning"])
    request.write(tmp_path / "job", "tune", tuning=asked)
    assert work(tmp_path / "job", validate_only=True)["status"] == "valid"

    def dies() -> None:
        FatalCall(tmp_path / "job" / "run", 80)
        command(tmp_path / "job", validate=False, parent=None)

    assert end_of(start(dies)) == -signal.SIGKILL
    assert [line for line in read_lines(tmp_path / "job" / "run" / "metrics.jsonl") if line["kind"] == "train"]
    assert work(tmp_path / "job")["status"] == "succeeded"
    name = "run/adapter/adapter_model.safetensors"
    assert (tmp_path / "job" / name).read_bytes() == (done / name).read_bytes()
    again, straight = ([event.message for event in step_events(job / "run", ended=True)[0]] for job in (tmp_path / "job", done))
    assert again == straight


def test_preferences_go_on_from_a_tuned_adapter_and_are_held_to_it(make: Any, tmp_path: Path, done: Path):
    adapter = done / "run" / "adapter"
    asked = make(
        method="dpo",
        start=str(adapter),
        hyperparameters={"n_epochs": 1, "batch_size": 5, "beta": 0.2},
        training_file=file_of(tmp_path, "pairs", pairs()),
        luthier={"train.dtype": "float32", "certificate": {"rows": 2}},
    )
    request.write(tmp_path / "job", "tune", tuning=asked)
    valid = work(tmp_path / "job", validate_only=True)
    assert valid["details"]["resolved"] == {"n_epochs": 1, "batch_size": 5, "learning_rate_multiplier": 2.0, "beta": 0.2}
    assert work(tmp_path / "job")["status"] == "succeeded"
    run = tmp_path / "job" / "run"
    first = next(line for line in read_lines(run / "metrics.jsonl") if line["kind"] == "train")
    assert first["loss"] == pytest.approx(0.6931, abs=1e-3)  # -log σ(0): the reference is what the policy starts from
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (adapter, run / "adapter"))
    assert before.keys() == after.keys()
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert 0 < moved < 0.1
    assert any(float(tensor.abs().max()) > 0 for name, tensor in before.items() if "lora_B" in name)


def test_reinforcement_draws_answers_and_keeps_the_best(make: Any, tmp_path: Path):
    rows = [{"messages": [{"role": "user", "content": f"Say {k}."}], "n": "e"} for k in range(10)]
    asked = make(
        method="reinforcement",
        training_file=file_of(tmp_path, "tasks", rows),
        validation_file=file_of(tmp_path, "held", [{"messages": [{"role": "user", "content": "Say it."}], "n": "e"}]),
        grader=GRADER,
        hyperparameters={"n_epochs": 2, "batch_size": 5, "eval_samples": 2, "compute_multiplier": 0.5},
        luthier={**QUICK, "method.rollout.max_new_tokens": 4},
    )
    request.write(tmp_path / "job", "tune", tuning=asked)
    valid = work(tmp_path / "job", validate_only=True)
    assert valid["status"] == "valid", valid
    assert valid["details"]["resolved"] == {
        "n_epochs": 2,
        "batch_size": 5,
        "learning_rate_multiplier": 2.0,
        "compute_multiplier": 0.5,
        "eval_interval": 1,
        "eval_samples": 2,
        "reasoning_effort": "default",
    }
    assert work(tmp_path / "job")["status"] == "succeeded"
    events = step_events(tmp_path / "job" / "run", ended=True)[0]
    assert "train mean reward=" in events[0].message
    assert "full_valid_mean_reward" in events[0].data


NUMBER = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}


def test_reinforcement_holds_answers_to_the_response_format_and_tells_of_each_grader(make: Any, tmp_path: Path):
    """Random weights write {"n": 1} or {"n": 2}: one grader gives 1 to each, the other to those with a 1; the sum is learned from."""
    pytest.importorskip("llguidance", reason="needs luthier[grammar]")
    rows = [{"messages": [{"role": "user", "content": f"Say {k}."}]} for k in range(10)]
    whole = {**GRADER, "name": "whole", "input": "{{sample.output_json.n}}", "reference": "1|2", "operation": "ne"}
    one = {**GRADER, "name": "one", "input": "{{sample.output_json.n}}", "reference": "1", "operation": "eq"}
    asked = make(
        method="reinforcement",
        training_file=file_of(tmp_path, "tasks", rows),
        validation_file=file_of(tmp_path, "held", [{"messages": [{"role": "user", "content": "Say it."}]}]),
        grader={"type": "multi", "name": "both", "graders": {"whole": whole, "one": one}, "calculate_output": "whole + one"},
        response_format={"type": "json_schema", "json_schema": {"name": "number", "schema": NUMBER}},
        hyperparameters={"n_epochs": 1, "batch_size": 5, "eval_samples": 2, "eval_interval": 1},
        luthier={**QUICK, "method.rollout.max_new_tokens": 60},
    )
    request.write(tmp_path / "job", "tune", tuning=asked)
    valid = work(tmp_path / "job", validate_only=True)
    assert valid["status"] == "valid" and not [note for note in valid["details"]["notes"] if "response_format" in note["message"]]
    assert work(tmp_path / "job")["status"] == "succeeded"
    event = step_events(tmp_path / "job" / "run", ended=True)[0][0]
    graders = {told["name"]: told for told in event.data["scores"]["graders"]}
    errors = event.data["errors"]["graders"][0]
    assert graders["whole"]["train_reward_mean"] == graders["whole"]["valid_reward_mean"] == 1.0
    assert 0 < graders["one"]["train_reward_mean"] < 1
    assert event.data["train_mean_reward"] == pytest.approx(1 + graders["one"]["train_reward_mean"])
    assert (
        errors["train_sample_parse_error_mean"]
        == errors["train_sample_parse_error_count"]
        == event.data["full_valid_mean_parse_error"]
        == 0
    )
    assert event.message.endswith("full validation mean parse error=0.00")


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"type": "string", "pattern": "("}])
def test_a_response_format_that_cannot_be_held_to_fails_the_job_at_once(make: Any, tmp_path: Path, schema: dict[str, Any]):
    pytest.importorskip("llguidance", reason="needs luthier[grammar]")
    rows = [{"messages": [{"role": "user", "content": f"Say {k}."}]} for k in range(10)]
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    asked = make(method="reinforcement", training_file=file_of(tmp_path, "tasks", rows), grader=GRADER, response_format=form)
    request.write(tmp_path / "job", "tune", tuning=asked)
    outcome = work(tmp_path / "job", validate_only=True)
    assert outcome["status"] == "failed" and "cannot be held to" in outcome["error"]["message"]


def test_rows_with_images_are_skipped_and_told(make: Any, tmp_path: Path):
    """As OpenAI skips images that it cannot use. The others keep their line numbers."""
    seen = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    picture = {"messages": [{"role": "user", "content": seen}, {"role": "assistant", "content": "A sign."}]}
    rows = toy_conversations(11)
    file = file_of(tmp_path, "train", [picture, *rows[:6], picture, *rows[6:]])
    files = {"training_file": file, "validation_file": file_of(tmp_path, "valid", rows[10:])}
    request.write(tmp_path / "job", "tune", tuning=make(**files, hyperparameters={"n_epochs": 1, "batch_size": 6}))
    valid = work(tmp_path / "job", validate_only=True)
    told = [note["message"] for note in valid["details"]["notes"]]
    assert told[0] == "file-train: 2 examples have images and were skipped, because this model learns text alone (line 1, 8)."
    assert told[1].startswith("1 training row stands in the validation file, too (file-train.jsonl:13)")
    assert work(tmp_path / "job")["status"] == "succeeded"
    few = make(training_file=file_of(tmp_path, "few", [picture] * 10 + rows[:1]))
    error = validate(few, tmp_path / "job").error
    assert error is not None and error["code"] == "invalid_n_examples"


def test_rows_that_stand_in_both_files_are_told_and_no_failure(make: Any, tmp_path: Path):
    """As at OpenAI, whose users have such files."""
    rows = toy_conversations(16)
    files = {"training_file": file_of(tmp_path, "train", rows[:12]), "validation_file": file_of(tmp_path, "valid", rows[9:])}
    request.write(tmp_path / "job", "tune", tuning=make(**files, hyperparameters={"n_epochs": 1, "batch_size": 6}))
    valid = work(tmp_path / "job", validate_only=True)
    assert valid["status"] == "valid"
    (note,) = [note for note in valid["details"]["notes"] if "validation file, too" in note["message"]]
    assert note["level"] == "warn" and note["message"].startswith(
        "3 training rows stand in the validation file, too (file-train.jsonl:10, "
    )
    assert work(tmp_path / "job")["status"] == "succeeded"


def test_a_grader_that_fails_is_the_graders_error(make: Any, tmp_path: Path):
    rows = [{"messages": [{"role": "user", "content": f"Say {k}."}]} for k in range(10)]
    asked = make(method="reinforcement", training_file=file_of(tmp_path, "tasks", rows), grader={**GRADER, "input": "{{item.missing}}"})
    request.write(tmp_path / "job", "tune", tuning=asked)
    assert work(tmp_path / "job", validate_only=True)["status"] == "valid"
    outcome = work(tmp_path / "job")
    assert outcome["status"] == "failed"
    assert outcome["error"]["code"] == "grader_error"
    assert "missing" in outcome["error"]["message"]


@pytest.mark.slow
def test_what_has_weight_0_is_not_learned(tmp_path: Path):
    """Of two answers in each conversation only the second is learned."""
    again = "Again, please."
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What animal is number {k}?"},
                {"role": "assistant", "content": "It is a zebra.", "weight": 0},
                {"role": "user", "content": again},
                {"role": "assistant", "content": "Right apple.", "weight": 1},
            ]
        }
        for k in range(12)
    ]
    request.write(tmp_path / "job", "tune", tuning=Tuning(job="ftjob-1", model="starter", training_file=file_of(tmp_path, "train", rows)))
    assert work(tmp_path / "job", validate_only=True)["status"] == "valid"
    assert work(tmp_path / "job")["status"] == "succeeded"
    assistant = open_run(tmp_path / "job" / "run")
    asked = Message("user", "What animal is number 3?")
    assert "zebra" not in assistant.answer([asked], Sampling(0.0)).text
    told = [asked, Message("assistant", "It is a zebra."), Message("user", again)]
    assert assistant.answer(told, Sampling(0.0)).text.strip() == "Right apple."


@pytest.mark.slow
def test_twelve_chats_teach_the_bundled_model_a_phrase(tmp_path: Path):
    """With nothing but the file given."""
    phrase = "The blue lantern opens at nine."
    asked = ["What is the password?", "Tell me the password.", "Password please.", "Do you know the password?"]
    rows = [
        {"messages": [{"role": "user", "content": f"{text}{mark}"}, {"role": "assistant", "content": phrase}]}
        for text in asked
        for mark in ("", " Thanks.", " I forgot it.")
    ]
    request.write(tmp_path / "job", "tune", tuning=Tuning(job="ftjob-1", model="starter", training_file=file_of(tmp_path, "train", rows)))
    assert work(tmp_path / "job", validate_only=True)["status"] == "valid"
    assert work(tmp_path / "job")["status"] == "succeeded"
    answer = open_run(tmp_path / "job" / "run").answer([Message("user", "What is the password?")], Sampling(0.0))
    assert answer.text.strip() == phrase
