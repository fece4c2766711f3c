"""What a run says it leaves out."""

import torch

from luthier.adapters import full, lora
from luthier.batches.packing import Packing
from luthier.engine.setup import POLICY, AdapterChoice
from luthier.losses.logprobs import HeadSpec
from luthier.models.forward import Root
from luthier.recipes.describe import left_out
from luthier.testing import build_model

MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}


def _root(module: object, family: str = "qwen3_moe", **settings: object) -> tuple[Root, AdapterChoice]:
    model = build_model(family, **settings)
    choice = AdapterChoice("adapter", module, module.Config())  # type: ignore[attr-defined]
    module.attach(model, choice.config, POLICY, torch.Generator(), model.get_output_embeddings())  # type: ignore[attr-defined]
    return Root(model, Packing(), HeadSpec()), choice


def test_lora_says_that_experts_stay_as_they_are() -> None:
    """2 layers of 4 experts: gate and up 2 · 16 · 32, down 16 · 32, so 2 · 4 · 1,536 = 12,288 parameters."""
    experts, balance = left_out(*_root(lora, **MOE))
    assert "12,288 parameters" in experts and "balances the load" in balance


def test_full_tuning_trains_them() -> None:
    assert [s for s in left_out(*_root(full, **MOE)) if "experts' weights" in s] == []


def test_a_dense_model_leaves_nothing_out() -> None:
    assert left_out(*_root(lora, family="llama")) == []
