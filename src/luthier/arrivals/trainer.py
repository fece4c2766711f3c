"""Settings that TRL, LLaMA-Factory, Unsloth and scripts have in common: those of transformers' `Trainer`, and of PEFT's LoRA.

Names and defaults as of transformers 5.23, TRL 1.16 and PEFT 0.21.
"""

import math
from typing import Any

from luthier.arrivals.sheet import Sheet

SAME = {
    "learning_rate": "optimizer.learning_rate",
    "weight_decay": "optimizer.weight_decay",
    "adam_beta1": "optimizer.beta1",
    "adam_beta2": "optimizer.beta2",
    "adam_epsilon": "optimizer.epsilon",
    "seed": "train.seed",
    "output_dir": "out",
}

SCHEDULES = {
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant",
    "constant_with_warmup": "constant",
    "cosine_with_min_lr": "cosine",
}
NEAREST_SCHEDULE = {"polynomial": "linear", "inverse_sqrt": "linear", "warmup_stable_decay": "linear"}
"""Others are nearest to a cosine."""

MANY_EPOCHS = 100
"""Passes where only steps count: more than `max_steps` needs."""

TRACKERS = ("wandb", "tensorboard", "mlflow")


def common(
    sheet: Sheet, schedule: str = "linear", epochs: float = 3.0, batch: int = 8, accumulation: int = 1, rate: float | None = 5e-5
) -> None:
    """All that a trainer knows but its method. The others are the tool's defaults, written out."""
    sheet.carry(SAME)
    if rate is not None:
        sheet.default("learning_rate", "optimizer.learning_rate", rate)
    batch_size(sheet, "per_device_train_batch_size", "gradient_accumulation_steps", batch, accumulation)
    length(sheet, "num_train_epochs", epochs)
    of_schedule(sheet, "lr_scheduler_type", schedule)
    warm_up(sheet)
    clipping(sheet)
    number_type(sheet)
    when_measured(sheet)
    when_saved(sheet)
    trackers(sheet)
    optimizer(sheet, "optim")
    sheet.default("seed", "train.seed", 42)


def batch_size(sheet: Sheet, each: str, accumulation: str, default: int, default_accumulation: int = 1) -> None:
    """Rows in a step: those of a device × accumulated ones × devices."""
    rows, times = sheet.get(each, default), sheet.get(accumulation, default_accumulation)
    if not _whole(rows) or not _whole(times):
        for key in (each, accumulation):
            if sheet.get(key) is not None:
                sheet.missed(key, f"{sheet.get(key)!r} is chosen while it runs there; set `train.batch_size`")
        return
    devices = f"{sheet.devices} device{'s' if sheet.devices > 1 else ''}"
    present = [key for key in (each, accumulation) if sheet.get(key) is not None]
    text = f"{rows} row{'s' if rows != 1 else ''} × {times} accumulated × {devices}"
    if not present:
        sheet.default(each, "train.batch_size", rows * times * sheet.devices, f"{sheet.tool}'s default: {text}")
        return
    sheet.put("train.batch_size", rows * times * sheet.devices, *present, text=text)
    if sheet.devices == 1:
        sheet.differs("The file does not say on how many devices it ran. The batch is that of one; `--devices N` multiplies it.")


def length(sheet: Sheet, key: str, default: float) -> None:
    """Epochs, or steps alone where they are given."""
    steps = sheet.get("max_steps", -1)
    epochs = sheet.get(key)
    if _whole(steps) and steps > 0:
        sheet.put("train.max_steps", steps, "max_steps", same=True)
        if epochs is not None:
            sheet.put("train.epochs", MANY_EPOCHS, key, text="steps decide, as there: enough passes for them")
        else:
            sheet.default(key, "train.epochs", MANY_EPOCHS, "steps decide: enough passes for them")
        return
    if sheet.get("max_steps") is not None:
        sheet.leave({"max_steps": "no limit"})
    if epochs is None:
        sheet.default(key, "train.epochs", math.ceil(default))
    elif isinstance(epochs, float) and epochs != int(epochs):
        sheet.put("train.epochs", math.ceil(epochs), key, text=f"whole passes: {epochs:g} rounded up; `train.max_steps` stops earlier")
    else:
        sheet.put("train.epochs", int(epochs) if isinstance(epochs, float) else epochs, key, same=True)


