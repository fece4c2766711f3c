"""Drawing answers: greedily as transformers does, otherwise by one addressed uniform number a token."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.families import ADAPTER, FAMILIES, VOCABULARY, family, with_lora
from transformers import PreTrainedModel

from luthier.adapters.routing import Routing, routed
from luthier.batches.answers import Answer
from luthier.batches.examples import Example
from luthier.batches.streams import build_stream
from luthier.models.forward import Root
from luthier.models.load import load_model
from luthier.models.probe import probe
from luthier.models.sample import draw, sample
from luthier.text.sequence import Sequence
from luthier.text.tokenizer import Tokenizer

NEVER: frozenset[int] = frozenset()
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


def _draw(root: Root, prompt: np.ndarray, temperature: float = 0.0, address: tuple[int, ...] = (0,), **more: object) -> Answer:
    arguments = {"adapter": None, "max_new_tokens": 12, "stops": NEVER, **more}
    return sample(root, prompt=prompt, temperature=temperature, address=address, **arguments)  # type: ignore[arg-type]


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
    answer = _draw(root, _prompt(), stops=frozenset({stop}))
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


LOGITS = torch.tensor([0.0, 1.0, -1.0, 2.0])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_uniform_numbers_draw_tokens_as_often_as_they_are_likely(temperature: float) -> None:
    """1,000 evenly spaced numbers: each token's count is 1,000 p, give or take one."""
    p = (LOGITS / temperature).softmax(-1)
    drawn = [draw(LOGITS, temperature, (i + 0.5) / 1000) for i in range(1000)]
    for token in range(4):
        assert sum(t == token for t, _ in drawn) == pytest.approx(1000 * float(p[token]), abs=1)
    assert all(logprob == pytest.approx(float(p[token].log()), abs=1e-6) for token, logprob in drawn)


def test_top_p_draws_only_the_most_likely_tokens() -> None:
    """p = .087, .237, .032, .644: the likeliest two reach .88. Log-probabilities stay those before the cut."""
    drawn = [draw(LOGITS, 1.0, (i + 0.5) / 1000, top_p=0.7) for i in range(1000)]
    assert {t for t, _ in drawn} == {1, 3}
    assert sum(t == 3 for t, _ in drawn) == pytest.approx(1000 * 0.644 / (0.644 + 0.237), abs=2)
    assert dict(drawn)[3] == pytest.approx(float(LOGITS.log_softmax(-1)[3]), abs=1e-6)


def test_the_largest_uniform_number_draws_a_token_that_is_likely_at_all() -> None:
    """The last two of these have no probability, and the number just below 1 rounds up to the sum."""
    logits = torch.tensor([1.0, 1.0, -float("inf"), -float("inf")])
    assert draw(logits, 1.0, np.nextafter(1.0, 0.0))[0] == 1
    assert draw(logits, 1.0, 0.0)[0] == 0
    assert draw(torch.tensor([-float("inf"), 1.0]), 1.0, 0.0)[0] == 1


def test_greedy_takes_the_likeliest_at_temperature_one() -> None:
    token, logprob = draw(LOGITS, 0.0, 0.99)
    assert token == 3 and logprob == pytest.approx(float(LOGITS.log_softmax(-1)[3]))
