"""The contract of `methods/base.py` carries PPO, DPO, GRPO and KTO: each is one small file of a user's own, trained by the real loop."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from luthier.engine.folder import read_lines
from luthier.engine.loop import Loop
from luthier.errors import SettingsError
from luthier.recipes.run import Run
from luthier.recipes.train import resume, train
from luthier.spec.base import Component
from luthier.spec.run import RunSpec

TOYS = Path(__file__).parent / "toys"
NAMES = sorted(path.stem for path in TOYS.glob("*.py"))


def spec_of(name: str, model: Path, rows: Path, out: Path, **more) -> RunSpec:
    """Two epochs over 8 rows, 4 rows a step, a token budget that takes several streams a step."""
    given = {
        "model": str(model),
        "data": {"train": str(rows)},
        "method": str(TOYS / f"{name}.py"),
        "adapter": {"name": "lora", "rank": 4},
        "optimizer": {"learning_rate": 0.01, "schedule": "constant", "warmup_share": 0.0},
        "train": {"epochs": 2, "batch_size": 4, "token_budget": 96, "dtype": "float32"},
        "evaluation": {"prompts": ()},
        "checkpoints": {"every": 3, "keep_states": 9},
        "out": str(out),
    }
    return RunSpec.model_validate({**given, **more})


@pytest.fixture(scope="module")
def runs(toy_folder: Path, toy_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A finished run of each."""
    folder = tmp_path_factory.mktemp("carried")
    return {name: train(spec_of(name, toy_folder, toy_rows, folder / name)) for name in NAMES}


def steps_of(run: Run) -> list[dict]:
    return [line for line in run.metrics if line["kind"] == "train"]


def test_each_is_a_small_file():
    assert NAMES == ["dpo", "grpo", "kto", "ppo"]
    for name in NAMES:
        lines = [line for line in (TOYS / f"{name}.py").read_text(encoding="utf-8").splitlines() if line.strip()]
        assert len(lines) <= 60, name


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_and_its_gradient_is_the_naive_one(runs: dict[str, Run], name: str):
    record = runs[name].record
    assert record["status"] == "succeeded"
    assert [finding["passed"] for finding in record["certificate"]] == [True] * 3
    assert all(finding["fp32"] < 1e-5 for finding in record["certificate"])


def test_dpo_starts_where_policy_is_reference(runs: dict[str, Run]):
    """margin = β((a - a) - (b - b)) = 0, and -log σ(0) = log 2; afterwards the margin grows."""
    first, *_, last = steps_of(runs["dpo"])
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["margin"] == pytest.approx(0, abs=1e-5)
    assert last["margin"] > 0.01
    assert last["loss"] < math.log(2)


def test_kto_starts_at_one_half(runs: dict[str, Run]):
    """1 - σ(± β (0 - max(0, 0))) = ½ for every row."""
    first, *_, last = steps_of(runs["kto"])
    assert first["loss"] == pytest.approx(0.5, abs=1e-6)
    assert last["loss"] < 0.5


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_the_ratio_is_one_in_the_first_minibatch_and_not_in_the_last(runs: dict[str, Run], name: str):
    first, *_, last = steps_of(runs[name])
    assert first["off"] < 1e-4
    assert last["off"] > 1e-4


def test_grpo_has_as_many_rows_as_it_draws(runs: dict[str, Run]):
    """2 epochs x 8 prompts in lots of 4, 4 answers each, twice over, 4 rows a step: 2 · 2 · 16 / 4 · 2 steps."""
    assert len(steps_of(runs["grpo"])) == runs["grpo"].record["steps"] == 2 * 2 * 4 * 2
    assert all(0 <= line["reward"] <= 1 for line in steps_of(runs["grpo"]))


def test_ppo_has_a_denominator_for_each_term(runs: dict[str, Run]):
    """loss = policy + value - 0.01 entropy, each an average of its own."""
    for line in steps_of(runs["ppo"]):
        assert line["loss"] == pytest.approx(line["policy"] + line["value"] - 0.01 * line["entropy"], abs=1e-6)


