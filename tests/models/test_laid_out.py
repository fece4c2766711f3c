"""Weights laid out for drawing: the same products, only while tokens are drawn, and no more memory than is said."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.models.families import ADAPTER, VOCABULARY, family, with_lora
from torch import nn
from transformers import PreTrainedModel

from luthier.batches.examples import Example
from luthier.batches.streams import build_stream
from luthier.models import laid_out
from luthier.models.device import total_bytes
from luthier.models.draw import DrawRules
from luthier.models.forward import Root
from luthier.models.laid_out import AFTER, STEPS, LaidOut
from luthier.models.probe import probe
from luthier.models.requests import Request
from luthier.models.sample import Sampler, sample_all
from luthier.text.sequence import Sequence

bf16 = pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN does not multiply bf16 on this processor")


def _in_bf16(name: str) -> PreTrainedModel:
    model = family(name)
    torch.nn.Module.to(model, torch.bfloat16)
    return model


def _root(model: PreTrainedModel) -> Root:
    found = probe(model)
    return Root(model, found.packing, found.head)


def _requests(number: int = 3, adapter: str | None = None) -> list[Request]:
    prompts = [np.random.default_rng(seed).integers(3, VOCABULARY, 20) for seed in range(number)]
    return [Request(p, STEPS, DrawRules(), adapter, (0, i)) for i, p in enumerate(prompts)]


def _num_laid_out(sampler: Sampler) -> int | None:
    return None if sampler._laid_out is None else sampler._laid_out.num_layers


@bf16
@torch.no_grad()
def test_layers_multiply_as_before_up_to_rounding() -> None:
    """A product of 1,536 numbers rounded to 8 bits: 2^-8 of the largest."""
    layer = nn.Linear(1536, 64).to(torch.bfloat16)
    x = torch.randn(2, 5, 1536, dtype=torch.bfloat16)
    expected = layer(x)
    with LaidOut(layer).used():
        assert "forward" in vars(layer)
        got = layer(x)
    assert got.shape == expected.shape and float((got - expected).abs().max()) <= 2**-8 * float(expected.abs().max())
    assert "forward" not in vars(layer)


@bf16
@torch.no_grad()
@pytest.mark.parametrize("adapter", [None, ADAPTER])
def test_tokens_are_drawn_under_the_logprobs_of_training(adapter: str | None) -> None:
    """In bf16, where two ways of rounding 97 logits of size 10 differ by 0.05 or so."""
    model = _in_bf16("Llama")
    root = _root(model)
    with_lora(model)
    for request, answer in zip(_requests(adapter=adapter), sample_all(root, _requests(adapter=adapter)), strict=True):
        weights = np.r_[np.zeros(20), np.ones(STEPS)].astype(np.float32)
        stream = build_stream([Example((Sequence(np.r_[request.prompt, answer.ids], weights),))], root.packing)
        assert np.abs(answer.logprobs - root.score(stream, adapter).logprobs.numpy()).mean() < 0.05


@bf16
def test_a_model_is_laid_out_where_it_pays_and_is_itself_between_steps() -> None:
    model = _in_bf16("Llama")
    sampler = Sampler(_root(model))
    longer, shorter = _requests(2)
    sampler.submit(longer)
    for _ in range(AFTER):
        sampler.step()
    assert _num_laid_out(sampler) is None
    sampler.step()
    assert _num_laid_out(sampler) == 2 * 7 + 1
    assert not any("forward" in vars(m) for m in model.modules())
    sampler.forget()
    assert _num_laid_out(sampler) is None
    other = Sampler(sampler.root)
    other.submit(replace(shorter, max_new_tokens=STEPS - 1))
    while other.busy:
        other.step()
    assert _num_laid_out(other) is None


def test_what_is_too_large_or_not_bf16_is_multiplied_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LaidOut(nn.Linear(8, 8)).num_layers == 0
    monkeypatch.setattr(laid_out, "SHARE", 100 / total_bytes())
    assert LaidOut(nn.Linear(8, 8).to(torch.bfloat16)).num_layers == 0
