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


def test_a_short_version_has_every_kind_of_layer_and_others_one_more_of_each():
    """Gemma 3: of 12 layers the 6th and the 12th attend to everything, the others to a window."""
    config = AutoConfig.for_model("gemma3_text", num_hidden_layers=12, hidden_size=32, intermediate_size=64, vocab_size=64)
    found = cuts(skeleton(config, torch.float32), 2)
    assert found.few == [0, 5]
    assert found.more == [([0, 1, 5], 9), ([0, 5, 11], 1)]


def test_layers_that_learn_are_another_kind_than_those_that_do_not():
    model = skeleton(build_model("llama", num_hidden_layers=6).config, torch.float32)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layers.4." in name or "layers.5." in name)
    found = cuts(model, 2)
    assert (found.few, found.more) == ([0, 4], [([0, 1, 4], 3), ([0, 4, 5], 1)])


def test_a_model_with_few_layers_is_not_cut():
    found = cuts(skeleton(build_model("llama", num_hidden_layers=2).config, torch.float32), 4)
    assert (found.few, found.more) == ([0, 1], [])


def test_layers_come_back():
    model = skeleton(build_model("llama", num_hidden_layers=6).config, torch.float32)
    with with_layers(model, [0, 1, 5]):
        assert len(model.model.layers) == model.config.num_hidden_layers == 3
    assert len(model.model.layers) == model.config.num_hidden_layers == 6
