"""What is saved is PEFT's format: `peft` loads it and computes the same logits as we do."""

from pathlib import Path

import peft
import pytest
import torch

from luthier.adapters import lora
from luthier.adapters.routing import Routing, routed
from luthier.testing import build_model

FAMILIES = {
    "llama": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},  # `Conv1D`, whose weights are transposed
    "gemma2": {"head_dim": 8},  # tied embeddings
}
NAMED = {"llama": ("q_proj", "v_proj", "down_proj"), "gpt2": ("c_attn", "c_proj"), "gemma2": ("q_proj", "o_proj")}
IDS = torch.tensor([[256, 5, 77, 200, 31, 31, 8, 257]])


def trained(family: str, config: lora.Config) -> torch.nn.Module:
    """A toy model with an adapter that changes it: A and B are drawn, as training would leave neither at 0."""
    model = build_model(family, **FAMILIES[family])
    lora.attach(model, config, "default", torch.Generator().manual_seed(0), model.get_output_embeddings())
    draws = torch.Generator().manual_seed(1)
    for parameter in lora.trainable(model, "default").values():
        parameter.data.normal_(std=0.2, generator=draws)
    return model


def save(model: torch.nn.Module, config: lora.Config, folder: Path) -> None:
    folder.mkdir()
    weights = {name: p.detach() for name, p in lora.trainable(model, "default").items()}
    lora.save(model, config, "default", weights, "base", model.get_output_embeddings(), folder)


@torch.no_grad()
def logits(model: torch.nn.Module, adapter: str | None = "default") -> torch.Tensor:
    with routed(Routing(adapter)):
        return model.eval()(input_ids=IDS).logits


@torch.no_grad()
def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("rank_stabilized", [False, True], ids=["plain", "rank-stabilized"])
@pytest.mark.parametrize("targets", ["all-linear", "named"])
@pytest.mark.parametrize("family", FAMILIES)
def test_peft_computes_the_same(family: str, targets: str, rank_stabilized: bool, tmp_path: Path):
    chosen = NAMED[family] if targets == "named" else "all-linear"
    config = lora.Config(rank=4, alpha=6, targets=chosen, rank_stabilized=rank_stabilized)
    model = trained(family, config)
    save(model, config, tmp_path / "adapter")
    theirs = peft.PeftModel.from_pretrained(build_model(family, **FAMILIES[family]), tmp_path / "adapter")
    changed = relative(logits(model), logits(model, None))
    assert relative(logits(theirs), logits(model)) < 1e-6
    assert changed > 0.01, "the adapter changes something, or the comparison says nothing"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_that_peft_saved_is_loaded(family: str, tmp_path: Path):
    settings = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=list(NAMED[family]),
        task_type="CAUSAL_LM",
        init_lora_weights=False,
        fan_in_fan_out=family == "gpt2",
    )
    torch.manual_seed(0)
    theirs = peft.get_peft_model(build_model(family, **FAMILIES[family]), settings)
    theirs.save_pretrained(tmp_path / "adapter")
    mine = build_model(family, **FAMILIES[family])
    config = lora.load(mine, "default", tmp_path / "adapter", mine.get_output_embeddings())
    assert (config.rank, config.alpha) == (4, 6)
    assert relative(logits(mine), logits(theirs)) < 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_merging_leaves_a_plain_model_with_the_same_logits(family: str):
    """7 linear layers in each of 2 Llama or Gemma layers, 4 in each of GPT-2's."""
    config = lora.Config(rank=4)
    model = trained(family, config)
    expected = logits(model)
    assert lora.merge(model, "default") == (8 if family == "gpt2" else 14)
    plain = build_model(family, **FAMILIES[family])
    plain.load_state_dict(model.state_dict())
    assert relative(logits(plain, None), expected) < 1e-6


def test_merging_into_a_coarser_type_rounds_once():
    """The sum is made in fp32, then cast: exactly what rounding the fp32 sum gives."""
    config = lora.Config(rank=4)
    fine, coarse = trained("llama", config), trained("llama", config)
    coarse.to(torch.bfloat16)
    path = "model.layers.0.mlp.up_proj"
    layer = coarse.get_submodule(path)
    expected = (layer.weight.float() + layer.delta("default")).to(torch.bfloat16)
    lora.merge(coarse, "default")
    assert torch.equal(coarse.get_submodule(path).weight, expected)
    assert relative(expected.float(), (fine.get_submodule(path).weight + fine.get_submodule(path).delta("default"))) < 2**-7


def test_a_shared_weight_is_not_merged_into():
    model = trained("llama", lora.Config(rank=4, targets=("up_proj",)))
    first, second = (model.get_submodule(f"model.layers.{i}.mlp.up_proj").base_layer for i in (0, 1))
    second.weight = first.weight
    with pytest.raises(lora.ModelError, match="up_proj shares its weight with another layer"):
        lora.merge(model, "default")
