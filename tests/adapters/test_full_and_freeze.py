"""Tuning the model's own weights: all of them, or the last layers and what is named."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from luthier.adapters import blocks, freeze, full
from luthier.errors import SettingsError
from luthier.testing import build_model

NAME = "policy"


def _frozen(model: PreTrainedModel, **settings: Any) -> dict[str, nn.Parameter]:
    freeze.attach(model, freeze.Config(**settings), NAME, torch.Generator(), model.get_output_embeddings())
    return freeze.trainable(model, NAME)


def _reached(model: PreTrainedModel) -> set[str]:
    """Names of the weights that a backward pass gives a gradient."""
    model(input_ids=torch.arange(20)[None]).logits.square().mean().backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def test_full_tuning_lets_every_weight_learn_and_a_tied_one_once() -> None:
    model = build_model("qwen2", tie_word_embeddings=True)
    model.requires_grad_(False)
    full.attach(model, full.Config(), NAME, torch.Generator(), None)
    learning = full.trainable(model, NAME)
    assert set(learning) == {name for name, _ in model.named_parameters()} == _reached(model)
    assert "lm_head.weight" not in learning and "model.embed_tokens.weight" in learning


def test_full_tuning_saves_the_weights_by_their_names(tmp_path: Path) -> None:
    model = build_model()
    full.attach(model, full.Config(), NAME, torch.Generator(), None)
    weights = {name: p.detach().T.contiguous().T if p.ndim == 2 else p.detach() for name, p in full.trainable(model, NAME).items()}
    full.save(model, full.Config(), NAME, weights, "base", None, tmp_path)
    saved = load_file(tmp_path / full.WEIGHTS)
    assert saved.keys() == weights.keys() and all(torch.equal(saved[name], weights[name]) for name in saved)


@pytest.mark.parametrize(
    ("model", "last", "norms"),
    [
        (lambda: build_model(num_hidden_layers=3), "model.layers.", {"model.norm.weight"}),
        (lambda: build_model("gpt2", num_hidden_layers=3), "transformer.h.", {"transformer.ln_f.weight", "transformer.ln_f.bias"}),
        (lambda: build_model("phi", num_hidden_layers=3), "model.layers.", {"model.final_layernorm.weight", "model.final_layernorm.bias"}),
    ],
    ids=["llama", "gpt2", "phi, whose head has a bias"],
)
def test_the_last_layers_learn_with_the_norm_after_them(model: Any, last: str, norms: set[str]) -> None:
    """Two of three layers; the head and the embeddings stay."""
    made = model()
    names = {name for name, _ in made.named_parameters()}
    expected = {name for name in names if name.startswith((f"{last}1.", f"{last}2."))} | norms
    assert set(_frozen(made, last_layers=2)) == expected
    no_effect = {name for name in expected if "k_proj.bias" in name}  # a constant added to all scores of a query
    assert expected - no_effect <= _reached(made) | no_effect


def test_patterns_choose_more_weights_or_others() -> None:
    model = build_model(num_hidden_layers=3)
    chosen = _frozen(model, last_layers=0, patterns=(r"layers\.0\.mlp", "lm_head"))
    assert set(chosen) == {"lm_head.weight", *(f"model.layers.0.mlp.{n}_proj.weight" for n in ("gate", "up", "down"))}
    assert {"model.embed_tokens.weight", "model.norm.weight"} <= set(_frozen(model, last_layers=1, patterns=("embed_tokens",)))


def test_a_tied_head_stays_frozen_with_the_embeddings() -> None:
    model = build_model("qwen2", tie_word_embeddings=True)
    assert not any("embed" in name or "lm_head" in name for name in _frozen(model, last_layers=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"last_layers": 4}, r"`adapter\.last_layers`: 4 of 3 layers\. Give at most 3"),
        ({"last_layers": 0}, r"nothing would learn"),
        ({"last_layers": 1, "patterns": ("q_prj",)}, r"'q_prj' matches no weight of this model\. An example of a name: model\."),
    ],
)
def test_settings_by_which_nothing_or_another_thing_would_learn_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        _frozen(build_model(num_hidden_layers=3), **settings)


def test_where_layers_are_and_how_deep_a_weight_lies() -> None:
    """Depth counts layers between a weight and the output, which layer-wise rates need."""
    llama, gpt2 = build_model(num_hidden_layers=3), build_model("gpt2", num_hidden_layers=3)
    assert (blocks.find(llama, 3), blocks.find(gpt2, 3)) == ("model.layers", "transformer.h")
    for model, path in ((llama, "model.layers"), (gpt2, "transformer.h")):
        depths = {name: blocks.depth(name, path, 3) for name, _ in model.named_parameters()}
        assert {d for name, d in depths.items() if f"{path}.0." in name} == {2}
        assert {d for name, d in depths.items() if f"{path}.2." in name} == {0}
    assert blocks.depth("model.embed_tokens.weight", "model.layers", 3) == blocks.depth("transformer.wpe.weight", "transformer.h", 3) == 3
    assert blocks.depth("lm_head.weight", "model.layers", 3) == blocks.depth("model.norm.weight", "model.layers", 3) == 0
    assert blocks.depth("base_model.model.model.layers.1.mlp.up_proj.lora_A.weight", "model.layers", 3) == 1
