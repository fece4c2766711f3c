"""Verifying derives the record again: a true one passes, and each thing that was touched is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import luthier
from luthier.engine.folder import RunFolder
from luthier.errors import RunError
from luthier.recipes.check_outcome import unlike
from luthier.recipes.evaluate import evaluate
from luthier.recipes.examination import Question
from luthier.recipes.measured_again import tables_of
from luthier.recipes.verify import Check, verify
from luthier.spec.run import DataSource
from luthier.testing import write_jsonl


def outcomes(run: Path, compute: bool = True) -> dict[str, Check]:
    """By name; of several with one name the one that differs."""
    checks = sorted(verify(run, compute), key=lambda check: check.outcome == "differs")
    return {check.what: check for check in checks}


def wrong(run: Path, compute: bool = False) -> list[str]:
    return [check.what for check in outcomes(run, compute).values() if check.outcome == "differs"]


@pytest.fixture
def copied(toy_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_run, tmp_path / "run"))


def add_to_one_weight(file: Path, amount: float, metadata: dict[str, str] | None = None) -> None:
    weights = load_file(file)
    weights[sorted(weights)[0]].view(-1)[0] += amount
    save_file(weights, file, metadata=metadata)


def edit_json(file: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(file.read_text(encoding="utf-8"))
    change(value)
    file.write_text(json.dumps(value), encoding="utf-8")


def test_a_true_record_passes_and_arrives_at_the_same_weights(toy_run: Path):
    checks = outcomes(toy_run)
    assert {check.outcome for check in checks.values()} == {"same"}
    assert checks["replay"].detail == "steps 7 to 8 computed again: weights, optimizer, result, losses are the same, bit for bit"
    assert list(checks) == ["settings", "data", "base model", "template", "result", "checkpoints", "figures", "certificate", "replay"]


def test_a_run_that_tuned_the_whole_model_too(toy_full_run: Path):
    assert {check.outcome for check in outcomes(toy_full_run).values()} == {"same"}


def test_nothing_of_the_run_is_changed(toy_run: Path):
    def everything() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in toy_run.rglob("*") if path.is_file()}

    before = everything()
    outcomes(toy_run)
    assert everything() == before


def test_a_run_that_stopped_early_arrives_at_its_best_weights(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    """The rate is so high that validation soon gets worse: the result is an earlier checkpoint's, and so is the replayed one."""
    run = luthier.train(
        model=toy_folder,
        data={"train": toy_rows, "validation_share": 0.25},
        out=tmp_path / "run",
        quiet=True,
        optimizer={"learning_rate": 0.05, "warmup_share": 0.0, "schedule": "constant"},
        train={"epochs": 20, "batch_size": 6, "dtype": "float32"},
        evaluation={"patience": 2, "every": 1, "prompts": []},
        checkpoints={"every": 1},
    )
    assert run.record["stopped_early"]
    assert run.record["evaluation"]["best_step"] < run.record["steps"]
    assert {check.outcome for check in run.verify()} == {"same"}


def test_with_one_full_state_the_validation_is_measured_again(copied: Path):
    for name in ("state.json", "state.safetensors"):
        (copied / "checkpoints/step-00000006" / name).unlink()
    checks = outcomes(copied)
    assert checks["evaluation"].outcome == "same"
    assert "no two full states" in checks["evaluation"].detail


def test_a_result_that_was_touched_is_named(copied: Path):
    add_to_one_weight(copied / "adapter/adapter_model.safetensors", 0.1)
    checks = outcomes(copied, compute=False)
    assert checks["result"].detail.endswith("adapter/adapter_model.safetensors is changed after the run")
    assert wrong(copied) == ["result"]


def test_a_file_too_many_and_one_too_few_are_named(copied: Path):
    (copied / "adapter/extra.txt").write_text("x", encoding="utf-8")
    assert "extra.txt is not in the record" in outcomes(copied, compute=False)["result"].detail
    (copied / "adapter/extra.txt").unlink()
    (copied / "adapter/adapter_config.json").unlink()
    assert "adapter_config.json is missing" in outcomes(copied, compute=False)["result"].detail


def test_a_result_with_a_forged_hash_is_found_by_computing_it(copied: Path):
    """The hash in the record was changed along: only the replay can tell."""
    from luthier.engine.checkpoint import sha256

    file = copied / "adapter/adapter_model.safetensors"
    add_to_one_weight(file, 1e-6)
    edit_json(
        copied / "record.json", lambda record: record["artefact"]["files"].update({"adapter/adapter_model.safetensors": sha256(file)})
    )
    checks = outcomes(copied)
    assert [check.what for check in checks.values() if check.outcome == "differs"] == ["replay"]
    assert "adapter: `base_model" in checks["replay"].detail


def test_a_loss_that_was_made_nicer_is_found_by_computing_it(copied: Path):
    """Record and metrics agree with each other, but not with the arithmetic."""
    file = RunFolder(copied).metrics_file
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    last = next(line for line in reversed(lines) if line["kind"] == "validation")
    last["loss"] /= 2
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    edit_json(copied / "record.json", lambda record: record["evaluation"]["after"].update(loss=last["loss"]))
    assert wrong(copied, compute=True) == ["replay"]
    assert "step 8: `loss` was" in outcomes(copied)["replay"].detail


