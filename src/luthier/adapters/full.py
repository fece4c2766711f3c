"""Full tuning: every weight learns."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from luthier.spec.base import Spec

LEARNING_RATE = 2e-5
"""Default peak rate."""

WEIGHTS = "weights.safetensors"

WHOLE_MODEL = True
"""The tuned model is saved as a model of its own."""


class Config(Spec):
    """Every weight of the model learns."""


def attach(model: nn.Module, config: Config, name: str, generator: torch.Generator, head: nn.Module | None) -> None:
    """Let every parameter learn."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)


def trainable(model: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """What learns, by its name in the model; a tied weight once."""
    return {path: parameter for path, parameter in model.named_parameters() if parameter.requires_grad}


def save(model: nn.Module, config: Spec, name: str, weights: dict[str, Tensor], base: str, head: nn.Module | None, folder: Path) -> None:
    """Write the weights that learn to `WEIGHTS`, as named by `trainable`."""
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / WEIGHTS, metadata={"format": "pt"})
