"""Faults 10, 12, 23 and 26: settings that do nothing, or surely not what was meant; said before the model's weights are read."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

RATES: list[tuple[str, dict[str, Any], str | None]] = [
    ("full tuning's rate for LoRA", {"optimizer.learning_rate": 2e-5}, "10 times less than the usual 0.0002"),
    ("a smaller one still", {"optimizer.learning_rate": 5e-6, "adapter.rank": 64}, "40 times less"),
    ("LoRA's rate for full tuning", {"optimizer.learning_rate": 2e-4, "adapter": "full"}, "10 times the usual 2e-05"),
    ("LoRA's rate for the last layers", {"optimizer.learning_rate": 1e-3, "adapter": {"name": "freeze"}}, "50 times the usual 2e-05"),
    ("LoRA's own rate", {"optimizer.learning_rate": 2e-4}, None),
    ("a small model's rate", {"optimizer.learning_rate": 5e-3}, None),
    ("full tuning's own rate", {"optimizer.learning_rate": 2e-5, "adapter": "full"}, None),
    ("the default of LoRA", {}, None),
    ("the default of full tuning", {"adapter": "full"}, None),
]  # fmt: skip


@pytest.mark.parametrize("name, settings, said", RATES, ids=[name.replace(" ", "-") for name, *_ in RATES])
def test_a_rate_of_the_other_kind_is_a_warning_with_the_numbers(bench: Any, name: str, settings: dict[str, Any], said: str | None):
    for key, value in settings.items():
        bench.set(key, value)
    found = bench.check()
    if said is None:
        assert "learning-rate" not in found, name
    else:
        assert found["learning-rate"]["severity"] == "warning" and said in found["learning-rate"]["message"]


def test_a_warning_that_is_meant_is_advice(bench: Any):
    bench.set("optimizer.learning_rate", 2e-3)
    bench.set("adapter", "full")
    bench.set("preflight.accept", ["learning-rate"])
    assert bench.check()["learning-rate"]["severity"] == "advice"


NOTHING_LEARNS: list[tuple[str, Any, list[str]]] = [
    ("a target that matches no layer", {"name": "lora", "targets": ["qkv_proj"]}, ["qkv_proj", "q_proj"]),
    ("one of several targets", {"name": "lora", "targets": ["q_proj", "query"]}, ["'query'"]),
    ("the head", {"name": "lora", "targets": ["lm_head"]}, ["lm_head"]),
    ("no layer and no pattern", {"name": "freeze", "last_layers": 0}, ["nothing would learn"]),
    ("a pattern that matches nothing", {"name": "freeze", "last_layers": 0, "patterns": ["h.11"]}, ["h.11", "model."]),
    ("more layers than there are", {"name": "freeze", "last_layers": 3}, ["3 of 2 layers"]),
]


@pytest.mark.parametrize("name, adapter, said", NOTHING_LEARNS, ids=[name.replace(" ", "-") for name, *_ in NOTHING_LEARNS])
def test_weights_that_would_not_move_are_refused_before_any_is_read(bench: Any, name: str, adapter: Any, said: list[str]):
    (bench.model / "model.safetensors").write_bytes(b"no weights at all")
    bench.set("adapter", adapter)
    message = bench.check()["settings"]["message"]
    assert bench.train() == 1
    for words in said:
        assert words in message and words in bench.printed, name
    assert not bench.out.exists()


def test_a_rate_too_small_to_move_a_weight_fails_the_run(bench: Any):
    bench.set("optimizer.learning_rate", 1e-30)
    bench.set("adapter", "full")
    assert bench.train() == 1
    assert "nothing was learned" in bench.printed and "1e-30" in bench.printed
    assert json.loads((bench.out / "record.json").read_text())["status"] == "failed"


def test_layers_that_a_decay_keeps_still(bench: Any):
    bench.set("adapter", "full")
    bench.set("optimizer.layer_decay", 1e-4)
    assert bench.check()["still-layers"]["severity"] == "warning"


NO_EFFECT: list[tuple[str, dict[str, Any], list[str]]] = [
    ("a misspelt key", {"train.epoch": 2}, ["train.epoch", "train.epochs"]),
    ("another tool's key", {"train.num_train_epochs": 2}, ["train.epochs"]),
    ("a key of another adapter", {"adapter": {"name": "full", "rank": 8}}, ["adapter.rank"]),
    ("a share beside a file", {"data.validation_share": 0.1, "data.validation": "held.jsonl"}, ["data.validation_share", "no effect"]),
    ("patience without validation", {"evaluation.patience": 2}, ["evaluation.patience", "nothing to validate on"]),
    ("a revision of a folder", {"model.revision": "main"}, ["model.revision", "no effect"]),
    ("a template for raw text", {"method": "pretrain", "model.chat_template": "plain", "data.train": "story.txt"}, ["model.chat_template"]),
    ("cutting raw text, which is kept whole", {"method": "pretrain", "data.too_long": "cut", "data.train": "story.txt"}, ["data.too_long"]),
    ("the weight of validation rows", {"data.validation": [{"path": "held.jsonl", "weight": 2}]}, ["data.validation[0].weight"]),
]  # fmt: skip


@pytest.mark.parametrize("name, settings, said", NO_EFFECT, ids=[name.replace(" ", "-") for name, *_ in NO_EFFECT])
def test_a_setting_without_effect_is_refused(
    bench: Any, name: str, settings: dict[str, Any], said: list[str], monkeypatch: pytest.MonkeyPatch
):
    for key, value in settings.items():
        bench.set(key, value)
    (bench.folder / "story.txt").write_text("Once there was a baker.\n\nHe slept.\n", encoding="utf-8")
    monkeypatch.chdir(bench.folder)
    assert bench.luthier("check", str(bench.run_file)) == 1
    for words in said:
        assert words in bench.printed.replace("\n", " "), name
    assert bench.train() == 1
    assert not bench.out.exists()


def test_patience_that_can_never_run_out(bench: Any):
    """Two steps, a validation each: three without a better loss cannot come."""
    for key, value in {"train.max_steps": 2, "evaluation.every": 1, "evaluation.patience": 3, "data.validation_share": 0.2}.items():
        bench.set(key, value)
    assert bench.check()["patience-without-effect"]["severity"] == "warning"


def test_validation_that_comes_too_late(bench: Any):
    for key, value in {"train.max_steps": 5, "evaluation.every": 100, "data.validation_share": 0.2}.items():
        bench.set(key, value)
    assert bench.check()["never-validated"]["severity"] == "advice"


def test_numbers_that_are_none_in_the_base(bench: Any):
    weights = load_file(bench.model / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][3, 5] = torch.nan
    weights["model.layers.1.mlp.down_proj.weight"][4, 5] = torch.inf
    save_file(weights, bench.model / "model.safetensors", metadata={"format": "pt"})
    assert bench.train() == 1
    assert "2 numbers of model.layers.1.mlp.down_proj.weight are NaN or infinite" in bench.printed
    assert not bench.out.exists()


def test_bf16_that_this_machine_only_emulates(bench: Any):
    """Without AVX-512 and AMX, as most laptops are: told to the library by an environment variable, in a process of its own."""
    bench.set("train.dtype", "bfloat16")
    bench.change("config.json", hidden_size=768, intermediate_size=2048)
    program = "import sys; from luthier.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-W", "ignore", "-c", program, "check", str(bench.run_file), "--json"]
    slow = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=False, env=slow).stdout)["findings"]
    if "slow-type" not in [finding["code"] for finding in found]:
        pytest.skip("bf16 is not slow on this machine, even when it is told not to use its instructions for it")
    (message,) = (finding["message"] for finding in found if finding["code"] == "slow-type")
    assert "GFLOP/s" in message and "float32" in message
