"""A model of shapes alone: exact counts of parameters from a config, without weights and without memory for them."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


def cuts(model: PreTrainedModel, few: int) -> list[list[int]]:
    """Which layers to keep in two short versions: at least `few`, and one more of each kind. One version with all where there are few.

    A kind is told by the shapes of a layer's parameters and by what the config lists for each layer.
    """
    layers = _layers(model)
    total = len(layers)
    kinds = _kinds(model)
    first_of = {kind: kinds.index(kind) for kind in reversed(kinds)}
    small = set(first_of.values())
    small |= set([i for i in range(total) if i not in small][: max(0, few - len(small))])
    more = {next((i for i in range(total) if kinds[i] == kind and i not in small), None) for kind in first_of} - {None}
    if not more:
        return [list(range(total))]
    return [sorted(small), sorted(small | {i for i in more if i is not None})]


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
    """The one nearest to the input."""
    return _layers(model)[0]


def _kinds(model: PreTrainedModel) -> list[tuple[object, ...]]:
    layers, text = _layers(model), model.config.get_text_config()
    listed = [value for value in vars(text).values() if isinstance(value, list) and len(value) == len(layers)]
    return [(*(tuple(p.shape) for p in layer.parameters()), *(str(values[i]) for values in listed)) for i, layer in enumerate(layers)]
