"""Where a model's layers are, found by their number and not by their name."""

import re

from torch import nn


def find(model: nn.Module, number: int) -> str:
    """Path of the list that holds the model's `number` layers."""
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == number:
            return str(path)
    raise AssertionError(f"no list of {number} layers in {type(model).__name__}")


def depth(name: str, blocks: str, number: int) -> int:
    """Layers between a parameter and the output: 0 for the last layer and what follows it, `number` for the embeddings."""
    match = re.search(rf"(?:^|\.){re.escape(blocks)}\.(\d+)\.", name)
    if match:
        return number - 1 - int(match.group(1))
    return number if "embed" in name or re.search(r"\bw[tp]e\b", name) else 0
