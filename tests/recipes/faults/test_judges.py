"""Faults 9 and 25: a reward model whose head was lost, and a sampler that draws from something else than what learns."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from luthier.models import heads
from luthier.testing import toy_conversations, toy_model

HEAD = "adapter/reward_head.safetensors"


def pairs(number: int) -> list[dict[str, str]]:
    return [{"prompt": f"Count from {k}.", "chosen": " ".join(map(str, range(k, k + 6))), "rejected": f"{k}?"} for k in range(number)]


def judge_of(bench: Any) -> Path:
    """A reward model of one step, measured on held-out pairs, trained by the command line."""
    bench.rows = pairs(60)
    for key, value in {"method": "reward_model", "data.validation_share": 0.4, "train.batch_size": 8}.items():
        bench.set(key, value)
    assert bench.train() == 0, bench.printed
    return Path(shutil.move(bench.out, bench.folder / "judge"))


@pytest.fixture
def judged(bench: Any) -> Any:
    """A bench that learns from a reward model, whose folder is `judge`."""
    bench.judge = judge_of(bench)
    bench.data = bench.folder / "asked.jsonl"
    bench.rows = toy_conversations(8)
    bench.settings = {"method": {"name": "grpo", "group": 2, "rollout": {"prompts": 2, "max_new_tokens": 4}}}
    bench.set("reward", {"name": "reward_model", "path": str(bench.judge), "accept": True})
    return bench


def lost(judge: Path, bench: Any) -> None:
    (judge / HEAD).unlink()


def made_anew(judge: Path, bench: Any) -> None:
    save_file({name: torch.randn_like(value) for name, value in load_file(judge / HEAD).items()}, judge / HEAD)


def of_another_width(judge: Path, bench: Any) -> None:
    save_file({"weight": torch.zeros(1, 8), "bias": torch.zeros(1)}, judge / HEAD)


def adapter_without_it(judge: Path, bench: Any) -> None:
    """As programs do that save the adapter alone."""
    alone = load_file(judge / "adapter/adapter_model.safetensors")
    shutil.rmtree(judge / "adapter")
    (judge / "adapter").mkdir()
    save_file(alone, judge / "adapter/adapter_model.safetensors")


@pytest.mark.parametrize("change", [lost, made_anew, of_another_width, adapter_without_it], ids=lambda c: c.__name__.replace("_", "-"))
def test_a_reward_model_without_its_own_head_is_refused_before_anything_is_loaded(judged: Any, change: Any):
    assert "error" not in {each["severity"] for each in judged.check().values()}
    change(judged.judge, judged)
    found = judged.check()["settings"]
    assert found["severity"] == "error" and "reward_head.safetensors" in found["message"], found
    assert judged.train() == 1 and "reward_head.safetensors" in judged.printed
    assert not judged.out.exists()


@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("fault", ["of zeros", "drawn anew"])
def test_a_head_that_is_not_what_was_trained_fails_the_run_that_saves_it(
    bench: Any, adapter: str, fault: str, monkeypatch: pytest.MonkeyPatch
):
    real = heads.save

    def save(folder: Path, weight: torch.Tensor, bias: torch.Tensor) -> None:
        real(folder, torch.zeros_like(weight) if fault == "of zeros" else torch.randn_like(weight), bias)

    monkeypatch.setattr(heads, "save", save)
    bench.rows = pairs(12)
    bench.set("method", "reward_model")
    bench.set("adapter", adapter)
    assert bench.train() == 1
    assert "the saved weights give logits that differ" in bench.printed and "They are not used" in bench.printed
    assert not (bench.out / "adapter").exists() and not (bench.out / "model").exists()


DRAWING = '''"""A policy that draws as somebody else: FAULT."""

from dataclasses import replace

from luthier.batches.examples import Lot
from luthier.methods import grpo


class Config(grpo.Config):
    """Nothing else to set."""


class Other:
    """The policy, but for what it draws."""

    def __init__(self, policy):
        self.policy = policy

    def __getattr__(self, name):
        return getattr(self.policy, name)

    def sample(self, prompts, n, max_new_tokens, temperature, address):
        CHANGE


class Faulty(grpo.GRPO):
    """A fault."""

    def collect(self, examples, state, number) -> Lot:
        roles, self.roles = self.roles, replace(self.roles, policy=Other(self.policy))
        try:
            return super().collect(examples, state, number)
        finally:
            self.roles = roles
'''

OTHERS = {
    "at another temperature": "return self.policy.sample(prompts, n, max_new_tokens, 0.6, address)",
    "log-probabilities of somebody else": (
        "drawn = self.policy.sample(prompts, n, max_new_tokens, temperature, address)\n"
        "        return [[replace(a, logprobs=a.logprobs - 0.05) for a in group] for group in drawn]"
    ),
    "after another prompt": "return self.policy.sample([ids[::-1].copy() for ids in prompts], n, max_new_tokens, temperature, address)",
}


@pytest.mark.parametrize("fault", OTHERS, ids=lambda fault: fault.replace(" ", "-"))
def test_a_sampler_that_is_not_the_policy_stops_the_run(bench: Any, fault: str):
    bench.rows = toy_conversations(8)
    method = bench.folder / "faulty.py"
    method.write_text(DRAWING.replace("FAULT", fault).replace("CHANGE", OTHERS[fault]), encoding="utf-8")
    bench.set("method", {"name": str(method), "group": 2, "rollout": {"prompts": 4, "max_new_tokens": 6}})
    bench.set("reward", {"name": "length", "target": 5})
    assert bench.train() == 1
    assert "What draws is not the policy that learns" in bench.printed, bench.printed
    record = json.loads((bench.out / "record.json").read_text(encoding="utf-8"))
    assert record["status"] == "failed" and record["steps"] == 0


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_a_sound_sampler_is_off_by_the_last_digits(bench: Any, family: str, tmp_path: Path):
    bench.model = toy_model(tmp_path / family, family, max_position_embeddings=2048)
    reward = bench.folder / "mine.py"
    reward.write_text("def score(prompt, answer, item):\n    return float(sum(map(ord, answer)) % 7)\n", encoding="utf-8")
    bench.rows = toy_conversations(8)
    bench.set("method", {"name": "grpo", "group": 2, "drop_equal": False, "rollout": {"prompts": 4, "max_new_tokens": 6}})
    bench.set("reward", f"{reward}:score")
    assert bench.train() == 0, bench.printed
    lots = [json.loads(line) for line in (bench.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines() if '"lot"' in line]
    assert lots and all(line["sampler_gap"] < 1e-4 for line in lots if line["kind"] == "lot")


def test_a_reward_models_report_is_measured_again_and_a_nicer_one_named(judged: Any):
    """`luthier verify` with the record as it is, with another accuracy, and with a verdict that its figures do not bear."""
    record = judged.judge / "record.json"
    text = record.read_text(encoding="utf-8")

    def outcomes() -> dict[str, dict[str, str]]:
        judged.luthier("verify", str(judged.judge), "--json")
        return {check["what"]: check for check in json.loads(judged.printed)["checks"]}

    sound = outcomes()
    assert (sound["trust"]["outcome"], sound["verdict"]["outcome"]) == ("same", "same"), sound
    nicer = json.loads(text)
    nicer["trust"]["by_length"]["value"] -= 0.01
    record.write_text(json.dumps(nicer), encoding="utf-8")
    assert outcomes()["trust"]["outcome"] == "differs" and "trust.by_length.value" in outcomes()["trust"]["detail"]
    better = json.loads(text)
    better["verdict"]["good"] = not better["verdict"]["good"]
    record.write_text(json.dumps(better), encoding="utf-8")
    assert outcomes()["verdict"]["outcome"] == "differs"
