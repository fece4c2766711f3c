"""TRL's side: one supervised run with PEFT's LoRA, in the peers' environment. Writes what happened, and when, as JSON lines.

.venv-peers/bin/python benchmarks/peer_sft.py SETTINGS.json OUT.jsonl
"""

import json
import math
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset  # type: ignore[import-not-found]
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]


class Diary:
    """One JSON object a line, each with the time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, kind: str, **details: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "time": time.time(), **details}) + "\n")


class CountingTrainer(SFTTrainer):  # type: ignore[misc]
    """Counts the tokens of rows, without padding."""

    num_tokens = 0

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        mask = inputs.get("attention_mask")
        self.num_tokens += int(inputs["input_ids"].numel() if mask is None else mask.sum())
        return super().training_step(model, inputs, num_items_in_batch)


class Timer(TrainerCallback):
    """Notes the end of each step, and its loss when it is logged."""

    def __init__(self, diary: Diary) -> None:
        self.diary = diary
        self.trainer: CountingTrainer | None = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            self.diary.write("begin")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        assert self.trainer is not None
        self.diary.write("step", tokens=self.trainer.num_tokens)
        self.trainer.num_tokens = 0

    def on_log(self, args: Any, state: Any, control: Any, **told: Any) -> None:
        if "loss" in told["logs"]:
            self.diary.write("loss", loss=told["logs"]["loss"])


def config_of(given: dict[str, Any], mean_length: float, longest: int) -> SFTConfig:
    """The settings under test, and no work that ours does not do, either: no checkpointing of activations, nothing saved or reported.

    Args:
        mean_length, longest: of the rows, in tokens; packed sequences are as long as `rows_at_once` rows on average.
    """
    packed, at_once = given["layout"] == "packed", given["rows_at_once"]
    length = max(longest, math.ceil(mean_length * at_once)) if packed else None
    return SFTConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=1 if packed else at_once,
        gradient_accumulation_steps=given["rows_per_step"] // at_once,
        max_steps=given["num_steps"],
        packing=packed,
        padding_free=given["layout"] == "padding_free",
        max_length=length,
        assistant_only_loss=True,
        learning_rate=given["learning_rate"],
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=given["autocast"],
        gradient_checkpointing=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        train_sampling_strategy="sequential",  # the rows come in the order in which Luthier sees them
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=0,
    )


def main(given: dict[str, Any], diary: Diary) -> None:
    diary.write("imported", versions={name: version(name) for name in ("torch", "transformers", "trl", "peft", "datasets", "accelerate")})
    torch.set_num_threads(given["threads"])
    rows = [json.loads(line) for line in Path(given["rows"]).read_text(encoding="utf-8").splitlines()]
    tokenizer: Any = AutoTokenizer.from_pretrained(given["model"])
    model = AutoModelForCausalLM.from_pretrained(given["model"], dtype=getattr(torch, given["weights"]), attn_implementation="sdpa")
    diary.write("loaded")
    lengths = [len(tokenizer.apply_chat_template(row["messages"], return_dict=True)["input_ids"]) for row in rows]
    timer = Timer(diary)
    trainer = CountingTrainer(
        model=model,
        args=config_of(given, sum(lengths) / len(lengths), max(lengths)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=given["rank"], lora_alpha=given["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[timer],
    )
    timer.trainer = trainer
    trainer.train()
    diary.write("end", trainable=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Diary(Path(sys.argv[2])))
