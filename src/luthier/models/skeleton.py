"""A model of shapes alone: exact counts of parameters from a config, without weights and without memory for them."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from luthier.adapters import blocks
from luthier.errors import ModelError


def skeleton(config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """The causal language model of `config` on the device `meta`.

    Raises:
        ModelError: transformers cannot build it.
    """
    config = copy.deepcopy(config)
    build: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        try:
            model: PreTrainedModel = build(config, dtype=dtype, attn_implementation="sdpa")
        except ValueError as error:
            if "scaled_dot_product_attention" not in str(error):
                raise ModelError(f"A model of type {config.model_type} cannot be built: {str(error).splitlines()[0]}") from error
            model = build(config, dtype=dtype, attn_implementation="eager")
    model.eval()
    return model


def count(parameters: Iterator[nn.Parameter]) -> int:
    """Numbers in all of them; a tied weight once."""
    return sum(p.numel() for p in {id(p): p for p in parameters}.values())


@dataclass(frozen=True)
class Cuts:
    """`few`: the layers of a short version. `more`: for each kind of layer of which there are others, the short version with one of them
    besides, and how many there are beyond it in the whole."""

    few: list[int]
    more: list[tuple[list[int], int]]


def cuts(model: PreTrainedModel, few: int) -> Cuts:
    """Short versions of a model that tell what each kind of layer holds: one with at least `few` layers, and one more of each kind.

    A kind is told by the shapes of a layer's parameters, by which of them learn, and by what the config lists for each layer.
    """
    kinds = _kinds(model)
    small = {kinds.index(kind) for kind in kinds}
    small |= set([i for i in range(len(kinds)) if i not in small][: max(0, few - len(small))])
    others: dict[tuple[object, ...], list[int]] = {}
    for i, kind in enumerate(kinds):
        if i not in small:
            others.setdefault(kind, []).append(i)
    return Cuts(sorted(small), [(sorted(small | {left[0]}), len(left)) for left in others.values()])


@contextmanager
def with_layers(model: PreTrainedModel, keep: Sequence[int]) -> Iterator[None]:
    """`model` with some of its layers only, for a while."""
    text = model.config.get_text_config()
    total = text.num_hidden_layers
    path = blocks.find(model, total)
    parent, name = model.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2]
    whole = getattr(parent, name)
    lists = {key: value for key, value in vars(text).items() if isinstance(value, list) and len(value) == total}
    try:
        setattr(parent, name, nn.ModuleList(whole[i] for i in keep))
        text.num_hidden_layers = len(keep)
        for key, value in lists.items():
            setattr(text, key, [value[i] for i in keep])
        yield
    finally:
        setattr(parent, name, whole)
        text.num_hidden_layers = total
        for key, value in lists.items():
            setattr(text, key, value)


def _layers(model: PreTrainedModel) -> nn.ModuleList:
    found = model.get_submodule(blocks.find(model, model.config.get_text_config().num_hidden_layers))
    assert isinstance(found, nn.ModuleList)
    return found


def first_layer(model: PreTrainedModel) -> nn.Module:
    """The one nearest to the input of those that learn something: no gradient goes on below it. The very first where none does."""
    layers = _layers(model)
    return next((layer for layer in layers if any(p.requires_grad for p in layer.parameters())), layers[0])


def _kinds(model: PreTrainedModel) -> list[tuple[object, ...]]:
    layers, text = _layers(model), model.config.get_text_config()
    listed = [value for value in vars(text).values() if isinstance(value, list) and len(value) == len(layers)]
    kinds = [tuple((tuple(p.shape), p.requires_grad) for p in layer.parameters()) for layer in layers]
    return [(*kind, *(str(values[i]) for values in listed)) for i, kind in enumerate(kinds)]