@pytest.mark.parametrize(
    "name, change, found",
    [
        ("record.json", lambda record: record.update(tokens=1), "figures"),
        ("record.json", lambda record: record["evaluation"]["after"].update(loss=0.1), "figures"),
        ("record.json", lambda record: record["certificate"][0].update(passed=False), "certificate"),
        ("record.json", lambda record: record["model"].update(fingerprint="0"), "base model"),
        ("record.json", lambda record: record.update(renderer="0"), "template"),
        ("record.json", lambda record: record["data"]["train"][0].update(sha256="0"), "data"),
        ("checkpoints/step-00000008/state.json", lambda state: state.update(num_tokens=1), "checkpoint"),
    ],
)
def test_each_thing_that_differs_is_named(name: str, change: Callable[[Any], None], found: str, copied: Path):
    edit_json(copied / name, change)
    assert found in wrong(copied)


def test_changed_settings_are_named_and_not_computed_with(copied: Path):
    text = (copied / "run.yaml").read_text(encoding="utf-8")
    (copied / "run.yaml").write_text(text.replace("learning_rate: 0.02", "learning_rate: 0.03"), encoding="utf-8")
    checks = outcomes(copied)
    assert checks["settings"].detail == "run.yaml was changed after the run"
    assert checks["replay"] == Check("replay", "not checked", "it needs the same settings")


def test_data_that_is_gone_is_no_difference_but_said(copied: Path):
    edit_json(copied / "record.json", lambda record: record["data"]["train"][0].update(path="gone.jsonl"))
    checks = outcomes(copied)
    assert checks["data"].outcome == "not checked"
    assert checks["data"].detail.startswith("gone.jsonl is not here")
    assert checks["replay"].outcome == "not checked"


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda record: record["versions"].update(torch="1.0"), "only the machine of the run gives the same bits; here differs torch: 1.0"),
        (lambda record: record["machine"].update(processor="another"), "here differs processor: another"),
        (lambda record: record.update(bit_exact=False, not_bit_exact_because=["it moved"]), "the run was not bit-exact: it moved"),
        (lambda record: record.update(status="failed"), "the run failed"),
    ],
)
def test_where_bits_cannot_be_the_same_it_is_said_why(change: Callable[[Any], None], reason: str, copied: Path):
    edit_json(copied / "record.json", change)
    replay = outcomes(copied)["replay"]
    assert replay.outcome == "not checked"
    assert reason in replay.detail


def test_it_computes_on_as_many_threads_as_the_run(copied: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    edit_json(copied / "record.json", lambda record: record["machine"].update(threads=3))
    outcomes(copied)
    assert (asked[0], asked[-1]) == (3, torch.get_num_threads())


def test_leaving_the_computation_out_is_said(toy_run: Path):
    assert outcomes(toy_run, compute=False)["replay"] == Check("replay", "not checked", "it was left out, as asked")


def test_no_record_is_a_sentence(copied: Path, tmp_path: Path):
    RunFolder(copied).record_file.unlink()
    with pytest.raises(RunError, match=r"has no record\.json to verify\. It did not come to its end: luthier resume"):
        list(verify(copied))
    with pytest.raises(RunError, match="holds no run"):
        list(verify(tmp_path))


@pytest.fixture(scope="module")
def evaluated(toy_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a run, asked six labels. Read only."""
    folder = tmp_path_factory.mktemp("evaluated")
    run = Path(shutil.copytree(toy_run, folder / "run"))
    rows = [{"text": f"Count from {k}.", "label": "0 1 2" if k % 2 else "3 4 5"} for k in range(6)]
    evaluate(Question(str(run), (DataSource(path=str(write_jsonl(folder / "counts.jsonl", rows))),), most_rows=5, seed=1))
    return run


@pytest.fixture
def measured(evaluated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(evaluated, tmp_path / "measured"))


def table_check(run: Path) -> Check:
    return next(tables_of(RunFolder(run), RunFolder(run).read_record()))


def test_the_table_of_an_evaluation_is_measured_again(measured: Path):
    found = table_check(measured)
    assert (found.what, found.outcome) == ("table", "same")
    assert found.detail.endswith("counts.jsonl: classification of 5 rows, measured again")


def test_a_table_that_was_made_nicer_is_named_with_its_figure(measured: Path):
    edit_json(measured / "record.json", lambda record: record["evaluations"][0]["columns"][0]["scores"].update(accuracy=0.987))
    assert table_check(measured).outcome == "differs"
    assert "`columns[0].scores.accuracy` was 0.987 and is" in table_check(measured).detail


def test_rows_that_changed_since_are_named(measured: Path, tmp_path: Path):
    other = write_jsonl(tmp_path / "other.jsonl", [{"text": "Count from 9.", "label": "0 1 2"}, {"text": "Count.", "label": "3 4 5"}])
    edit_json(measured / "record.json", lambda record: record["evaluations"][0]["question"]["data"][0].update(path=str(other)))
    assert table_check(measured).detail == f"{other} was changed after it was evaluated on"


@pytest.mark.parametrize("without", ["question", "file"])
def test_a_table_that_cannot_be_measured_again_is_no_difference(measured: Path, without: str):
    def change(record: Any) -> None:
        if without == "question":
            del record["evaluations"][0]["question"]
        else:
            record["evaluations"][0]["question"]["data"][0]["path"] = "/nowhere.jsonl"

    edit_json(measured / "record.json", change)
    found = table_check(measured)
    assert found.outcome == "not checked"
    assert ("was not kept. Ask again: luthier evaluate" if without == "question" else "/nowhere.jsonl is not here any more") in found.detail


def test_figures_that_differ_are_told_by_their_place():
    assert list(unlike({"a": [1.0, {"b": 2}], "c": "x"}, {"a": [1.0 + 1e-12, {"b": 3}], "d": 1})) == [
        "`a[1].b` was 2 and is 3",
        "`c` is missing now",
        "`d` is new",
    ]