def of_schedule(sheet: Sheet, key: str, default: str, share_key: str = "lr_scheduler_kwargs.min_lr_rate") -> None:
    """How the rate falls, and to which share of its peak: nearly everywhere to 0, here to 0.1."""
    named = sheet.get(key)
    word = str(named if named is not None else default).lower().rpartition(".")[2]
    ours = SCHEDULES.get(word)
    if ours is None:
        ours = NEAREST_SCHEDULE.get(word, "cosine")
        sheet.differs(f"The schedule `{word}` is not here; `{ours}` is the nearest.")
    if named is not None:
        sheet.put("optimizer.schedule", ours, key, same=word in SCHEDULES, text="" if word in SCHEDULES else f"the nearest to {word}")
    else:
        sheet.default(key, "optimizer.schedule", ours)
    if ours == "constant":
        if word == "constant":
            sheet.default(key, "optimizer.warmup_share", 0.0, f"{sheet.tool}'s `constant` has no warm-up")
        return
    share = sheet.get(share_key)
    if isinstance(share, int | float):
        sheet.put("optimizer.final_share", share, share_key, same=True)
    else:
        sheet.default(
            "the rate at the end",
            "optimizer.final_share",
            0.0,
            f"{sheet.tool} lets the rate fall to 0; here the default is a tenth of the peak",
        )


def warm_up(sheet: Sheet, default: float = 0.0) -> None:
    """Steps or a share of them: here a share."""
    steps, share = sheet.get("warmup_steps"), sheet.get("warmup_ratio")
    if "optimizer.warmup_share" in sheet.values:  # a schedule that has none
        sheet.leave({"warmup_steps": "this schedule has no warm-up there", "warmup_ratio": "this schedule has no warm-up there"})
        return
    if isinstance(steps, int | float) and steps > 0:
        total = sheet.values.get("train.max_steps")
        if steps < 1:
            sheet.put("optimizer.warmup_share", steps, "warmup_steps", text="a share of the steps")
        elif total:
            sheet.put("optimizer.warmup_share", round(min(0.99, steps / total), 4), "warmup_steps", text=f"{steps:g} of {total} steps")
        else:
            sheet.ask(
                "warmup_steps",
                f"here it is a share of the run: set `optimizer.warmup_share` to {steps:g} / its steps (`luthier plan` counts them)",
            )
            sheet.taken.add("warmup_steps")
            sheet.default(
                "warmup_steps", "optimizer.warmup_share", 0.03, f"a guess: {steps:g} steps of a run whose length only the rows tell"
            )
        sheet.leave({"warmup_ratio": "`warmup_steps` stands over it"})
    elif isinstance(share, int | float):
        sheet.leave({"warmup_steps": "0 steps"})
        sheet.put("optimizer.warmup_share", share, "warmup_ratio", same=True)
    else:
        sheet.leave({"warmup_steps": "no steps"})
        sheet.default("warmup_ratio", "optimizer.warmup_share", default)


def clipping(sheet: Sheet) -> None:
    limit = sheet.get("max_grad_norm")
    if limit == 0:
        sheet.put("optimizer.max_grad_norm", None, "max_grad_norm", text="0 turns clipping off")
    elif limit is not None:
        sheet.put("optimizer.max_grad_norm", limit, "max_grad_norm", same=True)


def number_type(sheet: Sheet) -> None:
    """bf16 or fp32; checkpointing of activations."""
    bf16 = sheet.get("bf16")
    if "bf16" in sheet.document.unread:
        sheet.leave(dict.fromkeys(("bf16", "fp16"), "`train.dtype: auto` takes the faster type here"))
    if bf16 is True:
        sheet.put("train.dtype", "bfloat16", "bf16", text="`auto` measures which type is faster here")
    elif bf16 is not None:
        sheet.leave({"bf16": "`train.dtype: auto` takes the faster type here"})
    checkpointing = sheet.get("gradient_checkpointing")
    if checkpointing is not None:
        on = checkpointing is True or str(checkpointing).lower() in ("true", "unsloth", "offload", "offload_disk")
        sheet.put("train.gradient_checkpointing", on, "gradient_checkpointing", same=checkpointing is on)


def when_measured(sheet: Sheet) -> None:
    strategy = next((str(sheet.get(key)) for key in ("eval_strategy", "evaluation_strategy") if sheet.get(key) is not None), None)
    steps = sheet.get("eval_steps")
    if strategy == "epoch":
        source = sheet.first("eval_strategy", "evaluation_strategy") or "eval_strategy"
        sheet.put("evaluation.every", "epoch", source)
        sheet.leave({"eval_steps": "each epoch is measured"})
    elif _whole(steps) and strategy != "no":
        sheet.put("evaluation.every", steps, "eval_steps", same=True)
    else:
        sheet.leave({"eval_steps": "measured ten times a run"})


