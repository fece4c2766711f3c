"""Rotary frequencies that follow the longest row: made to depend on the forward at hand alone, not on the forwards before it.

transformers keeps the frequencies of the longest row it has seen so far (`dynamic`), so a row would depend on what was computed earlier.
"""

from typing import Any

from torch import nn


def forget_longer_rows(model: nn.Module) -> None:
    """Let every forward of `model` choose its dynamic frequencies afresh. Asking twice is harmless."""
    for module in model.modules():
        if _dynamic_kinds(module) and _forget not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(_forget)


def _dynamic_kinds(module: nn.Module) -> list[str]:
    """What the names of its dynamic frequencies begin with: "" where all layers have the same, else `<layer type>_`."""
    kind = getattr(module, "rope_type", None)
    if isinstance(kind, dict):
        return [f"{layer}_" for layer, name in kind.items() if "dynamic" in name]
    return [""] if isinstance(kind, str) and "dynamic" in kind and hasattr(module, "original_inv_freq") else []


def _forget(module: Any, _: object) -> None:
    for prefix in _dynamic_kinds(module):
        setattr(module, f"{prefix}inv_freq", getattr(module, f"{prefix}original_inv_freq").to(getattr(module, f"{prefix}inv_freq").device))
        setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)
