"""Soup (soup-cli): its soup.yaml. Names and defaults as of soup-cli 0.77."""

from pathlib import Path

from luthier.arrivals import trainer
from luthier.arrivals.documents import Document
from luthier.arrivals.settings import trl
from luthier.arrivals.sheet import Sheet

NAME = "Soup"

TASKS = {
    "sft": "sft",
    "dpo": "dpo",
    "ipo": "dpo",
    "kto": "kto",
    "orpo": "orpo",
    "grpo": "grpo",
    "ppo": "ppo",
    "reward_model": "reward_model",
    "pretrain": "pretrain",
}
SAME = {
    "training.lr": "optimizer.learning_rate",
    "training.weight_decay": "optimizer.weight_decay",
    "training.seed": "train.seed",
    "output": "out",
    "data.max_length": "data.max_length",
}
BETAS = {"dpo": "training.dpo_beta", "kto": "training.kto_beta", "ipo": "training.ipo_tau"}
MISSED = {
    "training.quantization": "bases are not quantized here: plan with `luthier plan` whether the full weights fit, or take a smaller model",
    "training.stream_layers": "layers are not streamed while they learn; `luthier plan` says what fits",
    "training.stream_buffers": "layers are not streamed while they learn",
    "training.neftune_alpha": "no noise is added to embeddings",
    "training.loraplus_lr_ratio": "A and B learn at one rate",
    "training.use_galore": "AdamW learns everything that learns",
    "training.multipack": "rows are always laid end to end",
    "training.simpo_gamma": "no SimPO; `orpo` needs no reference, either",
    "training.cpo_alpha": "no CPO",
    "training.grpo_variant": "GRPO, or DAPO and Dr. GRPO by `method.average`, `method.scale` and `method.clip_high`",
    "training.lora.use_dora": "LoRA without DoRA's magnitudes",
    "training.lora.use_vera": "LoRA's own matrices",
    "training.lora.use_olora": "adapters start at zero",
    "training.lora.init_strategy": "adapters start at zero",
    "training.lora.rank_pattern": "every layer has the same rank",
    "training.lora.alpha_pattern": "every layer has the same scaling",
    "training.lora.target_parameters": "experts saved as one tensor are not adapted",
    "training.lora.loftq_iter": "adapters start at zero",
    "training.lora.loftq_bits": "adapters start at zero",
    "training.moe_lora": "experts saved as one tensor are not adapted",
    "training.rope_scaling_type": "set it in the model's config.json",
    "training.packing_cross_doc_attn_mask": "rows never see each other",
    "data.image_dir": "text alone is learned",
    "data.audio_dir": "text alone is learned",
    "modality": "text alone is learned",
    "eval": "`luthier evaluate` after a run",
    "governance": "a run's record has what it was trained on; docs/how-to/certificate.md",
    "compliance": "a run's record has what it was trained on",
}
AUTOMATIC = {
    "backend": "one way to train",
    "experiment_name": "the run's folder is its name",
    "data.format": "the format is recognized; `luthier check` shows the mapping",
    "data.chat_template": "the model's own is used",
    "data.train_on_responses_only": "answers alone are learned",
    "data.train_on_messages_with_train_field": "give a message `weight: 0` to leave it out",
    "data.train_on_prompt": "answers alone are learned",
    "data.streaming": "rows are mapped from disk",
    "data.num_workers": "several processes encode where it pays",
    "training.packing": "rows are always laid end to end, and never see each other",
    "training.logging_steps": "every step is a line of metrics.jsonl",
    "training.use_liger": "logits exist only where a loss reads them",
    "training.use_flash_attn": "attention is one function, proved against the model's own",
    "training.use_cut_ce": "logits exist only where a loss reads them",
    "training.auto_mixed_precision": "`train.dtype: auto` measures",
    "training.use_fp8": "bf16 or fp32",
}


def recognizes(document: Document) -> int:
    values = document.values
    training = values.get("training")
    inside = sum(key in training for key in ("lr", "lora", "batch_size", "quantization", "epochs")) if isinstance(training, dict) else 0
    return 4 + inside if "base" in values and ("task" in values or inside) else 0


def translate(sheet: Sheet) -> None:
    """Everything of it."""
    task = str(sheet.get("task", "sft"))
    method = sheet.method or TASKS.get(task)
    if method is None:
        method = "sft"
        sheet.missed("task", "no such task; `sft` is written: look at docs/choose.md for what there is")
    elif sheet.get("task") is not None:
        sheet.put("method.name", method, "task", same=method == task)
    sheet.values["method.name"] = method
    sheet.put("model.path", str(sheet.get("base")), "base", same=True)
    _data(sheet, method)
    sheet.carry(SAME)
    sheet.default("lr", "optimizer.learning_rate", 2e-5)
    sheet.default("weight_decay", "optimizer.weight_decay", 0.01)
    _steps(sheet)
    _of_method(sheet, method, task)
    _adapter(sheet)
    if method in ("grpo", "ppo"):
        trainer.on_policy(sheet)
    sheet.leave(AUTOMATIC)
    sheet.miss(MISSED)


