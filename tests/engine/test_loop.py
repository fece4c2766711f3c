"""The loop: what ends a run as failed, and what it does on the way."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.engine.runs import spec_of, steps_of, two_sets, weights_of
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.engine import loop as loop_module
from luthier.engine.folder import read_lines
from luthier.errors import DataError, TrainingFailed
from luthier.recipes.run import Run
from luthier.recipes.train import resume, train
from luthier.testing import toy_conversations, write_jsonl

OWN = Path(__file__).parent / "own"
VALIDATED = {"validation_share": 0.25}


def failed(model: Path, rows: Path, out: Path, **settings) -> str:
    """Why a run failed. Its record says the same, and nothing is left that could be used."""
    with pytest.raises(TrainingFailed) as failure:
        train(spec_of(model, rows, out, **settings))
    record = Run(out).record
    assert record["status"] == "failed"
    assert record["reason"] == str(failure.value)
    assert not (out / "adapter").exists()
    assert not (out / "model").exists()
    return str(failure.value)


def steps_saved(out: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (out / "checkpoints").glob("step-*"))


@pytest.mark.parametrize("what, value", [("loss", math.nan), ("loss", math.inf), ("gradient", math.nan), ("gradient", -math.inf)])
def test_a_number_that_is_none_fails_and_the_last_good_checkpoint_stays(
    what: str, value: float, toy_folder: Path, toy_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In step 4 of 6; the checkpoints after step 2 is the last one."""
    real = loop_module.accumulate

    def poisoned(method, lot, budget, packing, device, address, world):
        sums = real(method, lot, budget, packing, device, address, world)
        if address[1] == 3 and what == "loss":
            sums.loss = value
        elif address[1] == 3:
            next(p for p in method.policy.root.parameters() if p.grad is not None).grad[0, 0] = value
        return sums

    with monkeypatch.context() as patch:
        patch.setattr(loop_module, "accumulate", poisoned)
        said = failed(toy_folder, toy_rows, tmp_path / "run", checkpoints={"every": 2})
    assert said.startswith("Step 4: ")
    assert "optimizer.learning_rate" in said
    assert steps_saved(tmp_path / "run") == [0, 2]
    assert [line["step"] for line in steps_of(Run(tmp_path / "run"))] == [1, 2, 3]
    healed = resume(tmp_path / "run")
    assert healed.record["status"] == "succeeded"
    assert weights_of(healed) == weights_of(train(spec_of(toy_folder, toy_rows, tmp_path / "sound", checkpoints={"every": 2})))


def test_a_validation_loss_that_is_no_number_fails(toy_folder: Path, toy_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop_module, "measure", lambda *_: {"loss": math.nan})
    said = failed(toy_folder, toy_rows, tmp_path / "run", data=VALIDATED)
    assert said.startswith("Step 0: the validation loss is nan.")


