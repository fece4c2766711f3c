"""Settings of other tools as run files: recognized, carried over, and nothing dropped without a word."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.arrivals.translate import Translation, tools, translated
from luthier.errors import SettingsError
from luthier.recipes.components import resolve
from luthier.spec.load import load_run

TRL = {
    "model_name_or_path": "m",
    "dataset_name": "rows.jsonl",
    "learning_rate": 1e-5,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 8,
    "num_train_epochs": 2,
    "output_dir": "runs/a",
    "bf16": True,
}
FACTORY = {
    "model_name_or_path": "m",
    "stage": "sft",
    "finetuning_type": "lora",
    "dataset": "alpaca",
    "template": "llama3",
    "cutoff_len": 1024,
    "lora_target": "all",
    "num_train_epochs": 3.0,
    "output_dir": "saves/a",
}
AXOLOTL = {
    "base_model": "m",
    "datasets": [{"path": "rows.jsonl", "type": "alpaca"}],
    "sequence_len": 2048,
    "micro_batch_size": 2,
    "num_epochs": 1,
    "learning_rate": 0.0002,
    "adapter": "lora",
    "lora_r": 16,
    "lora_alpha": 32,
}
SOUP = {
    "base": "m",
    "task": "sft",
    "data": {"train": "rows.jsonl", "format": "alpaca"},
    "training": {"epochs": 2, "lr": 1e-4, "batch_size": 4, "lora": {"r": 32, "alpha": 16, "target_modules": "auto"}},
    "output": "out",
}
UNSLOTH = {
    "model": "m",
    "data": {"local_dataset": ["rows.jsonl"]},
    "training": {
        "training_type": "lora",
        "max_seq_length": 512,
        "max_steps": 50,
        "warmup_steps": 5,
        "train_on_completions": True,
        "random_seed": 7,
    },
    "lora": {"lora_r": 8},
}
NUMBERS = {"n_epochs": 4, "batch_size": 8, "learning_rate_multiplier": 0.5}
JOB = {
    "object": "fine_tuning.job",
    "id": "ftjob-a",
    "model": "gpt-4o-mini",
    "training_file": "file-t",
    "validation_file": "file-v",
    "seed": 3,
    "method": {"type": "dpo", "dpo": {"hyperparameters": {**NUMBERS, "beta": 0.3}}},
    "hyperparameters": NUMBERS,
    "status": "succeeded",
}

SCRIPT = """
from unsloth import FastLanguageModel
import os
os.system("touch ran")  # a script is read, never run
length = 2048
model, tokenizer = FastLanguageModel.from_pretrained("unsloth/llama", max_seq_length=length, load_in_4bit=True)
model = FastLanguageModel.get_peft_model(model, r=16, lora_alpha=16, target_modules=["q_proj"], use_gradient_checkpointing="unsloth")
trainer = SFTTrainer(model=model, tokenizer=tokenizer, train_dataset=rows, packing=False, args=SFTConfig(
    per_device_train_batch_size=2, gradient_accumulation_steps=4, warmup_steps=5, max_steps=50, learning_rate=pick_rate(),
    bf16=is_bfloat16_supported(), fp16=not is_bfloat16_supported(), optim="adamw_8bit", lr_scheduler_type="linear", seed=3407))
