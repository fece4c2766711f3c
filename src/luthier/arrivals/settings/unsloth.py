"""Unsloth: scripts and notebooks that call its models, and the YAML of its own command."""

from luthier.arrivals import trainer
from luthier.arrivals.documents import Document
from luthier.arrivals.settings import trl
from luthier.arrivals.sheet import Sheet

NAME = "Unsloth"

DEFAULTS = (
    ("learning_rate", "optimizer.learning_rate", 2e-4),
    ("weight_decay", "optimizer.weight_decay", 0.01),
    ("max_seq_length", "data.max_length", 2048),
    ("random_seed", "train.seed", 3407),
)
MARKS = (
    "training_type",
    "max_seq_length",
    "random_seed",
    "train_on_completions",
    "load_in_4bit",
    "num_epochs",
    "format_type",
    "local_dataset",
)
SAME = {
    "training.learning_rate": "optimizer.learning_rate",
    "training.weight_decay": "optimizer.weight_decay",
    "training.random_seed": "train.seed",
    "training.output_dir": "out",
    "training.max_seq_length": "data.max_length",
}
MISSED = {
    "training.load_in_4bit": "bases are not quantized here: plan with `luthier plan` whether the full weights fit, or take a smaller model",
    "training.load_in_8bit": "bases are not quantized here",
    "training.full_finetuning": "set `adapter: full`",
    "lora.use_dora": "LoRA without DoRA's magnitudes",
    "lora.use_loftq": "adapters start at zero",
    "training.trust_remote_code": "code that comes with a model is never run",
    "training.embedding_learning_rate": "embeddings stay as they are under LoRA",
    "logging.wandb_token": "keep keys out of files; nothing is sent",
    "logging.hf_token": "keep keys out of files; nothing is sent",
    "audio_input": "text alone is learned",
    "inference": "settings of drawing, not of training",
}
AUTOMATIC = {
    "lora_random_state": "one seed decides everything",
    "fast_inference": "answers are drawn by the model that learns",
    "max_lora_rank": "not needed",
    "gpu_memory_utilization": "memory is bounded by the token budget",
    "instruction_part": "the template says which tokens are answers",
    "response_part": "the template says which tokens are answers",
    "full_finetuning": "see `adapter.name`",
    "finetune_vision_layers": "text alone is learned",
    "finetune_language_layers": "the layers that `adapter.targets` names",
    "finetune_attention_modules": "the layers that `adapter.targets` names",
    "finetune_mlp_modules": "the layers that `adapter.targets` names",
    "training.packing": "rows are always laid end to end, and never see each other",
    "training.optim": "AdamW, with states in full precision",
    "data.format_type": "the format is recognized; `luthier check` shows the mapping",
    "data.dataset_text_field": "the columns are recognized",
    "training.save_steps": "saved ten times a run",
    "training.eval_steps": "measured ten times a run",
    "training.max_steps": "no limit",
    "training.num_epochs": "steps decide",
    "lora.target_modules": "every linear layer",
    "logging.enable_wandb": "metrics lie in the run's folder",
    "logging.wandb_project": "nothing is sent",
    "logging.enable_tensorboard": "metrics lie in the run's folder",
    "logging.tensorboard_dir": "metrics lie in the run's folder",
    "logging.log_frequency": "every step is a line of metrics.jsonl",
    "lora.finetune_vision_layers": "text alone is learned",
    "lora.finetune_language_layers": "the layers that `adapter.targets` names",
    "lora.finetune_attention_modules": "the layers that `adapter.targets` names",
    "lora.finetune_mlp_modules": "the layers that `adapter.targets` names",
    "lora.vision_all_linear": "text alone is learned",
}


def recognizes(document: Document) -> int:
    if document.is_script:
        return 10 * sum(call.startswith(("FastLanguageModel", "FastModel", "FastVisionModel", "Unsloth")) for call in document.calls)
    training = document.values.get("training")
    if isinstance(training, dict) and "base" not in document.values:
        found = sum(key in training for key in MARKS)
        return 4 + found if found else 0
    return 0