def test_a_gradient_of_zero_fails(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    said = failed(toy_folder, toy_rows, tmp_path / "run", method=str(OWN / "no_gradient.py"))
    assert said.startswith("Step 1: every gradient is zero")


def test_weights_that_did_not_move_fail(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    """A step of 1e-20 is less than half the last bit of any fp32 weight that is there."""
    said = failed(toy_folder, toy_rows, tmp_path / "run", adapter="full", optimizer={"learning_rate": 1e-20})
    assert said.startswith("After 6 steps every weight is what it was before them")


def test_rows_without_anything_to_learn_are_refused_before_the_run(toy_folder: Path, tmp_path: Path):
    rows = toy_conversations(4)
    for row in rows:
        for message in row["messages"]:
            if message["role"] == "assistant":
                message["weight"] = 0
    with pytest.raises(DataError, match=r"rows\.jsonl:1: every assistant message has weight 0, so nothing is learned"):
        train(spec_of(toy_folder, write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_rows_whose_answers_are_all_cut_away_are_refused_before_the_run(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    """8 tokens are not even a question."""
    data = {"train": str(toy_rows), "max_length": 8, "too_long": "cut"}
    with pytest.raises(TrainingFailed, match="No row has a token to learn"):
        train(spec_of(toy_folder, toy_rows, tmp_path / "run", data=data))
    assert not (tmp_path / "run").exists()


def test_out_of_memory_halves_the_streams_and_changes_nothing(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    """16 scored tokens fit; a step of 4 rows has more, and runs again in smaller streams."""
    own = {"method": {"name": str(OWN / "tight_memory.py"), "fits": 16}, "certificate": {"rows": 2}}
    tight = train(spec_of(toy_folder, toy_rows, tmp_path / "tight", **own))
    roomy = train(spec_of(toy_folder, toy_rows, tmp_path / "roomy", certificate={"rows": 2}))
    assert roomy.record["token_budget"] == 1024
    assert tight.record["token_budget"] < 200
    halvings = [line["message"] for line in read_lines(tight.path / "events.jsonl") if line["kind"] == "out_of_memory"]
    assert halvings[0] == "out of memory: the token budget is now 512"
    assert len(halvings) == math.log2(1024 / tight.record["token_budget"])
    assert [line["loss"] for line in steps_of(tight)] == pytest.approx([line["loss"] for line in steps_of(roomy)], rel=1e-6)


def test_a_row_that_does_not_fit_alone_fails_with_advice(toy_folder: Path, toy_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_room(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(loop_module, "accumulate", no_room)
    said = failed(toy_folder, toy_rows, tmp_path / "run")
    assert said.startswith("Out of memory with one row at a time. Set `train.gradient_checkpointing=true`")


def measured(losses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Validations find these losses, one after another."""
    remaining = iter(losses)
    monkeypatch.setattr(loop_module, "measure", lambda *_: {"loss": next(remaining)})


PATIENT = {"data": VALIDATED, "evaluation": {"every": 1, "patience": 2, "prompts": ()}, "train": {"epochs": 9}}


def test_early_stopping_takes_the_best_weights_back(toy_folder: Path, toy_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before training 3, then 2, 1 and twice worse: it stops after step 4 and leaves the weights of step 2."""
    measured([3, 2, 1, 1.5, 1.5], monkeypatch)
    run = train(spec_of(toy_folder, toy_rows, tmp_path / "run", **PATIENT))
    record = run.record
    assert (record["stopped_early"], record["steps"]) == (True, 4)
    assert (record["evaluation"]["best_step"], record["evaluation"]["best_loss"]) == (2, 1)
    assert record["evaluation"]["after"]["step"] == 2
    best = load_file(run.path / "checkpoints/step-00000002/adapter_model.safetensors")
    left, last = (load_file(path) for path in (run.path / "adapter/adapter_model.safetensors", _last_weights(run)))
    assert all(torch.equal(left[name], best[name]) for name in best)
    assert not all(torch.equal(left[name], last[name]) for name in last)
    assert [line["step"] for line in run.metrics if line["kind"] == "validation"] == [0, 1, 2, 3, 4]


def _last_weights(run: Run) -> Path:
    return run.path / f"checkpoints/step-{run.record['steps']:08d}/adapter_model.safetensors"


def test_a_run_that_only_got_worse_fails(toy_folder: Path, toy_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    measured([1, 2, 3], monkeypatch)
    said = failed(toy_folder, toy_rows, tmp_path / "run", **PATIENT)
    assert said.startswith("No validation was better than the one before training")


def test_a_run_that_gets_better_all_the_time_is_not_stopped(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    more = {"data": VALIDATED, "evaluation": {"every": 2, "patience": 1, "prompts": ()}, "optimizer": {"learning_rate": 1e-3}}
    record = train(spec_of(toy_folder, toy_rows, tmp_path / "run", **more)).record
    assert (record["stopped_early"], record["steps"]) == (False, 6)
    assert record["evaluation"]["best_step"] == 6


def test_states_and_weights_are_kept_within_their_limits(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    train(spec_of(toy_folder, toy_rows, tmp_path / "run", checkpoints={"every": 1, "keep_states": 2, "keep_weights": 4}))
    assert steps_saved(tmp_path / "run") == [3, 4, 5, 6]
    assert sorted(path.parent.name for path in (tmp_path / "run/checkpoints").glob("*/state.json")) == ["step-00000005", "step-00000006"]


def test_the_rate_of_each_step_is_the_schedules(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    """Up over half of 6 steps: ⅓, ⅔, 1; then along a line from 1 to ½ of the peak, reached in the last."""
    rates = {"learning_rate": 0.01, "schedule": "linear", "warmup_share": 0.5, "final_share": 0.5}
    run = train(spec_of(toy_folder, toy_rows, tmp_path / "run", optimizer=rates))
    assert [line["learning_rate"] for line in steps_of(run)] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01, 0.01, 0.0075, 0.005])


def test_validation_is_the_loss_one_by_one(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    """transformers' own loss on the assistant's tokens, averaged over tokens, at the weights before training."""
    data = {"train": str(toy_rows), "validation": str(write_jsonl(tmp_path / "v.jsonl", toy_conversations(13)[8:]))}
    run = train(spec_of(toy_folder, toy_rows, tmp_path / "run", data=data, train={"max_steps": 1}))
    tokenizer, model = AutoTokenizer.from_pretrained(toy_folder), AutoModelForCausalLM.from_pretrained(toy_folder)
    total, count, right = 0.0, 0, 0
    for row in toy_conversations(13)[8:]:
        rendered = tokenizer.apply_chat_template(row["messages"], return_dict=True, return_assistant_tokens_mask=True)
        ids, mask = torch.tensor(rendered["input_ids"]), torch.tensor(rendered["assistant_masks"]).bool()
        with torch.no_grad():
            logp = model(input_ids=ids[None]).logits[0].log_softmax(-1)[:-1][mask[1:]]
        targets = ids[1:][mask[1:]]
        total -= float(logp.gather(1, targets[:, None]).sum())
        right += int((logp.argmax(-1) == targets).sum())
        count += len(targets)
    before = run.record["evaluation"]["before"]
    assert before["loss"] == pytest.approx(total / count, rel=1e-5)
    assert before["token_accuracy"] == pytest.approx(right / count)


def test_each_data_sets_loss_is_reported(toy_folder: Path, tmp_path: Path):
    """The step's loss is the average of both, weighted by their tokens."""
    run = train(spec_of(toy_folder, Path("unused"), tmp_path / "run", data=two_sets(tmp_path), train={"epochs": 2}))
    steps = steps_of(run)
    assert all("loss/first" in line or "loss/second" in line for line in steps)
    mixed = next(line for line in steps if {"loss/first", "loss/second"} <= line.keys())
    low, high = sorted([mixed["loss/first"], mixed["loss/second"]])
    assert low <= mixed["loss"] <= high
    validation = next(line for line in run.metrics if line["kind"] == "validation")
    assert {"loss", "loss/first", "loss/second"} <= validation.keys()


def test_a_sets_weight_says_how_often_its_rows_are_shown(toy_folder: Path, tmp_path: Path):
    """5 rows twice and 5 rows half an epoch, 4 epochs, none set aside: 4 · (10 + 2.5) rows, 4 a step."""
    data = {**two_sets(tmp_path), "validation_share": 0.0}
    run = train(spec_of(toy_folder, Path("unused"), tmp_path / "run", data=data, train={"epochs": 4, "batch_size": 50}))
    assert [line["step"] for line in steps_of(run)] == [1, 2, 3, 4]
    tokens = sum(line["tokens"] for line in steps_of(run))
    lengths = [_length(toy_folder, row) for row in toy_conversations(10)]
    assert tokens == 8 * sum(lengths[:5]) + 2 * sum(lengths[5:])


def _length(model: Path, row: dict) -> int:
    return len(AutoTokenizer.from_pretrained(model).apply_chat_template(row["messages"], return_dict=True)["input_ids"])


def test_samples_are_written_at_each_validation(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    evaluation = {"every": 3, "prompts": ("Count from 2.", "Who?"), "max_new_tokens": 3}
    run = train(spec_of(toy_folder, toy_rows, tmp_path / "run", data=VALIDATED, evaluation=evaluation))
    lines = read_lines(run.path / "samples.jsonl")
    assert [(line["step"], line["prompt"]) for line in lines] == [(s, p) for s in (0, 3, 6) for p in evaluation["prompts"]]
    assert all(isinstance(line["answer"], str) and line["finished"] in (True, False) for line in lines)


def test_the_certificate_stands_in_the_record_three_times(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    run = train(spec_of(toy_folder, toy_rows, tmp_path / "run"))
    first, middle, last = run.record["certificate"]
    assert (first["step"], last["step"]) == (0, 6)
    assert 0 < middle["step"] < 6
    assert np.all([finding["passed"] and finding["fp32"] < 1e-5 for finding in run.record["certificate"]])
