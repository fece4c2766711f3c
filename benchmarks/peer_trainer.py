"""What TRL's trainers share here: the settings that make both sides do the same work, and a diary of what happened, and when.

Runs in the peers' environment: `.venv-peers/bin/python -m benchmarks.peer_METHOD SETTINGS.json OUT.jsonl`.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-not-found]
from peft import LoraConfig
from transformers import AutoTokenizer, TrainerCallback


class Diary:
    """One JSON object a line, each with the time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, kind: str, **details: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "time": time.time(), **details}) + "\n")


class Counting:
    """Put before a trainer: counts the tokens of rows, without padding."""

    num_tokens = 0

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **more: Any) -> Any:
        self.num_tokens += _num_tokens(inputs)
        return super().compute_loss(model, inputs, *args, **more)  # type: ignore[misc]


def _num_tokens(inputs: dict[str, Any]) -> int:
    """Of a batch: padded ones have a mask, those that GRPO draws have two, padding-free and packed ones have none."""
    if "prompt_mask" in inputs:
        return int(inputs["prompt_mask"].sum() + inputs["completion_mask"].sum())
    mask = inputs.get("attention_mask")
    return int(inputs["input_ids"].numel() if mask is None else mask.sum())


class Timer(TrainerCallback):
    """Notes the end of each step, and what is logged of it."""

    def __init__(self, diary: Diary) -> None:
        self.diary = diary
        self.trainer: Any = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            self.diary.write("begin")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.diary.write("step", tokens=self.trainer.num_tokens)
        self.trainer.num_tokens = 0

    def on_log(self, args: Any, state: Any, control: Any, **told: Any) -> None:
        if "loss" in told["logs"]:
            self.diary.write("log", **told["logs"])


Given = dict[str, Any]
"""`PeerSettings`, `Work` and paths, as `benchmarks.peer` wrote them down."""


def common(given: Given) -> dict[str, Any]:
    """Arguments of any trainer: no work that ours does not do, either, so no checkpointing of activations, nothing saved or reported."""
    return {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": given["rows_at_once"],
        "gradient_accumulation_steps": given["rows_per_step"] // given["rows_at_once"],
        "max_steps": given["num_steps"],
        "learning_rate": given["learning_rate"],
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": given["autocast"],
        "gradient_checkpointing": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "train_sampling_strategy": "sequential",  # the rows come in the order in which Luthier sees them
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": 0,
        **given["more"],
    }


def lora(given: Given, **more: Any) -> LoraConfig:
    return LoraConfig(r=given["rank"], lora_alpha=given["alpha"], target_modules="all-linear", **more)


def loaded(kind: Any, given: Given, **more: Any) -> Any:
    """The model as one of transformers' Auto classes opens it."""
    return kind.from_pretrained(given["model"], dtype=getattr(torch, given["weights"]), attn_implementation="sdpa", **more)


Make = Callable[..., Any]
"""(given, diary, model, tokenizer, rows, Dataset of them, callbacks) → a trainer with `Counting`."""


def main(load: Callable[[Given], Any], make: Make) -> None:
    """One run, as the command line asks for it."""
    given: Given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    diary = Diary(Path(sys.argv[2]))
    diary.write("imported", versions={name: version(name) for name in ("torch", "transformers", "trl", "peft", "datasets", "accelerate")})
    torch.set_num_threads(given["threads"])
    rows = [json.loads(line) for line in Path(given["rows"]).read_text(encoding="utf-8").splitlines()]
    tokenizer: Any = AutoTokenizer.from_pretrained(given["model"])
    model = load(given)
    diary.write("loaded")
    timer = Timer(diary)
    trainer = make(
        given, diary, model=model, processing_class=tokenizer, rows=rows, train_dataset=Dataset.from_list(rows), callbacks=[timer]
    )
    timer.trainer = trainer
    trainer.train()
    diary.write("end", trainable=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad))