trainer = train_on_responses_only(trainer, instruction_part="<user>", response_part="<assistant>")
"""


def written(folder: Path, settings: Any, name: str = "settings.yaml") -> str:
    path = folder / name
    text = (
        settings if isinstance(settings, str) else json.dumps(settings) if name.endswith((".json", ".ipynb")) else yaml.safe_dump(settings)
    )
    path.write_text(text, encoding="utf-8")
    return str(path)


def of(folder: Path, settings: Any, name: str = "settings.yaml", **more: Any) -> Translation:
    """Translated, loaded from its own text, and checked as a run is before it loads anything."""
    translation = translated(written(folder, settings, name), **more)
    (folder / "run.yaml").write_text(translation.text, encoding="utf-8")
    spec = load_run(str(folder / "run.yaml"))
    assert spec == translation.spec
    if not spec.reward:
        resolve(spec)
    return translation


def fate(translation: Translation, key: str) -> str:
    return next(line.fate for line in translation.lines if line.source == key)


@pytest.mark.parametrize(
    "tool, settings, name",
    [
        ("TRL", TRL, "a.yaml"),
        ("TRL", TRL, "a.json"),
        ("LLaMA-Factory", FACTORY, "a.yaml"),
        ("Axolotl", AXOLOTL, "a.yml"),
        ("Soup", SOUP, "soup.yaml"),
        ("Unsloth", UNSLOTH, "a.yaml"),
        ("Unsloth", SCRIPT, "train.py"),
        ("Unsloth", {"cells": [{"cell_type": "code", "source": ["%pip install unsloth\n", "!ls\n", SCRIPT]}]}, "a.ipynb"),
        (
            "TRL",
            SCRIPT.replace("FastLanguageModel.get_peft_model(model,", "LoraConfig(").replace("FastLanguageModel", "AutoModelForCausalLM"),
            "b.py",
        ),
        ("OpenAI", JOB, "job.json"),
    ],
)
def test_a_tool_is_known_by_its_keys_and_every_key_is_told(tool: str, settings: Any, name: str, tmp_path: Path):
    translation = of(tmp_path, settings, name)
    assert translation.tool == tool
    if isinstance(settings, dict) and "cells" not in settings:
        told = {line.source for line in translation.lines}
        assert [key for key in settings if not any(one == key or one.startswith(f"{key}.") for one in told)] == []
        assert translation.of("unknown") == []
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name, settings",
    [("trl", TRL), ("llama_factory", FACTORY), ("axolotl", AXOLOTL), ("soup", SOUP), ("unsloth", UNSLOTH), ("openai", JOB)],
)
def test_an_unknown_key_is_never_dropped_silently(name: str, settings: dict[str, Any], tmp_path: Path):
    translation = of(tmp_path, {**settings, "lerning_rate": 3, "inner": {"deep": [1]}})
    assert {line.source for line in translation.of("unknown")} == {"lerning_rate", "inner.deep"}
    assert "lerning_rate: 3" in translation.text and len(tools()) == 6


def test_a_batch_is_rows_by_accumulation_by_devices(tmp_path: Path):
    """4 rows × 8 accumulated × 2 devices = 64."""
    translation = of(tmp_path, TRL, devices=2)
    assert translation.spec.train.batch_size == 64 and fate(translation, "gradient_accumulation_steps") == "translated"
    assert not any("devices" in sentence for sentence in translation.differences)
    assert any("`--devices N` multiplies it" in sentence for sentence in of(tmp_path, TRL).differences)


def test_their_defaults_are_written_out_where_ours_differ(tmp_path: Path):
    """TRL's SFT: linear to 0, no warm-up, 2e-5, 1,024 tokens, seed 42."""
    spec = of(tmp_path, {"model_name_or_path": "m", "use_peft": True, "per_device_train_batch_size": 2, "dataset_name": "rows.jsonl"}).spec
    assert (spec.optimizer.schedule, spec.optimizer.final_share, spec.optimizer.warmup_share) == ("linear", 0.0, 0.0)
    assert (spec.optimizer.learning_rate, spec.data.max_length, spec.data.too_long, spec.train.seed, spec.train.epochs) == (
        2e-5,
        1024,
        "cut",
        42,
        3,
    )
    assert spec.adapter.settings == {"rank": 16, "alpha": 32, "dropout": 0.05}


@pytest.mark.parametrize(
    "more, name, method",
    [
        ({}, "dpo.yaml", "dpo"),
        ({"num_generations": 4}, "a.yaml", "grpo"),
        ({"desirable_weight": 2.0}, "a.yaml", "kto"),
        ({"center_rewards_coefficient": 0.01}, "a.yaml", "reward_model"),
        ({"beta": 0.2}, "a.yaml", "dpo"),
    ],
)
def test_trls_method_is_guessed_and_the_guess_is_told(more: dict[str, Any], name: str, method: str, tmp_path: Path):
    translation = of(tmp_path, {**TRL, **more}, name)
    assert translation.spec.method.name == method and f"taken for `{method}`" in " ".join(translation.differences)


def test_what_dropout_would_spoil_is_left_out(tmp_path: Path):
    translation = of(tmp_path, {**TRL, "num_generations": 4, "use_peft": True, "lora_dropout": 0.1, "eval_strategy": "epoch"})
    assert translation.spec.adapter.settings.get("dropout") is None and translation.spec.evaluation.every is None
    assert translation.spec.method.settings["rollout"]["prompts"] == 8, "4 rows × 8 accumulated are 32 answers, 4 to a prompt"
    assert any("dropout would make the policy another model" in sentence for sentence in translation.differences)