def when_saved(sheet: Sheet) -> None:
    steps, strategy = sheet.get("save_steps"), str(sheet.get("save_strategy", "steps"))
    if _whole(steps) and steps > 0 and strategy == "steps":
        sheet.put("checkpoints.every", steps, "save_steps", same=True)
    else:
        sheet.leave({"save_steps": "saved ten times a run"})
    if strategy == "epoch" and _whole(epochs := sheet.values.get("train.epochs")) and epochs != MANY_EPOCHS:
        sheet.put("checkpoints.keep_epochs", epochs, "save_strategy", text="the weights at the end of each epoch are kept")
    limit = sheet.get("save_total_limit")
    if _whole(limit) and limit > 0:
        sheet.put("checkpoints.keep_weights", limit, "save_total_limit", same=True)


def trackers(sheet: Sheet) -> None:
    named = sheet.get("report_to")
    if named is None:
        return
    wanted = [named] if isinstance(named, str) else list(named)
    known = [word for word in TRACKERS if word in wanted or wanted == ["all"]]
    for word in known:
        sheet.put(f"report.{word}", True, "report_to", text="written into the run's folder; nothing is sent")
    if not known:
        sheet.leave({"report_to": "metrics.jsonl, and the run's page"})


def optimizer(sheet: Sheet, key: str) -> None:
    name = str(sheet.get(key, "adamw"))
    if sheet.get(key) is None:
        return
    if name.startswith(("adamw", "paged_adamw", "OptimizerNames.ADAMW")):
        small = "; its states have full precision here" if "8bit" in name or "4bit" in name else ""
        sheet.leave({key: f"AdamW{small}"})
        if small:
            sheet.differs(f"`{name}` keeps optimizer states in 8 bits or fewer; here they are fp32: more memory, no rounding.")
    else:
        sheet.missed(key, "AdamW is used instead: its usual rates differ from that optimizer's")


def lora(sheet: Sheet, keys: dict[str, str], rank: int, alpha: float | None, dropout: float, all_layers: str | None = None) -> None:
    """An adapter's settings.

    Args:
        keys: theirs for `r`, `alpha`, `dropout`, `targets`, `rslora`.
        rank, alpha, dropout: the tool's defaults; alpha None for twice the rank.
        all_layers: what the tool takes where no layer is named; None for every linear one.
    """
    sheet.values.setdefault("adapter.name", "lora")
    for part, to in (
        ("r", "adapter.rank"),
        ("alpha", "adapter.alpha"),
        ("dropout", "adapter.dropout"),
        ("rslora", "adapter.rank_stabilized"),
    ):
        key = keys.get(part)
        if key and sheet.get(key) is not None:
            sheet.put(to, sheet.get(key), key, same=True)
    sheet.default(keys["r"], "adapter.rank", rank)
    known = sheet.values["adapter.rank"]
    sheet.default(keys["alpha"], "adapter.alpha", 2 * known if alpha is None and _whole(known) else alpha or 32)
    sheet.default(keys["dropout"], "adapter.dropout", dropout)
    of_targets(sheet, keys["targets"], all_layers)


def of_targets(sheet: Sheet, key: str, all_layers: str | None) -> None:
    """Which layers are adapted."""
    named = sheet.get(key)
    if isinstance(named, str):
        words = [word.strip() for word in named.split(",") if word.strip()]
        if named in ("all", "all-linear"):
            sheet.put("adapter.targets", "all-linear", key, same=named == "all-linear")
            return
        if named == "auto":
            sheet.leave({key: "every linear layer"})
            named = None
        else:
            named = words
    if isinstance(named, list) and named and all(isinstance(word, str) for word in named):
        sheet.put("adapter.targets", named, key, same=True)
    elif named is None and all_layers:
        sheet.differs(
            f"Where no layers are named, {sheet.tool} adapts {all_layers}; here all but the head. Name them in `adapter.targets`."
        )


def on_policy(sheet: Sheet) -> None:
    """What methods that draw their own answers refuse: dropout, and measuring by epoch."""
    for key in ("adapter.dropout", "train.dropout"):
        if sheet.values.get(key):
            sheet.values.pop(key)
            sheet.notes.pop(key, None)
            sheet.differs(f"`{key}` is left out: dropout would make the policy another model each time it is scored.")
    if sheet.values.get("evaluation.every") == "epoch":
        sheet.values.pop("evaluation.every")
        sheet.differs("Measuring at the end of each epoch is left out: methods that draw their own answers are measured by steps.")
    if sheet.values.pop("checkpoints.keep_epochs", None) is not None:
        sheet.differs("Keeping the weights of each epoch is left out: methods that draw their own answers save by steps.")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
