"""Faults 4 and 16: another template when asked than in training, and a run that would go on with something else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from luthier.testing import toy_conversations, write_jsonl

Change = Callable[[Any], None]


@pytest.fixture
def trained(bench: Any) -> Any:
    """A bench whose run is done."""
    bench.rows = toy_conversations(8)
    assert bench.train() == 0, bench.printed
    return bench


def a_template_with_another_heading(bench: Any) -> None:
    bench.template = bench.template.replace("'<|assistant|>'", "'<|assistant|>\\n'")


def a_template_without_bos(bench: Any) -> None:
    bench.template = bench.template.replace("{{- '<|bos|>' -}}", "")


def another_end_token(bench: Any) -> None:
    bench.change("tokenizer_config.json", eos_token="<|pad|>")


def another_vocabulary(bench: Any) -> None:
    tokenizer = json.loads((bench.model / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["normalizer"] = {"type": "Lowercase"}
    (bench.model / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")


CHANGES = [a_template_with_another_heading, a_template_without_bos, another_end_token, another_vocabulary]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.replace("_", "-"))
def test_a_template_that_is_another_by_now_is_refused_wherever_it_would_be_used(trained: Any, change: Change):
    prompts = write_jsonl(trained.folder / "prompts.jsonl", [{"prompt": "Count from 2."}])
    change(trained)
    for command in (
        ["generate", str(trained.out), "--data", str(prompts), "--out", str(trained.folder / "answers.jsonl")],
        ["chat", str(trained.out)],
        ["merge", str(trained.out), str(trained.folder / "merged")],
    ):
        assert trained.luthier(*command) == 1, command
        assert "was trained with another template" in trained.printed, (command, trained.printed)
    assert not (trained.folder / "merged").exists() and not (trained.folder / "answers.jsonl").exists()


def test_the_same_where_a_template_was_given_as_a_file(bench: Any):
    bench.rows = toy_conversations(8)
    own = bench.folder / "own.jinja"
    own.write_text(bench.template, encoding="utf-8")
    bench.set("model.chat_template", str(own))
    assert bench.train() == 0
    own.write_text(bench.template.replace("'<|assistant|>'", "'<|assistant|> '"), encoding="utf-8")
    assert bench.luthier("chat", str(bench.out)) == 1
    assert "was trained with another template" in bench.printed and "own.jinja" in bench.printed


def paused(bench: Any) -> Any:
    """A run that was killed after its second of four steps: as one that is done, without its last lines."""
    bench.rows = toy_conversations(8)
    for key, value in {"train.max_steps": 4, "checkpoints.every": 1, "checkpoints.keep_states": 9}.items():
        bench.set(key, value)
    assert bench.train() == 0, bench.printed
    (bench.out / "record.json").unlink()
    for step in (3, 4):
        for path in bench.out.glob(f"checkpoints/*{step}/*"):
            path.unlink()
    return bench


def other_rows(bench: Any) -> None:
    bench.rows = [*bench.rows[:-1], toy_conversations(12)[11]]


def the_same_rows_in_another_order(bench: Any) -> None:
    bench.rows = bench.rows[::-1]


def other_weights(bench: Any) -> None:
    weights = load_file(bench.model / "model.safetensors")
    weights["model.norm.weight"] += 0.5
    save_file(weights, bench.model / "model.safetensors", metadata={"format": "pt"})


RESUMED = [
    (other_rows, "train data 1 has changed"),
    (the_same_rows_in_another_order, "train data 1 has changed"),
    (other_weights, "the model has changed"),
    (a_template_with_another_heading, "the tokenizer or chat template has changed"),
]


@pytest.mark.parametrize("change, said", RESUMED, ids=[change.__name__.replace("_", "-") for change, _ in RESUMED])
def test_a_run_does_not_go_on_with_something_else(bench: Any, change: Change, said: str):
    paused(bench)
    change(bench)
    assert bench.luthier("resume", str(bench.out)) == 1
    assert said in bench.printed


def test_a_run_that_was_killed_goes_on_to_the_same_weights(bench: Any, tmp_path: Path):
    paused(bench)
    wanted = load_file(bench.out / "adapter/adapter_model.safetensors")
    (bench.out / "adapter/adapter_model.safetensors").unlink()
    assert bench.luthier("resume", str(bench.out)) == 0, bench.printed
    found = load_file(bench.out / "adapter/adapter_model.safetensors")
    assert all(bool((found[name] == wanted[name]).all()) for name in wanted)