def test_ppos_critic_learns_beside_the_policy_and_stays_out_of_the_adapter(runs: dict[str, Run]):
    first, last = (
        load_file(runs["ppo"].path / f"checkpoints/step-{step:08d}/state.safetensors") for step in (0, runs["ppo"].record["steps"])
    )
    moved = {name for name in first if name.startswith("weights/") and not torch.equal(first[name], last[name])}
    assert {"weights/heads/critic.weight", "weights/heads/critic.bias"} <= moved
    assert any(name.startswith("weights/critic/") for name in moved)
    assert any(name.startswith("weights/base_model") for name in moved)
    assert not any("critic" in name for name in load_file(runs["ppo"].path / "adapter/adapter_model.safetensors"))


def test_ppos_state_is_saved_with_each_checkpoint(runs: dict[str, Run]):
    """4 lots, each of which multiplied or divided the coefficient by 1.5."""
    kl = json.loads((runs["ppo"].path / f"checkpoints/step-{runs['ppo'].record['steps']:08d}/state.json").read_text())["method_state"]["kl"]
    power = math.log(kl / 0.1, 1.5)
    assert power == pytest.approx(round(power), abs=1e-6)
    assert round(power) in (-4, -2, 2, 4)


@pytest.mark.parametrize("name", NAMES)
def test_lots_are_written_before_their_first_step_and_hold_their_columns(runs: dict[str, Run], name: str):
    lots = sorted((runs[name].path / "lots").iterdir())
    assert [path.name for path in lots] == [f"lot-{n:06d}.safetensors" for n in range({"dpo": 1}.get(name, 4))]
    column = {"dpo": "token/reference", "kto": "row/z", "grpo": "row/advantage", "ppo": "token/return"}[name]
    assert torch.isfinite(load_file(lots[0])[column]).all()


@pytest.mark.parametrize("name", ["dpo", "ppo"])
def test_a_run_that_stopped_inside_a_lot_goes_on_without_drawing_again(
    runs: dict[str, Run], name: str, toy_folder: Path, toy_rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Paused after 3 steps, then as if drawing were impossible for a lot that is there: the same weights bit for bit."""
    real = Loop._step
    with monkeypatch.context() as patch:

        def stop_after_three(loop: Loop, lot) -> None:
            real(loop, lot)
            loop.stop.requested = loop.progress.step == 3

        patch.setattr(Loop, "_step", stop_after_three)
        paused = train(spec_of(name, toy_folder, toy_rows, tmp_path / "run"))
    assert paused.record["status"] == "paused"
    written = sorted((tmp_path / "run/lots").iterdir())
    before = {path: path.stat().st_mtime_ns for path in written}
    finished = resume(tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in written} == before
    weights, expected = (load_file(run.path / "adapter/adapter_model.safetensors") for run in (finished, runs[name]))
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    assert [line["loss"] for line in steps_of(finished)] == [line["loss"] for line in steps_of(runs[name])]


@pytest.mark.parametrize("name", ["dpo", "ppo"])
def test_full_tuning_is_held_to_a_frozen_copy(name: str, toy_folder: Path, toy_rows: Path, tmp_path: Path):
    run = train(spec_of(name, toy_folder, toy_rows, tmp_path / "run", adapter="full", optimizer={"learning_rate": 1e-3}))
    first, *_, last = steps_of(run)
    if name == "dpo":
        assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
        assert last["margin"] > 0
    else:
        assert first["off"] < 1e-4
    assert run.record["status"] == "succeeded"


def test_validation_measures_what_the_method_loses(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    more = {"data": {"train": str(toy_rows), "validation_share": 0.25}, "evaluation": {"every": 2, "prompts": ()}}
    run = train(spec_of("dpo", toy_folder, toy_rows, tmp_path / "run", **more))
    validations = [line for line in read_lines(run.path / "metrics.jsonl") if line["kind"] == "validation"]
    assert validations[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert validations[-1]["loss"] != validations[0]["loss"]


@pytest.mark.parametrize("where", ["train", "adapter"])
def test_methods_that_ask_the_policy_refuse_dropout(where: str, toy_folder: Path, toy_rows: Path, tmp_path: Path):
    spec = spec_of("grpo", toy_folder, toy_rows, tmp_path / "run")
    part = spec.train.model_copy(update={"dropout": 0.1}) if where == "train" else Component(name=spec.adapter.name, dropout=0.1)
    with pytest.raises(SettingsError, match="dropout"):
        train(spec.model_copy(update={where: part}))
    assert not (tmp_path / "run").exists()
