"""Partial tuning: the last layers learn, or the weights whose names match; the rest stays as it is."""

import re
from typing import Any

import torch
from pydantic import Field
from torch import nn

from luthier.adapters import blocks, full
from luthier.adapters.full import save, trainable
from luthier.errors import SettingsError
from luthier.spec.base import Spec

__all__ = ["LEARNING_RATE", "WEIGHTS", "WHOLE_MODEL", "Config", "attach", "save", "trainable"]

LEARNING_RATE = full.LEARNING_RATE
WEIGHTS = full.WEIGHTS
WHOLE_MODEL = True


class Config(Spec):
    """Some of the model's own weights learn."""

    last_layers: int = Field(2, ge=0)
    """So many layers from the end learn, with the norm that follows them."""
    patterns: tuple[str, ...] = ()
    """Regular expressions; weights whose name contains a match learn as well."""


def attach(model: Any, config: Config, name: str, generator: torch.Generator, head: nn.Module | None) -> None:
    """Freeze all but the chosen weights. A head that is tied to the embeddings stays frozen with them.

    Raises:
        SettingsError: nothing would learn, more layers than there are, or a pattern that matches nothing.
    """
    number = model.config.get_text_config().num_hidden_layers
    if config.last_layers > number:
        raise SettingsError(
            f"`adapter.last_layers`: {config.last_layers} of {number} layers. Give at most {number}, or use `adapter: full`."
        )
    path = blocks.find(model, number)
    parameters = dict(model.named_parameters())
    first = number - config.last_layers
    learning: set[str] = set()
    if config.last_layers:
        blocked = {key: _block(key, path) for key in parameters}
        learning |= {key for key, block in blocked.items() if block is not None and block >= first}
        # What is one-dimensional and outside the layers, but of neither embeddings nor head, is the norm after the last layer.
        of_head = {id(p) for p in head.parameters()} if head is not None else set()
        outside = {key for key, block in blocked.items() if block is None and id(parameters[key]) not in of_head}
        learning |= {key for key in outside if parameters[key].ndim == 1 and "embed" not in key}
    for pattern in config.patterns:
        matched = {key for key in parameters if re.search(pattern, key)}
        if not matched:
            raise SettingsError(
                f"`adapter.patterns`: {pattern!r} matches no weight of this model. An example of a name: {next(iter(parameters))}."
            )
        learning |= matched
    if not learning:
        raise SettingsError("`adapter.last_layers` is 0 and `adapter.patterns` is empty: nothing would learn. Give one of them.")
    for key, parameter in parameters.items():
        parameter.requires_grad_(key in learning)


def _block(key: str, path: str) -> int | None:
    match = re.match(rf"{re.escape(path)}\.(\d+)\.", key)
    return int(match.group(1)) if match else None
