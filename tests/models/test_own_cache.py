"""Models whose rows cannot share a stream: sequences of one length are the rows of one batch, and each gets what it would get alone."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from tests.models.families import ADAPTER, VOCABULARY, family, with_lora
from transformers import PreTrainedModel

from luthier.models.forward import Root
from luthier.models.probe import probe
from luthier.models.requests import Request
from luthier.models.sample import Sampler, sample_all


def _root(model: PreTrainedModel) -> Root:
    found = probe(model)
    return Root(model, found.packing, found.head)


def _prompts(lengths: Sequence[int]) -> list[np.ndarray]:
    return [np.random.default_rng(seed).integers(3, VOCABULARY, n) for seed, n in enumerate(lengths)]


def _requests(prompts: Sequence[np.ndarray], each: Sequence[int]) -> list[Request]:
    """So many answers to each prompt, at addresses of their own."""
    return [Request(p, 12, address=(0, i, j)) for i, (p, n) in enumerate(zip(prompts, each, strict=True)) for j in range(n)]


@pytest.mark.parametrize("name", ["GPT-Neo", "Bloom", "Qwen3.5", "Falcon-H1"])
def test_sequences_of_one_length_share_forwards(name: str) -> None:
    """Prompts of 20, 31 and 20 tokens, computed one by one, then 11 tokens for each of two lengths: 3 + 2 · 11 forwards for 12 answers."""
    model = family(name)
    root = _root(model)
    forwards: list[int] = []
    handle = model.register_forward_hook(lambda *_: forwards.append(1))
    sample_all(root, _requests(_prompts((20, 31, 20)), (4, 4, 4)))
    handle.remove()
    assert len(forwards) == 3 + 2 * 11


@pytest.mark.parametrize("name", ["GPT-Neo", "Bloom", "Falcon-H1"])
def test_an_answer_is_the_same_whoever_shares_its_forwards(name: str) -> None:
    """To the last bit in fp32, whoever leaves early: 7 to 22 tokens for 1, 3 or 7 answers to prompts of which two are equally long."""
    root = _root(family(name))
    requests = [replace(r, max_new_tokens=7 + 5 * (k % 4)) for k, r in enumerate(_requests(_prompts((20, 31, 20)), (1, 3, 7)))]
    together, alone = sample_all(root, requests, max_sequences=9), [sample_all(root, [r])[0] for r in requests]
    for a, b in zip(together, alone, strict=True):
        assert a.ids.tolist() == b.ids.tolist() and a.logprobs.tolist() == b.logprobs.tolist()


def test_adapters_of_one_batch_each_draw_their_own() -> None:
    model = family("GPT-Neo")
    root, prompts = _root(model), _prompts((20, 20))
    for number, adapter in enumerate((ADAPTER, "other")):
        with_lora(model, adapter, seed=number)
    requests = [replace(r, adapter=adapter) for r in _requests(prompts, (1, 1)) for adapter in (None, ADAPTER, "other")]
    answers = sample_all(root, requests)
    for request, answer in zip(requests, answers, strict=True):
        assert answer.ids.tolist() == sample_all(root, [request])[0].ids.tolist()
    assert len({tuple(a.ids) for a in answers}) == 6


def test_many_wait_to_begin_together_and_few_begin_at_once() -> None:
    """Of four places two must be free before a third sequence begins; as long as two are, it begins beside the first."""
    root = _root(family("GPT-Neo"))
    sampler = Sampler(root, max_sequences=4)
    first, second, third, late = _requests(_prompts((20,)), (4,))
    for request in (replace(first, max_new_tokens=2), replace(second, max_new_tokens=3), third):
        sampler.submit(request)
    assert len(sampler.step()) == 3
    number = sampler.submit(late)
    told = [[e.request for e in sampler.step()] for _ in range(2)]
    assert [number in step for step in told] == [False, True]
