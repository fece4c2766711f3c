"""A large model's first and last layers, to prove exactness on where the whole does not fit in fp32."""

import torch

from luthier.batches.packing import Packing
from luthier.losses.logprobs import HeadSpec
from luthier.models.forward import Root
from luthier.models.shorten import shortened
from luthier.testing import build_model


def test_the_first_and_last_two_layers_stay() -> None:
    model = build_model(num_hidden_layers=7)
    short = shortened(Root(model, Packing(), HeadSpec())).model
    assert len(short.model.layers) == short.config.num_hidden_layers == 4
    for mine, theirs in zip(short.model.layers, [model.model.layers[i] for i in (0, 1, 5, 6)], strict=True):
        torch.testing.assert_close(mine.self_attn.q_proj.weight, theirs.self_attn.q_proj.weight)
    assert len(model.model.layers) == model.config.num_hidden_layers == 7


def test_it_computes() -> None:
    """Layers of two types, of which the sixth alone is global: the kept ones know their own."""
    types = ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]
    model = build_model("gemma3_text", num_hidden_layers=7, layer_types=types, sliding_window=4, head_dim=8)
    short = shortened(Root(model, Packing(), HeadSpec())).model
    assert short.config.layer_types == ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]
    assert torch.isfinite(short(input_ids=torch.arange(9)[None], use_cache=False).logits).all()


def test_a_short_model_is_copied_whole() -> None:
    model = build_model(num_hidden_layers=3)
    assert len(shortened(Root(model, Packing(), HeadSpec())).model.model.layers) == 3