@pytest.mark.parametrize(
    "more, expected, source",
    [
        ({"warmup_steps": 10, "max_steps": 200}, 0.05, "warmup_steps"),
        ({"warmup_steps": 0.1}, 0.1, "warmup_steps"),
        ({"warmup_ratio": 0.2}, 0.2, "warmup_ratio"),
        ({"lr_scheduler_type": "constant", "warmup_steps": 10}, 0.0, "warmup_steps"),
    ],
)
def test_warm_up_becomes_a_share(more: dict[str, Any], expected: float, source: str, tmp_path: Path):
    translation = of(tmp_path, {**TRL, **more})
    assert translation.spec.optimizer.warmup_share == expected and fate(translation, source) in ("carried", "translated", "automatic")


def test_warm_up_steps_of_an_unknown_whole_are_asked_for(tmp_path: Path):
    translation = of(tmp_path, {**TRL, "warmup_steps": 100})
    assert "set `optimizer.warmup_share` to 100 / its steps" in next(
        line.text for line in translation.of("todo") if line.source == "warmup_steps"
    )


def test_a_value_that_cannot_stand_here_is_told_and_left_out(tmp_path: Path):
    translation = of(tmp_path, {**TRL, "learning_rate": 5.0, "num_generations": 1, "adam_beta1": -1})
    assert {line.source for line in translation.of("without")} == {"learning_rate", "num_generations", "adam_beta1"}
    assert translation.spec.optimizer.learning_rate is None and "group" not in translation.spec.method.settings


def test_a_quantized_base_is_told_and_what_to_do(tmp_path: Path):
    translation = of(tmp_path, {**AXOLOTL, "adapter": "qlora", "load_in_4bit": True})
    assert fate(translation, "load_in_4bit") == "without" and translation.spec.adapter.name == "lora"
    assert any("`luthier plan run.yaml` says whether it fits" in line.text for line in translation.of("todo"))


