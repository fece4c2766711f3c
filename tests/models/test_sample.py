"""Drawing answers: greedily as transformers does, otherwise by one addressed uniform number a token."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.families import ADAPTER, FAMILIES, VOCABULARY, family, with_lora
from transformers import PreTrainedModel

from luthier.adapters.routing import Routing, routed
from luthier.batches.answers import Answer
from luthier.batches.examples import Example
from luthier.batches.streams import build_stream
from luthier.models.draw import DrawRules
from luthier.models.forward import Root
from luthier.models.load import load_model
from luthier.models.probe import probe
from luthier.models.requests import Request
from luthier.models.sample import Sampler, sample_all
from luthier.text.sequence import Sequence
from luthier.text.tokenizer import Tokenizer

SMALL_MODELS = {
    "stories260k": "Once upon a time, Timmy",
    "tinystories-656k": "Once upon a time, there was a",
    "tinystories-instruct-3m-chat": "Write a story about a dog.",
}


def _root(model: PreTrainedModel) -> Root:
    found = probe(model)
    return Root(model, found.packing, found.head)


def _prompt(length: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(3, VOCABULARY, length)


def _draw(root: Root, prompt: np.ndarray, temperature: float = 0.0, address: tuple[int, ...] = (0,), **more: Any) -> Answer:
    rules = DrawRules(temperature, **more.pop("rules", {}))
    return sample_all(root, [Request(prompt, **{"max_new_tokens": 12, "rules": rules, "address": address, **more})])[0]


@torch.no_grad()
def _generated(model: PreTrainedModel, prompt: np.ndarray, number: int) -> list[int]:
    """What transformers generates greedily, stop tokens switched off."""
    ids = torch.from_numpy(prompt)[None]
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = None
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=number)
    return out[0, len(prompt) :].tolist()


@torch.no_grad()
def _assert_scores_agree(root: Root, prompt: np.ndarray, answer: Answer, temperature: float, adapter: str | None = None) -> None:
    """The log-probabilities under which tokens were drawn are those that training computes."""
    weights = np.r_[np.zeros(len(prompt)), np.ones(len(answer.ids))].astype(np.float32)
    stream = build_stream([Example((Sequence(np.r_[prompt, answer.ids], weights),))], root.packing)
    np.testing.assert_allclose(answer.logprobs, root.score(stream, adapter, temperature).logprobs.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_greedy_answers_are_those_of_transformers(name: str) -> None:
    """12 tokens: beyond every window, and for most families many a chunk."""
    model = family(name)
    root, prompt = _root(model), _prompt()
    answer = _draw(root, prompt)
    assert answer.ids.tolist() == _generated(model, prompt, 12) and not answer.finished
    _assert_scores_agree(root, prompt, answer, 1.0)


@pytest.mark.parametrize("name", SMALL_MODELS)
def test_greedy_answers_of_trained_models_are_those_of_transformers(name: str, shared: Path) -> None:
    folder = shared / "models" / name
    model = load_model(folder, torch.float32, torch.device("cpu"))
    tokenizer = Tokenizer.load(folder)
    prompt = tokenizer.encode(SMALL_MODELS[name])
    if tokenizer.adds_bos:
        prompt = np.r_[tokenizer.bos_id, prompt].astype(np.int64)
    root = _root(model)
    answer = _draw(root, prompt, max_new_tokens=40)
    assert answer.ids.tolist() == _generated(model, prompt, 40)
    _assert_scores_agree(root, prompt, answer, 1.0)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_drawn_logprobs_are_those_of_training_at_the_same_temperature(temperature: float) -> None:
    model = family("Gemma2")
    root = _root(model)
    with_lora(model)
    answer = _draw(root, _prompt(), temperature, adapter=ADAPTER)
    assert answer.logprobs.dtype == np.float32
    _assert_scores_agree(root, _prompt(), answer, temperature, ADAPTER)


def test_an_adapter_draws_its_own_answers() -> None:
    model = family("Llama")
    root = _root(model)
    base = _draw(root, _prompt())
    with_lora(model)
    assert _draw(root, _prompt()).ids.tolist() == base.ids.tolist()
    tuned = _draw(root, _prompt(), adapter=ADAPTER)
    assert tuned.ids.tolist() != base.ids.tolist()
    with routed(Routing(ADAPTER)):
        assert tuned.ids.tolist() == _generated(model, _prompt(), 12)


def test_the_same_address_draws_the_same_answer_whatever_was_drawn_before() -> None:
    root = _root(family("Llama"))
    first = _draw(root, _prompt(), 1.0, (0, 3, 1))
    others = {tuple(_draw(root, _prompt(), 1.0, address).ids) for address in ((0, 3, 2), (0, 4, 1), (1, 3, 1), (0, 31))}
    again = _draw(root, _prompt(), 1.0, (0, 3, 1))
    assert again.ids.tolist() == first.ids.tolist() and again.logprobs.tolist() == first.logprobs.tolist()
    assert len(others | {tuple(first.ids)}) == 5
    longer = _draw(root, _prompt(), 1.0, (0, 3, 1), max_new_tokens=20)
    assert longer.ids[:12].tolist() == first.ids.tolist()


def test_an_answer_ends_with_its_stop_token() -> None:
    """The fourth greedy token as a stop: the answer is cut there unless it came before, and is finished."""
    root = _root(family("Llama"))
    whole = _draw(root, _prompt()).ids.tolist()
    stop = whole[3]
    answer = _draw(root, _prompt(), stop_ids=frozenset({stop}))
    assert answer.ids.tolist() == whole[: whole.index(stop) + 1] and answer.finished
    assert len(answer.logprobs) == len(answer.ids)


def test_tokens_are_handed_on_as_they_come() -> None:
    seen: list[int] = []
    assert _draw(_root(family("Llama")), _prompt(), on_token=seen.append).ids.tolist() == seen


def test_nothing_is_drawn_where_nothing_is_asked_for() -> None:
    answer = _draw(_root(family("Llama")), _prompt(), max_new_tokens=0)
    assert answer.ids.shape == answer.logprobs.shape == (0,) and not answer.finished


def test_sampling_has_no_dropout_and_leaves_the_model_training() -> None:
    model = family("Llama", attention_dropout=0.5)
    root = _root(model)
    expected = _draw(root, _prompt()).ids.tolist()
    model.train()
    assert _draw(root, _prompt()).ids.tolist() == expected
    assert model.training and model.model.layers[0].training


def test_what_answers_stored_is_free_when_they_end() -> None:
    """At once, not when Python next looks for circles: keys and values are the largest thing that drawing holds."""
    sampler = Sampler(_root(family(next(iter(FAMILIES)))))
    gc.disable()
    try:
        for i in range(3):
            sampler.submit(Request(_prompt(), max_new_tokens=4 + i, address=(i,)))
        sampler.step()
        stored = [weakref.ref(block) for c in sampler._crowds.values() for block in (*c.tails.values(), *c.blocks.values())]
        assert stored and all(block() is not None for block in stored)
        while sampler.step():
            pass
        assert [block() for block in stored] == [None] * len(stored)
    finally:
        gc.enable()