def translate(sheet: Sheet) -> None:
    """Everything of it."""
    if sheet.document.is_script:
        trl.translate(sheet)
        sheet.leave(AUTOMATIC)
        return
    kind, raw = str(sheet.get("training.training_type", "lora")).lower(), str(sheet.get("data.format_type", "auto")).lower() == "raw"
    method = sheet.values["method.name"] = sheet.method or ("pretrain" if raw else "sft")
    _start(sheet)
    sheet.carry(SAME)
    for key, to, value in DEFAULTS:
        sheet.default(key, to, value)
    trainer.batch_size(sheet, "training.batch_size", "training.gradient_accumulation_steps", 2, 4)
    _length(sheet)
    if method == "sft":
        sheet.default("truncation", "data.too_long", "cut", "longer rows are cut at their end, as there, and counted")
        _learned(sheet)
    _adapter(sheet, kind)
    sheet.leave(AUTOMATIC)
    sheet.miss(MISSED)


def _start(sheet: Sheet) -> None:
    """The model, and the rows."""
    if sheet.get("model") is not None:
        sheet.put("model.path", str(sheet.get("model")), "model", same=True)
    else:
        sheet.ask("model", "the file names no model: set `model.path`")
    files = sheet.get("data.local_dataset")
    if isinstance(files, list) and files:
        sheet.put("data.train", [{"path": str(file)} for file in files], "data.local_dataset", same=True)
        sheet.leave({"data.dataset": "the local files stand over it"})
    elif sheet.get("data.dataset") is not None:
        trl.fetched(sheet, "data.train", "data.dataset", str(sheet.get("data.dataset")))


def _length(sheet: Sheet) -> None:
    """Steps or epochs, and the schedule."""
    steps, warmup = sheet.get("training.max_steps", 0), sheet.get("training.warmup_steps", 5)
    if steps:
        sheet.put("train.max_steps", steps, "training.max_steps", same=True)
        sheet.put(
            "train.epochs", trainer.MANY_EPOCHS, *(["training.num_epochs"] if sheet.get("training.num_epochs") else []), text="steps decide"
        )
    elif sheet.get("training.num_epochs") is not None:
        sheet.put("train.epochs", sheet.get("training.num_epochs"), "training.num_epochs", same=True)
    else:
        sheet.default("num_epochs", "train.epochs", 3)
    trainer.of_schedule(sheet, "training.lr_scheduler_type", "linear")
    sources = ["training.warmup_steps"] if sheet.get("training.warmup_steps") is not None else []
    if steps:
        sheet.put("optimizer.warmup_share", round(min(0.99, warmup / steps), 4), *sources, text=f"{warmup} of {steps} steps")
    elif sources:
        sheet.missed(
            "training.warmup_steps",
            f"here it is a share of the run: set `optimizer.warmup_share` to {warmup} / its steps (`luthier plan` counts them)",
        )
    if sheet.get("training.save_steps"):
        sheet.put("checkpoints.every", sheet.get("training.save_steps"), "training.save_steps", same=True)
    checkpointing = sheet.get("training.gradient_checkpointing")
    if checkpointing is not None:
        on = str(checkpointing).lower() in ("true", "unsloth", "1", "yes")
        sheet.put("train.gradient_checkpointing", on, "training.gradient_checkpointing", same=checkpointing is on)
    trainer.optimizer(sheet, "training.optim")
    if sheet.get("logging.enable_wandb") is True:
        sheet.put("report.wandb", True, "logging.enable_wandb", text="written into the run's folder; nothing is sent")
    if sheet.get("logging.enable_tensorboard") is True:
        sheet.put("report.tensorboard", True, "logging.enable_tensorboard", same=True)


def _learned(sheet: Sheet) -> None:
    """Unsloth's command learns prompts, too, unless it is told otherwise."""
    if sheet.get("training.train_on_completions") is True:
        sheet.leave({"training.train_on_completions": "answers alone are learned"})
        return
    sources = ["training.train_on_completions"] if sheet.get("training.train_on_completions") is not None else []
    sheet.put("method.prompt_weight", 1.0, *sources, text="prompts are learned, too, as there; 0 learns answers alone")
    sheet.differs(
        "Unsloth's command learns every token, the user's too, unless `train_on_completions` is set. "
        "`method.prompt_weight: 1` does that; most want 0."
    )


def _adapter(sheet: Sheet, kind: str) -> None:
    if sheet.get("training.training_type") is not None:
        sheet.put("adapter.name", "full" if kind == "full" else "lora", "training.training_type", same=True)
    if kind == "full":
        sheet.values["adapter.name"] = "full"
        sheet.leave({"lora": "every weight learns"})
        return
    keys = {
        "r": "lora.lora_r",
        "alpha": "lora.lora_alpha",
        "dropout": "lora.lora_dropout",
        "targets": "lora.target_modules",
        "rslora": "lora.use_rslora",
    }
    trainer.lora(sheet, keys, 64, 16, 0.0)
