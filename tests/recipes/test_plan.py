"""Plans: counts that are exact, memory that follows from shapes, and settings that make a run fit."""

import json
from pathlib import Path

import pytest
import torch
from tests.contract.replay import rows_file

import luthier
from luthier.errors import SettingsError
from luthier.recipes.components import resolve
from luthier.recipes.effort import Share
from luthier.recipes.fit import bytes_of, fit
from luthier.recipes.plan import Plan, estimate, plan, survey
from luthier.recipes.rehearsal import Rehearsal
from luthier.recipes.stand_in import Load
from luthier.recipes.train import train
from luthier.spec.load import load_request
from luthier.testing import build_model

GPT3 = {
    "model_type": "opt",
    "hidden_size": 12288,
    "ffn_dim": 49152,
    "num_hidden_layers": 96,
    "num_attention_heads": 96,
    "word_embed_proj_dim": 12288,
    "vocab_size": 50257,
}
LLAMA_65B = {
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 22016,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "vocab_size": 32000,
}


def config_folder(path: Path, config: dict[str, object]) -> str:
    """A folder with a config and nothing else."""
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({"max_position_embeddings": 2048, "dtype": "bfloat16", **config}), encoding="utf-8")
    return str(path)


def planned(model: str, *settings: str, data: object = None, **more: float) -> Plan:
    return plan(load_request("sft", list(settings), model=model, data=data), **more)  # type: ignore[arg-type]


def test_lora_on_gpt3_trains_about_ten_thousand_times_fewer_parameters(tmp_path: Path):
    """Rank 4 on query and value: 96 · 2 · 4 · (12288 + 12288) = 18.9M of 175B. (Hu et al., 2021, https://arxiv.org/abs/2106.09685)"""
    spec = load_request("sft", ["adapter.rank=4", "adapter.targets=[q_proj,v_proj]"], model=config_folder(tmp_path, GPT3))
    rehearsal = Rehearsal(spec, resolve(spec), survey(spec).config, torch.bfloat16, 512)
    parameters = sum(p.numel() for p in rehearsal.model.parameters())
    trainable = sum(p.numel() for p in rehearsal.parts.adapter.trainable(rehearsal.root).values())
    assert trainable == 96 * 2 * 4 * (12288 + 12288)
    assert 9_000 < parameters / trainable < 10_500


def test_full_tuning_of_llama_65b_needs_more_than_780_gb(tmp_path: Path):
    """In 16 bit. (Dettmers et al., 2023, https://arxiv.org/abs/2305.14314)"""
    found = planned(config_folder(tmp_path, LLAMA_65B), "adapter=full", "train.dtype=bfloat16")
    assert found.parameters == pytest.approx(65.3e9, rel=0.01)
    assert next(p for p in found.phases if p.name == "training step").bytes > 780e9
    assert not found.fits


@pytest.mark.parametrize("adapter", ["lora", "full", "freeze"])
def test_what_learns_is_counted_as_the_run_counts_it(adapter: str, toy_folder: Path, toy_rows: Path, tmp_path: Path):
    settings = [f"adapter={adapter}", "train.dtype=float32", "train.max_steps=1", "evaluation.prompts=[]"]
    found = planned(str(toy_folder), *settings, data=str(toy_rows))
    run = luthier.train(
        model=str(toy_folder),
        data=str(toy_rows),
        out=tmp_path / "run",
        quiet=True,
        adapter=adapter,
        train={"dtype": "float32", "max_steps": 1},
        evaluation={"prompts": []},
    )
    assert (found.parameters, found.trainable) == (run.record["model"]["num_parameters"], run.record["model"]["num_trainable"])
    assert found.workload.num_steps == run.record["steps"] == 1


def test_a_rehearsal_with_few_layers_says_what_all_layers_say():
    """Ten layers, gone on along the line from 2 and 3, hold what a rehearsal of all ten holds."""
    config = build_model("llama", num_hidden_layers=10, hidden_size=64, intermediate_size=256, vocab_size=512).config
    spec = load_request("sft", ["adapter=full", "train.dtype=float32"])
    rehearsal = Rehearsal(spec, resolve(spec), config, torch.float32, 256)
    load = Load(num_tokens=256, num_scored=128, longest=64, num_streams=2, certified=(64, 48))
    along = rehearsal.sizes(load, room=True).phases
    whole = {act: held.total for act, held in rehearsal._phases(rehearsal._short(list(range(10))), load, room=True).items()}
    for phase, held in along.items():
        assert held.total == pytest.approx(max(size for (name, _), size in whole.items() if name == phase), rel=0.01)


def test_checkpointing_a_smaller_budget_and_an_adapter_need_less(tmp_path: Path):
    shape = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 12, "num_attention_heads": 8, "vocab_size": 8192}
    spec = load_request(
        "sft",
        ["data.max_length=256", "train.dtype=float32", "train.token_budget=2048"],
        model=config_folder(tmp_path, {**LLAMA_65B, **shape}),
    )
    known = survey(spec)

    def step(*settings: str) -> int:
        changed = load_request(
            "sft", ["data.max_length=256", "train.dtype=float32", "train.token_budget=2048", *settings], model=str(tmp_path)
        )
        return next(p.bytes for p in estimate(changed, known).phases if p.name == "training step")

    plain = step()
    assert step("train.gradient_checkpointing=true") < plain
    assert step("train.token_budget=512") < plain
    assert step("adapter=full") > plain