def test_a_factorys_names_are_looked_up_beside_it(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset_info.json").write_text(json.dumps({"alpaca": {"file_name": "alpaca_en.json"}, "far": {"hf_hub_url": "a/b"}}))
    translation = of(tmp_path, {**FACTORY, "dataset": "alpaca, far", "stage": "dpo", "pref_loss": "orpo", "val_size": 0.1})
    assert [source.path for source in translation.spec.data.train] == ["data/alpaca_en.json", "data/far.json"]
    assert "hf download a/b" in translation.of("todo")[0].text
    assert translation.spec.method.name == "orpo" and translation.spec.data.validation_share == 0.1


@pytest.mark.parametrize(
    "stage, more, method",
    [
        ("pt", {}, "pretrain"),
        ("rm", {}, "reward_model"),
        ("kto", {"pref_beta": 0.2}, "kto"),
        ("ppo", {"reward_model": "rm"}, "ppo"),
        ("dpo", {}, "dpo"),
    ],
)
def test_a_factorys_stages(stage: str, more: dict[str, Any], method: str, tmp_path: Path):
    translation = of(tmp_path, {**FACTORY, "stage": stage, **more})
    assert translation.spec.method.name == method and translation.spec.adapter.settings["alpha"] == 16, "twice the rank of 8"


def test_axolotls_raw_text_is_pretraining(tmp_path: Path):
    translation = of(
        tmp_path,
        {**AXOLOTL, "datasets": [{"path": "a.txt", "type": "completion"}, {"path": "x", "data_files": ["b.jsonl"], "type": "completion"}]},
    )
    assert translation.spec.method.name == "pretrain" and [source.path for source in translation.spec.data.train] == ["a.txt", "b.jsonl"]


def test_words_around_rows_that_another_tool_writes_are_a_difference(tmp_path: Path):
    differences = " ".join(of(tmp_path, {**AXOLOTL, "chat_template": "chatml"}).differences)
    assert (
        "`type: alpaca` puts rows into words of its own there" in differences and "`chat_template: chatml` is Axolotl's copy" in differences
    )
    quiet = of(tmp_path, {**AXOLOTL, "datasets": [{"path": "rows.jsonl", "type": "chat_template"}]})
    assert not any("chat" in sentence or "type" in sentence for sentence in quiet.differences)


def test_axolotl_without_an_adapter_tunes_everything(tmp_path: Path):
    settings = {key: value for key, value in AXOLOTL.items() if key != "adapter"}
    translation = of(tmp_path, {**settings, "rl": "ipo", "rl_beta": 0.2, "early_stopping_patience": 3})
    assert translation.spec.adapter.name == "full" and fate(translation, "lora_r") == "automatic"
    assert translation.spec.method.settings == {"loss": "ipo", "beta": 0.2} and translation.spec.evaluation.patience is None


def test_soup_whose_batch_is_chosen_there_is_a_guess(tmp_path: Path):
    translation = of(tmp_path, {**SOUP, "training": {**SOUP["training"], "batch_size": "auto", "gradient_accumulation_steps": 8}})  # type: ignore[dict-item]
    assert fate(translation, "training.batch_size") == "without" and translation.spec.train.batch_size == 16
    assert "a guess" in translation.text


@pytest.mark.parametrize(
    "task, method", [("dpo", "dpo"), ("ipo", "dpo"), ("kto", "kto"), ("orpo", "orpo"), ("grpo", "grpo"), ("pretrain", "pretrain")]
)
def test_soups_tasks(task: str, method: str, tmp_path: Path):
    assert of(tmp_path, {**SOUP, "task": task}).spec.method.name == method


def test_a_script_is_read_and_what_only_running_tells_is_told(tmp_path: Path):
    translation = of(tmp_path, SCRIPT, "train.py")
    spec = translation.spec
    assert (spec.model.path, spec.data.max_length, spec.train.batch_size, spec.train.max_steps) == ("unsloth/llama", 2048, 8, 50)
    assert (spec.adapter.settings["rank"], spec.train.gradient_checkpointing, spec.train.seed) == (16, True, 3407)
    (line,) = translation.of("unknown")
    assert (line.source, line.value, line.line) == ("learning_rate", "pick_rate()", 9) and "a guess" in translation.text
    assert not any("learns every token" in sentence for sentence in translation.differences), "train_on_responses_only"
    assert "model_name_or_path, line 6" in translation.text


def test_an_openai_job_keeps_its_numbers(tmp_path: Path):
    """2e-4 × 0.25 for DPO × 0.5 / 2 = 1.25e-5."""
    spec = of(tmp_path, JOB, "job.json").spec
    assert (spec.train.epochs, spec.train.batch_size, spec.train.seed, spec.method.settings["beta"]) == (4, 8, 3, 0.3)
    assert spec.optimizer.learning_rate == 1.25e-5 and spec.data.validation[0].path == "file-v.jsonl"


def test_an_openai_grader_is_taken_over_as_it_is(tmp_path: Path):
    grader = {"type": "string_check", "name": "same", "input": "{{sample.output_text}}", "reference": "{{item.answer}}", "operation": "eq"}
    method = {
        "type": "reinforcement",
        "reinforcement": {"grader": grader, "hyperparameters": {"n_epochs": "auto", "batch_size": 4, "compute_multiplier": 2}},
    }
    translation = of(tmp_path, {**JOB, "method": method}, "job.json")
    assert translation.spec.reward[0].settings == {"grader": grader} and translation.of("unknown") == []
    assert translation.spec.method.settings == {"group": 16, "rollout": {"prompts": 4}} and translation.spec.train.batch_size == 64
    resolve(translation.spec)


def test_every_line_of_the_run_file_says_where_it_comes_from(tmp_path: Path):
    text = of(tmp_path, AXOLOTL).text.split("# Not carried over")[0]
    lines = [line for line in text.splitlines()[1:] if line.strip("# ") and not line.endswith(":")]
    assert [line for line in lines if "  # " not in line] == []


@pytest.mark.parametrize(
    "text, name, said",
    [
        ("model: starter\nmethod: sft\n", "a.yaml", "looks like a run file of Luthier's own"),
        ("a: 1\n", "a.yaml", "no tool is recognized by its settings. Its keys are `a`."),
        ("- a\n", "a.yaml", "this file holds none"),
        ("a: [1\n", "a.yaml", "is not valid YAML"),
        ("{", "a.json", "a.json:1: this is not valid JSON"),
        ("def f(:\n", "a.py", "a.py:1: this is not Python"),
        ("print(1)\n", "a.py", "It calls none of their trainers"),
        ("{}", "a.ipynb", "is no notebook"),
    ],
)
def test_a_file_of_nobody_is_a_sentence(text: str, name: str, said: str, tmp_path: Path):
    with pytest.raises(SettingsError) as raised:
        translated(written(tmp_path, text, name))
    assert said in str(raised.value)


@pytest.mark.parametrize("more, said", [({"tool": "axolotle"}, "Did you mean `axolotl`?"), ({"method": "dpoo"}, "Did you mean `dpo`?")])
def test_a_wrong_name_is_a_sentence(more: dict[str, str], said: str, tmp_path: Path):
    with pytest.raises(SettingsError, match="There is no") as raised:
        translated(written(tmp_path, TRL), **more)  # type: ignore[arg-type]
    assert said in str(raised.value)
