"""Whether the tensors of a model's files and what its config.json describes belong together."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

BUFFERS = (".inv_freq", ".masked_bias", ".attn.bias", ".attention.bias", ".cos_cached", ".sin_cached", ".position_ids")
"""Ends of names that older versions of transformers saved and newer ones compute: rotary frequencies, causal masks, positions."""


def misfit(model: nn.Module, layers: str, info: dict[str, Any]) -> str | None:
    """Why the files cannot be this model's, as a sentence; None where they can.

    Args:
        layers: the path of the list of layers, such as `model.layers`. info: what transformers says of loading: `mismatched_keys`,
        `missing_keys`, `unexpected_keys`.
    """
    if wrong := sorted(info["mismatched_keys"]):
        name, held, wanted = wrong[0]
        return f"{name} is {tuple(held)} in the weights and {tuple(wanted)} by config.json. The two belong to different models."
    if missing := sorted(info["missing_keys"]):
        return f"config.json asks for {_some(missing)}, which the weights do not hold. The two belong to different models."
    inside = [name for name in _unknown(info["unexpected_keys"]) if _is_inside(model, name, layers)]
    if inside:
        return f"the weights hold {_some(inside)}, for which config.json has no place. The two belong to different models."
    return None


def left_aside(model: nn.Module, layers: str, info: dict[str, Any]) -> list[str]:
    """Whole parts of the files that this model does not have, such as a vision tower or a head of another kind, as sentences."""
    outside: dict[str, int] = {}
    for name in _unknown(info["unexpected_keys"]):
        if not _is_inside(model, name, layers):
            part = _part(model, name)
            outside[part] = outside.get(part, 0) + 1
    counted = {part: f"{number:,} tensor{'s' if number > 1 else ''}" for part, number in outside.items()}
    return [f"`{part}` in the model's files ({many}) is no part of the language model: it is left out." for part, many in counted.items()]


def _unknown(names: Iterable[str]) -> Iterator[str]:
    return (name for name in sorted(names) if not name.endswith(BUFFERS))


def _part(model: nn.Module, name: str) -> str:
    """The shortest beginning of a tensor's name that is no module of the model."""
    words = name.split(".")
    modules = {path for path, _ in model.named_modules()}
    return next((path for end in range(1, len(words)) if (path := ".".join(words[:end])) not in modules), name)


def _is_inside(model: nn.Module, name: str, layers: str) -> bool:
    """A weight that would change what this model computes, had it been loaded: of a layer, of one more layer, of embeddings or head.

    What hangs on the model itself, or on its body beside the layers (`vision_tower`, `mtp`, `score`), is a part of its own.
    """
    parent = _part(model, name).rpartition(".")[0]
    return not layers.startswith(f"{parent}." if parent else "")


def _some(names: list[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
