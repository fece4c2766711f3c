"""What pydantic found wrong, as one sentence a fault: where, which key, what stands there, what may stand there."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from luthier.spec.nearest import listed, nearest
from luthier.spec.settings import Setting

Location = tuple[int | str, ...]

OTHER_NAMES = {
    "lr": "optimizer.learning_rate",
    "optim": "optimizer",
    "lr_scheduler_type": "optimizer.schedule",
    "warmup_ratio": "optimizer.warmup_share",
    "warmup_steps": "optimizer.warmup_share",
    "adam_beta1": "optimizer.beta1",
    "adam_beta2": "optimizer.beta2",
    "adam_epsilon": "optimizer.epsilon",
    "max_gradient_norm": "optimizer.max_grad_norm",
    "num_train_epochs": "train.epochs",
    "n_epochs": "train.epochs",
    "num_epochs": "train.epochs",
    "per_device_train_batch_size": "train.batch_size",
    "gradient_accumulation_steps": "train.token_budget",
    "fp16": "train.dtype",
    "bf16": "train.dtype",
    "model_name_or_path": "model.path",
    "base_model": "model.path",
    "dataset": "data.train",
    "datasets": "data.train",
    "train_file": "data.train",
    "training_file": "data.train",
    "validation_file": "data.validation",
    "max_seq_length": "data.max_length",
    "cutoff_len": "data.max_length",
    "sequence_len": "data.max_length",
    "val_size": "data.validation_share",
    "val_set_size": "data.validation_share",
    "eval_steps": "evaluation.every",
    "save_steps": "checkpoints.every",
    "save_total_limit": "checkpoints.keep_weights",
    "output_dir": "out",
    "lora_r": "adapter.rank",
    "r": "adapter.rank",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "target_modules": "adapter.targets",
}
"""What other tools call a setting, so that a person who comes from there is shown the way."""


def sentences(
    error: ValidationError,
    settings: Mapping[str, Setting],
    everywhere: Mapping[str, Setting],
    where: Callable[[str], str],
    prefix: str = "",
) -> list[str]:
    """One sentence for each fault of a validation.

    Args:
        settings: what the validated keys are called and may be, by dotted key (`data.train[].weight`).
        everywhere: the settings among which the nearest to an unknown key is looked for.
        where: the beginning of a sentence about a dotted key, such as `run.yaml:12: `.
        prefix: the dotted key of what was validated.
    """
    found = [_sentence(fault, prefix, settings, everywhere, where) for fault in error.errors()]
    return list(dict.fromkeys(found))  # a union reports each of its branches


def dotted(location: Location, prefix: str = "") -> str:
    """`("data", "train", 0, "weight")` as `data.train[0].weight`."""
    return (prefix + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)).removeprefix(".")


def unknown_key(key: str, known: Mapping[str, Setting]) -> str:
    """The sentence for a key that does not exist, with the nearest that does."""
    likely = suggestions(key, known)
    return f"`{key}` is not a setting." + (f" Did you mean {listed(likely)}?" if likely else " The reference page lists all of them.")


def suggestions(key: str, known: Mapping[str, Setting]) -> list[str]:
    """The right keys for a wrong one: the same word elsewhere, another tool's word for it, a near word in its group or anywhere."""
    group, _, leaf = key.rpartition(".")
    if elsewhere := [name for name in known if _leaf(name) == leaf and "[]" not in name]:
        return elsewhere[:3]
    if OTHER_NAMES.get(leaf) in known:
        return [OTHER_NAMES[leaf]]
    siblings = {_leaf(name): name for name in known if name.rpartition(".")[0] == _pattern(group)}
    if beside := nearest(leaf, siblings):
        return [f"{group}.{beside}" if group else beside]
    if whole := nearest(key, [name for name in known if "[]" not in name]):
        return [whole]
    leaves = {_leaf(name): name for name in known if "[]" not in name}
    found = nearest(leaf, leaves)
    return [leaves[found]] if found else []


def found_value(value: Any, longest: int = 60) -> str:
    """A value as a person would have written it, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _sentence(
    fault: ErrorDetails, prefix: str, settings: Mapping[str, Setting], everywhere: Mapping[str, Setting], where: Callable[[str], str]
) -> str:
    kind, value, message = fault["type"], fault["input"], fault["msg"].removeprefix("Value error, ").rstrip(".")
    if kind == "extra_forbidden":
        key = dotted(fault["loc"], prefix)
        return where(key) + unknown_key(key, everywhere)
    key, setting = _nearest_setting(fault["loc"], prefix, settings)
    if kind in ("value_error", "assertion_error") or setting is None:
        return f"{where(key)}{f'`{key}`: ' if key else ''}{message}."
    must = f"{'It' if setting.key == _pattern(key) else f'`{setting.key}`'} must be {setting.allowed}."
    if kind == "missing":
        return f"{where(key)}`{key}` is missing. {must}"
    near = nearest(value, setting.choices) if isinstance(value, str) else None
    return f"{where(key)}`{key}` is {found_value(value)}. {must}" + (f" Did you mean `{near}`?" if near else "")


def _nearest_setting(location: Location, prefix: str, settings: Mapping[str, Setting]) -> tuple[str, Setting | None]:
    """The key to name and the setting it belongs to: itself, or the list around an element; the branch of a union is no key."""
    for length in range(len(location), 0, -1):
        setting = settings.get(_pattern(dotted(location[:length], prefix)))
        if setting is not None:
            element = length < len(location) and isinstance(location[length], int)
            return dotted(location[: length + element], prefix), setting
    return dotted(location, prefix), None


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _pattern(key: str) -> str:
    """`data.train[0].weight` as the table has it: `data.train[].weight`."""
    return re.sub(r"\[\d+\]", "[]", key)