def test_what_does_not_fit_is_told_how(tmp_path: Path):
    shape = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 12, "num_attention_heads": 8, "vocab_size": 8192}
    spec = load_request("sft", ["train.dtype=float32", "train.token_budget=4096"], model=config_folder(tmp_path, {**LLAMA_65B, **shape}))
    known = survey(spec)
    plain = estimate(spec, known)
    room = round(0.75 * plain.peak.bytes)
    fitted = fit(spec, known, None, room)
    assert fitted.plan.fits
    assert fitted.settings[0].startswith("train.token_budget=")
    assert fitted.plan.peak.bytes <= room < plain.peak.bytes


def test_time_energy_and_money_follow_from_a_measured_speed(toy_folder: Path, toy_rows: Path):
    """A pass over the rows at 1,000 tokens/s and 36 W: 36 J/s / 3600 = 0.01 Wh a second."""
    found = planned(str(toy_folder), "train.dtype=float32", data=str(toy_rows), price=2.0, share=Share(1000.0, 36.0))
    effort, tokens = found.effort, found.workload.num_tokens * found.workload.passes
    assert effort.source == "measured"
    assert effort.seconds == pytest.approx(tokens / 1000)
    assert effort.energy_wh == pytest.approx(0.01 * tokens / 1000)
    assert effort.cost == pytest.approx(2.0 * tokens / 1000 / 3600)


def test_sizes_are_read_as_people_write_them():
    assert (bytes_of("24GB"), bytes_of("24 GiB"), bytes_of("512mib")) == (24 * 10**9, 24 * 2**30, 512 * 2**20)
    for wrong in ("24", "GB", "much", "-3GB"):
        with pytest.raises(SettingsError, match="such as 24GB"):
            bytes_of(wrong)


METHODS = {
    "dpo": (("Preference",), {"certificate", "scoring", "training step"}),
    "kto": (("Thumb",), {"certificate", "scoring", "training step"}),
    "orpo": (("Preference",), {"certificate", "training step"}),
    "reward_model": (("Ranking",), {"certificate", "training step"}),
    "ppo": (("Task",), {"certificate", "rollout", "scoring", "training step"}),
    "grpo": (("Task",), {"certificate", "rollout", "scoring", "training step"}),
}


def settings_of(method: str) -> list[str]:
    return ["train.dtype=float32", *(["reward={name: length, target: 5}"] if method in ("ppo", "grpo") else [])]


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_rehearsed_as_it_is(method: str, toy_folder: Path, tmp_path: Path):
    """Its phases are its own, and what learns is counted as the run counts it: of PPO the critic, of a reward model the head."""
    (kind,), phases = METHODS[method]
    rows = rows_file(kind, tmp_path)
    spec = load_request(method, settings_of(method), model=str(toy_folder), data=str(rows))
    known = survey(spec)
    found = estimate(spec, known)
    assert {phase.name for phase in found.phases} == {"load", "probe", "save", "reload", *phases}
    assert not any("counted as `sft`" in note for note in found.assumed)
    settings = [*settings_of(method), "train.max_steps=1", "evaluation.prompts=[]"]
    run = train(load_request(method, settings, model=str(toy_folder), data=str(rows)).model_copy(update={"out": str(tmp_path / "run")}))
    assert found.trainable == run.record["model"]["num_trainable"]


def test_a_reference_of_its_own_is_a_second_set_of_weights(toy_folder: Path, tmp_path: Path):
    """Full tuning keeps a frozen copy; LoRA's reference is the base that is there."""
    rows = str(rows_file("Preference", tmp_path))
    whole, adapter = (
        plan(load_request("dpo", ["train.dtype=float32", f"adapter={name}"], model=str(toy_folder), data=rows)) for name in ("full", "lora")
    )
    step = next(phase for phase in whole.phases if phase.name == "training step")
    assert step.parts["reference"] == pytest.approx(4 * whole.parameters, rel=0.01)
    assert all("reference" not in phase.parts for phase in adapter.phases)


def test_what_the_policy_draws_is_counted(toy_folder: Path, tmp_path: Path):
    """12 prompts, each answered 4 times with 10 tokens, are 480 tokens drawn; a lot of 6 prompts is learned from once, 8 rows a step."""
    settings = [
        "train.dtype=float32",
        "train.batch_size=8",
        "method.group=4",
        "method.rollout.max_new_tokens=10",
        "method.rollout.prompts=6",
    ]
    spec = load_request("grpo", [*settings_of("grpo"), *settings], model=str(toy_folder), data=str(rows_file("Task", tmp_path)))
    work = survey(spec).workload
    assert (work.drawn, work.num_steps) == (480, 6)
    assert work.load.drawing is not None
    assert (work.load.drawing.answers, work.load.drawing.length, work.load.drawing.at_once) == (4, 10, 24)


@pytest.mark.parametrize("family, experts", [("mixtral", "num_local_experts"), ("olmoe", "num_experts")])
def test_experts_are_planned_and_cost_what_computes_a_token(family: str, experts: str, tmp_path: Path):
    """Twice the experts are more parameters, and as much arithmetic: two of them compute each token."""
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 512}

    def of(number: int) -> Plan:
        config = {"model_type": family, **shape, "num_key_value_heads": 2, "num_experts_per_tok": 2, experts: number}
        return planned(config_folder(tmp_path / str(number), config), "train.dtype=float32", "train.token_budget=128", "data.max_length=64")

    four, eight = of(4), of(8)
    assert eight.parameters - four.parameters > 2 * 4 * 3 * 64 * 128
    assert eight.effort.flops == pytest.approx(four.effort.flops, rel=0.02)
