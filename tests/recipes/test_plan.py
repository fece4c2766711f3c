"""Plans: counts that are exact, memory that follows from shapes, and settings that make a run fit."""

import json
from pathlib import Path

import pytest
import torch

import luthier
from luthier.errors import SettingsError
from luthier.recipes.components import resolve
from luthier.recipes.effort import Share
from luthier.recipes.fit import bytes_of, fit
from luthier.recipes.plan import Plan, estimate, plan, survey
from luthier.recipes.rehearsal import Rehearsal
from luthier.recipes.stand_in import Load
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
