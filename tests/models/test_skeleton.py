"""Models of shapes alone."""

import pytest
import torch
from transformers import AutoConfig

from luthier.models.skeleton import count, cuts, skeleton, with_layers
from luthier.testing import build_model


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_parameters_are_counted_as_in_the_real_model(family: str):
    real = build_model(family)
    assert count(skeleton(real.config, torch.float32).parameters()) == count(real.parameters())


def test_two_short_versions_differ_by_one_layer_of_each_kind():
    config = AutoConfig.for_model("gemma3_text", num_hidden_layers=12, hidden_size=32, intermediate_size=64, vocab_size=64)
    model = skeleton(config, torch.float32)
    few, more = cuts(model, 2)
    kinds = config.layer_types
    assert {kinds[i] for i in few} == set(kinds)
    assert sorted(kinds[i] for i in set(more) - set(few)) == ["full_attention", "sliding_attention"]


def test_layers_come_back():
    model = skeleton(build_model("llama", num_hidden_layers=6).config, torch.float32)
    with with_layers(model, [0, 1, 5]):
        assert len(model.model.layers) == model.config.num_hidden_layers == 3
    assert len(model.model.layers) == model.config.num_hidden_layers == 6