def _data(sheet: Sheet, method: str) -> None:
    train = sheet.get("data.train")
    if isinstance(train, list):
        sheet.put("data.train", [{"path": str(path)} for path in train], "data.train", text="mixed by `weight`")
    elif train is not None:
        trl.fetched(sheet, "data.train", "data.train", str(train))
    share = sheet.get("data.val_split")
    if share:
        sheet.put("data.validation_share", share, "data.val_split", same=True)
    elif share is None:
        sheet.default("data.val_split", "data.validation_share", 0.1)
    sheet.leave({"data.val_split": "nothing is set aside"})
    if sheet.get("data.val") is not None and Path(str(sheet.get("data.val"))).suffix:
        sheet.values.pop("data.validation_share", None)
        sheet.put("data.validation", str(sheet.get("data.val")), "data.val", same=True)
    if method in ("grpo", "ppo"):
        sheet.leave({"data.max_length": "answers have a limit of their own"})
        return
    sheet.default("data.max_length", "data.max_length", 2048) if sheet.get("data.max_length") is None else None
    if method != "pretrain":
        sheet.default("truncation", "data.too_long", "cut", "longer rows are cut at their end, as there, and counted")


def _steps(sheet: Sheet) -> None:
    trainer.batch_size(sheet, "training.batch_size", "training.gradient_accumulation_steps", 0, 4) if sheet.get(
        "training.batch_size"
    ) not in (None, "auto") else _auto(sheet)
    epochs = sheet.get("training.epochs")
    if epochs is not None:
        sheet.put("train.epochs", epochs, "training.epochs", same=True)
    else:
        sheet.default("epochs", "train.epochs", 3)
    if sheet.get("training.max_steps"):
        sheet.put("train.max_steps", sheet.get("training.max_steps"), "training.max_steps", same=True)
    trainer.of_schedule(sheet, "training.scheduler", "cosine")
    share = sheet.get("training.warmup_ratio")
    if share is not None:
        sheet.put("optimizer.warmup_share", share, "training.warmup_ratio", same=True)
    else:
        sheet.default("warmup_ratio", "optimizer.warmup_share", 0.03)
    sheet.carry({"training.max_grad_norm": "optimizer.max_grad_norm", "training.save_steps": "checkpoints.every"})
    if sheet.get("training.gradient_checkpointing") is not None:
        sheet.put(
            "train.gradient_checkpointing", bool(sheet.get("training.gradient_checkpointing")), "training.gradient_checkpointing", same=True
        )
    trainer.optimizer(sheet, "training.optimizer")


def _auto(sheet: Sheet) -> None:
    """A batch that Soup would choose by the memory of its device."""
    times = sheet.get("training.gradient_accumulation_steps", 4)
    for key in ("training.batch_size", "training.gradient_accumulation_steps"):
        if sheet.get(key) is not None:
            sheet.missed(key, "Soup chooses rows by the device's memory, so nobody knows the batch: 16 is written; set `train.batch_size`")
    sheet.default("batch_size", "train.batch_size", 16, f"a guess: `auto` rows × {times} accumulated, chosen by memory there")


def _of_method(sheet: Sheet, method: str, task: str) -> None:
    if method == "dpo" and task == "ipo":
        sheet.put("method.loss", "ipo", "task")
    key = BETAS.get(task)
    if key and sheet.get(key) is not None:
        sheet.put("method.beta", sheet.get(key), key, same=True)
    elif method == "orpo":
        sheet.carry({"training.orpo_beta": "method.odds_weight"})
    elif method == "grpo":
        sheet.carry(
            {
                "training.num_generations": "method.group",
                "training.grpo_beta": "method.kl",
                "training.max_completion_length": "method.rollout.max_new_tokens",
            }
        )
        sheet.default("num_generations", "method.group", 4)
        sheet.default("grpo_beta", "method.kl", 0.1)
        source = [key for key in ("training.reward_fn",) if sheet.get(key)]
        sheet.put("reward", [{"name": "./rewards.py:score"}], *source, text="write it: score(prompt, answer, item) gives a number")
        sheet.ask(
            "training.reward_fn",
            "write what answers are worth as `score(prompt, answer, item)` in rewards.py, or name a reward (docs/how-to/reinforcement.md)",
        )
    elif method == "ppo":
        path = str(sheet.get("training.reward_model", "runs/my-reward-model"))
        sheet.put(
            "reward", [{"name": "reward_model", "path": path}], *(["training.reward_model"] if sheet.get("training.reward_model") else [])
        )
        sheet.ask("training.reward_model", "train one here with `luthier train reward_model`, and name its run")
        sheet.carry(
            {
                "training.ppo_epochs": "method.rollout.passes",
                "training.ppo_clip_ratio": "method.clip",
                "training.ppo_kl_penalty": "method.kl.coefficient",
            }
        )
    if method == "sft" and (sheet.get("data.train_on_prompt") is True or sheet.get("data.train_on_responses_only") is False):
        key = "data.train_on_prompt" if sheet.get("data.train_on_prompt") is True else "data.train_on_responses_only"
        sheet.put("method.prompt_weight", 1.0, key)


def _adapter(sheet: Sheet) -> None:
    if sheet.get("training.lora.r") == 0:
        sheet.put("adapter.name", "full", "training.lora.r", text="rank 0: every weight learns")
        sheet.leave({"training.lora": "rank 0 has no adapter"})
        return
    keys = {"r": "training.lora.r", "alpha": "training.lora.alpha", "dropout": "training.lora.dropout",
            "targets": "training.lora.target_modules", "rslora": "training.lora.use_rslora"}  # fmt: skip
    trainer.lora(sheet, keys, 64, 16, 0.05, "what PEFT's table has for the model, often q_proj and v_proj")
    if sheet.get("training.lora.target_modules") == "auto":
        sheet.differs("`target_modules: auto` is PEFT's table there, often q_proj and v_proj; here every linear layer but the head.")
