"""LoRA on a model: which layers it adapts, what learns, and what its settings do."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from luthier.adapters import lora
from luthier.adapters.low_rank import layers
from luthier.adapters.routing import Routing, routed
from luthier.errors import ModelError, SettingsError
from luthier.testing import build_model

LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
NAME = "policy"


def _attached(model: nn.Module | None = None, name: str = NAME, seed: int = 0, **settings: Any) -> nn.Module:
    model = model or build_model()
    head = model.get_output_embeddings()  # type: ignore[operator]
    lora.attach(model, lora.Config(**{"rank": 4, **settings}), name, torch.Generator().manual_seed(seed), head)
    return model


def _perturb(model: nn.Module, name: str = NAME) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in lora.trainable(model, name).values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


@torch.no_grad()
def _logits(model: nn.Module, adapter: str | None = NAME) -> Tensor:
    with routed(Routing(adapter)):
        logits: Tensor = model(input_ids=torch.arange(20)[None]).logits
    return logits


def _leaves(model: nn.Module) -> list[str]:
    return [path.rsplit(".", 1)[-1] for path in layers(model)]


def test_all_linear_is_every_linear_layer_but_the_head() -> None:
    assert _leaves(_attached()) == LLAMA * 2
    assert _leaves(_attached(build_model("gpt2"))) == ["c_attn", "c_proj", "c_fc", "c_proj"] * 2
    assert _leaves(_attached(build_model("qwen2", tie_word_embeddings=True))) == LLAMA * 2


def test_targets_are_names_or_patterns_of_whole_paths() -> None:
    assert _leaves(_attached(targets=("q_proj", "down_proj"))) == ["q_proj", "down_proj"] * 2
    assert list(layers(_attached(targets=(r".*\.1\.mlp\.(up|gate)_proj",)))) == [
        "model.layers.1.mlp.gate_proj",
        "model.layers.1.mlp.up_proj",
    ]


@pytest.mark.parametrize("target", ["qproj", "lm_head", "proj", "embed_tokens", "q_proj_"])
def test_a_target_that_matches_nothing_is_refused_with_the_names_there_are(target: str) -> None:
    """A part of a name is no name, and the head is never adapted."""
    model = build_model()
    with pytest.raises(SettingsError, match=rf"'{target}' matches no layer .* named down_proj, .*v_proj\."):
        _attached(model, targets=("q_proj", target))
    assert layers(model) == {}


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"alpha": 0}, {"dropout": 1}, {"dropout": -0.1}, {"rnak": 8}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        lora.Config(**wrong)


def test_at_first_an_adapter_changes_nothing() -> None:
    model = build_model()
    before = _logits(model, None)
    assert torch.equal(_logits(_attached(model)), before)


def test_only_the_adapter_learns() -> None:
    """7 layers a block, two blocks, A and B of each, under the names PEFT gives them."""
    model = _attached()
    learning = {id(p) for p in model.parameters() if p.requires_grad}
    trainable = lora.trainable(model, NAME)
    assert learning == {id(p) for p in trainable.values()} and len(trainable) == 2 * 7 * 2
    assert trainable["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"].shape == (4, 32)
    assert trainable["base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"].shape == (64, 4)


def test_a_second_adapter_lets_the_first_go_on_learning() -> None:
    model = _attached(_attached(), "critic", rank=2, targets=("q_proj",))
    assert all(p.requires_grad for name in (NAME, "critic") for p in lora.trainable(model, name).values())
    assert len(lora.trainable(model, "critic")) == 2 * 2
    _perturb(model, "critic")
    assert torch.equal(_logits(model), _logits(model, None)) and not torch.equal(_logits(model, "critic"), _logits(model, None))


def test_the_seed_draws_a() -> None:
    first, again, other = (lora.trainable(_attached(seed=seed), NAME) for seed in (0, 0, 1))
    for key in first:
        assert torch.equal(first[key], again[key])
        assert "lora_B" in key or not torch.equal(first[key], other[key])


@pytest.mark.parametrize(
    ("settings", "scaling"),
    [({"rank": 4, "alpha": 8}, 2.0), ({"rank": 16, "alpha": 8}, 0.5), ({"rank": 16, "alpha": 8, "rank_stabilized": True}, 2.0)],
)
def test_scaling_is_alpha_over_rank_or_its_root(settings: dict[str, Any], scaling: float) -> None:
    assert lora.Config(**settings).scaling == scaling
    model = _attached(**settings)
    assert {shape.scaling for layer in layers(model).values() for shape in layer.shapes.values()} == {scaling}


def test_the_gradient_is_that_of_the_delta_in_the_weight() -> None:
    """dL/dB = s (dL/dΔW) Aᵀ, with dL/dΔW the gradient of the base's own weight."""
    model = _attached(targets=("up_proj",), rank=3, alpha=6)
    _perturb(model)
    layer = layers(model)["model.layers.0.mlp.up_proj"]
    layer.base_layer.weight.data += layer.delta(NAME)
    layer.base_layer.weight.requires_grad_(True)
    model(input_ids=torch.arange(20)[None]).logits.square().mean().backward()  # routed to the base alone
    merged = layer.base_layer.weight.grad
    layer.base_layer.weight.requires_grad_(False)
    layer.base_layer.weight.data -= layer.delta(NAME)
    other = layers(model)["model.layers.1.mlp.up_proj"]
    other.lora_B[NAME].data.zero_()  # it was the base alone there
    with routed(Routing(NAME)):
        model(input_ids=torch.arange(20)[None]).logits.square().mean().backward()
    torch.testing.assert_close(layer.lora_B[NAME].grad, 2.0 * merged @ layer.lora_A[NAME].T, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(layer.lora_A[NAME].grad, 2.0 * layer.lora_B[NAME].T @ merged, rtol=1e-4, atol=1e-6)


def _saved(folder: Path, model: nn.Module | None = None, **settings: Any) -> nn.Module:
    model = _attached(model, **settings)
    _perturb(model)
    config = lora.Config(**{"rank": 4, **settings})
    weights = {key: p.detach() for key, p in lora.trainable(model, NAME).items()}
    lora.save(model, config, NAME, weights, "base", model.get_output_embeddings(), folder)  # type: ignore[operator]
    return model


@pytest.mark.parametrize(
    "settings", [{}, {"targets": ("q_proj",)}, {"targets": (r".*\.1\..*q_proj",)}, {"rank_stabilized": True, "alpha": 3.0}]
)
def test_a_saved_adapter_gives_the_same_logits_under_any_name(tmp_path: Path, settings: dict[str, Any]) -> None:
    model, fresh = _saved(tmp_path, **settings), build_model()
    lora.load(fresh, "loaded", tmp_path, fresh.get_output_embeddings())
    assert torch.equal(_logits(fresh, "loaded"), _logits(model))
    assert list(layers(fresh)) == list(layers(model))


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    _saved(tmp_path)
    for other in (build_model(hidden_size=64), build_model(num_hidden_layers=3)):
        with pytest.raises(ModelError, match=r"(another base|Another base)\?"):
            lora.load(other, NAME, tmp_path, other.get_output_embeddings())


def test_an_adapter_with_a_weight_less_is_refused(tmp_path: Path) -> None:
    _saved(tmp_path)
    weights = load_file(tmp_path / lora.WEIGHTS)
    weights.pop("base_model.model.model.layers.1.mlp.up_proj.lora_A.weight")
    save_file(weights, tmp_path / lora.WEIGHTS)
    fresh = build_model()
    with pytest.raises(ModelError, match=r"up_proj\.lora_A\.weight is on one side only"):
        lora.load(fresh, NAME, tmp_path, fresh.get_output_embeddings())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"bias": "all"}, "LORA"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
    ],
)
def test_an_adapter_of_a_kind_that_is_not_supported_is_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    _saved(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=rf"adapters of this kind \(.*{named}.*\) cannot be loaded"):
        lora.read_config(tmp_path)


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no adapter_config\.json here"):
        lora.read_config(tmp_path)
