"""Many sequences at once: each gets what it would get alone, whoever comes and goes beside it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.families import ADAPTER, FAMILIES, TIERS, VOCABULARY, family, with_lora
from transformers import PreTrainedModel

from luthier.batches.answers import Answer
from luthier.batches.examples import Example
from luthier.batches.streams import build_stream
from luthier.errors import SettingsError
from luthier.models.draw import DrawRules
from luthier.models.forward import Root
from luthier.models.load import load_model
from luthier.models.probe import probe
from luthier.models.requests import Event, Request, StopStrings
from luthier.models.sample import Sampler, sample_all
from luthier.text.sequence import Sequence as Ids
from luthier.text.tokenizer import Tokenizer

GREEDY = DrawRules(temperature=0.0)
LENGTHS = (20, 31, 5, 20, 55, 1)


def _root(model: PreTrainedModel) -> Root:
    found = probe(model)
    return Root(model, found.packing, found.head)


def _prompts(lengths: Sequence[int] = LENGTHS) -> list[np.ndarray]:
    return [np.random.default_rng(seed).integers(3, VOCABULARY, n) for seed, n in enumerate(lengths)]


def _requests(prompts: Sequence[np.ndarray], each: int = 1, **more: Any) -> list[Request]:
    """`each` answers to every prompt, at addresses of their own."""
    settings = {"max_new_tokens": 12, **more}
    return [Request(p, address=(0, i, j), **settings) for i, p in enumerate(prompts) for j in range(each)]


@torch.no_grad()
def _generated(model: PreTrainedModel, prompt: np.ndarray, number: int) -> list[int]:
    ids = torch.from_numpy(prompt)[None]
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = None
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=number)
    return out[0, len(prompt) :].tolist()


def _run(sampler: Sampler) -> list[Event]:
    events = []
    while sampler.busy:
        events += sampler.step()
    return events


def _same(ours: Sequence[Answer], theirs: Sequence[Answer]) -> None:
    """To the last bit of the log-probabilities."""
    for a, b in zip(ours, theirs, strict=True):
        assert a.ids.tolist() == b.ids.tolist() and a.logprobs.tolist() == b.logprobs.tolist() and a.finished == b.finished


@pytest.mark.parametrize("name", FAMILIES)
def test_greedy_answers_in_a_crowd_are_those_of_transformers(name: str) -> None:
    """40 tokens after prompts of 1 to 55: beyond every window, tails that grow, and for Phi3 two prompts that pass position 64."""
    model = family(name)
    root, prompts = _root(model), _prompts()
    answers = sample_all(root, _requests(prompts, rules=GREEDY, max_new_tokens=40))
    assert root.packing.draws
    assert [a.ids.tolist() for a in answers] == [_generated(model, p, 40) for p in prompts]


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in FAMILIES if TIERS[name] == 1])
def test_logprobs_of_a_crowd_are_those_of_training(name: str) -> None:
    root = _root(family(name))
    requests = _requests(_prompts((20, 31, 5, 1)), each=2, rules=DrawRules(temperature=0.7))
    for request, answer in zip(requests, sample_all(root, requests), strict=True):
        weights = np.r_[np.zeros(len(request.prompt)), np.ones(len(answer.ids))].astype(np.float32)
        stream = build_stream([Example((Ids(np.r_[request.prompt, answer.ids], weights),))], root.packing)
        np.testing.assert_allclose(answer.logprobs, root.score(stream, None, 0.7).logprobs.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("rules", [GREEDY, DrawRules(), DrawRules(temperature=0.8, top_p=0.9, top_k=20)], ids=["greedy", "plain", "cut"])
@pytest.mark.parametrize("name", ["Llama", "Gemma3", "GPT-2"])
def test_an_answer_alone_is_the_answer_in_a_crowd_to_the_last_bit(name: str, rules: DrawRules) -> None:
    """In fp32, whether a prompt has one, three or seven readers, and whoever leaves early."""
    root = _root(family(name))
    requests = [
        replace(r, max_new_tokens=7 + 5 * (k % 4))
        for k, r in enumerate([r for i, p in enumerate(_prompts()) for r in _requests([p], each=(1, 3, 7)[i % 3], rules=rules)])
    ]
    _same(sample_all(root, requests, max_sequences=9), [sample_all(root, [r])[0] for r in requests])


def test_a_prompt_is_stored_once_whoever_reads_it() -> None:
    root = _root(family("Llama"))
    sampler = Sampler(root)
    for request in _requests(_prompts((20, 31)), each=5):
        sampler.submit(request)
    sampler.step()
    (crowd,) = sampler._crowds.values()
    assert sorted(piece.length for block in crowd.blocks.values() for piece in block.pieces) == [20, 31]
    assert sum(len(block) for block in crowd.tails.values()) == 10
    _run(sampler)
    assert not crowd.blocks and not crowd.tails


def test_a_late_reader_finds_the_prompt_where_it_is() -> None:
    root, (prompt,) = _root(family("Llama")), _prompts((20,))
    sampler = Sampler(root)
    first, second = _requests([prompt], each=2)
    numbers = [sampler.submit(first)]
    events = [event for _ in range(5) for event in sampler.step()]
    numbers.append(sampler.submit(second))
    events += _run(sampler)
    for number, request in zip(numbers, (first, second), strict=True):
        assert [e.token for e in events if e.request == number] == sample_all(root, [request])[0].ids.tolist()


def test_a_reader_that_comes_when_all_tails_have_grown_starts_a_small_one() -> None:
    """After 35 tokens nobody has a tail of the first size any more."""
    root, (prompt,) = _root(family("Llama")), _prompts((20,))
    first, second = _requests([prompt], each=2, max_new_tokens=45)
    sampler = Sampler(root)
    sampler.submit(first)
    for _ in range(35):
        sampler.step()
    number = sampler.submit(second)
    assert [e.token for e in _run(sampler) if e.request == number] == sample_all(root, [second])[0].ids.tolist()


def test_an_interrupt_loses_what_is_under_way_and_nothing_else() -> None:
    def interrupt(token: int) -> None:
        raise KeyboardInterrupt

    root, prompts = _root(family("Llama")), _prompts((20, 31))
    sampler = Sampler(root, max_sequences=1)
    lost = sampler.submit(Request(prompts[0], 12, on_token=interrupt))
    kept = sampler.submit(Request(prompts[1], 12))
    with pytest.raises(KeyboardInterrupt):
        sampler.step()
    sampler.cancel(lost)
    events = _run(sampler)
    assert {e.request for e in events} == {kept}
    assert [e.token for e in events] == sample_all(root, [Request(prompts[1], 12)])[0].ids.tolist()


def test_what_does_not_fit_waits_its_turn() -> None:
    """Each of four takes 20 + 12 tokens: two fit into 70, and no more than two are ever told of in one step."""
    root = _root(family("Llama"))
    requests = _requests(_prompts((20, 20, 20, 20)))
    sampler = Sampler(root, token_budget=70)
    numbers = [sampler.submit(r) for r in requests]
    steps = []
    while sampler.busy:
        steps.append(sampler.step())
    assert max(len(step) for step in steps) == 2 and len(steps) == 24
    expected = sample_all(root, requests)
    for number, answer in zip(numbers, expected, strict=True):
        assert [e.token for step in steps for e in step if e.request == number] == answer.ids.tolist()


def test_a_request_that_can_never_fit_is_refused() -> None:
    sampler = Sampler(_root(family("Llama")), token_budget=30)
    with pytest.raises(SettingsError, match=r"A prompt of 20 tokens and 12 new ones need more than the sampler's budget of 30"):
        sampler.submit(_requests(_prompts((20,)))[0])
    with pytest.raises(SettingsError, match="The prompt has no tokens"):
        sampler.submit(Request(np.zeros(0, dtype=np.int64), 3))
    with pytest.raises(SettingsError, match="Stop strings need a sampler that knows how to decode"):
        sampler.submit(Request(np.array([3]), 3, stop_strings=("x",)))


def test_a_cancelled_request_is_told_of_no_more_and_the_others_are_as_before() -> None:
    root = _root(family("Llama"))
    requests = _requests(_prompts((20, 31)), each=2)
    sampler = Sampler(root, max_sequences=3)
    numbers = [sampler.submit(r) for r in requests]
    events = sampler.step()
    sampler.cancel(numbers[0])
    sampler.cancel(numbers[3])
    events += _run(sampler)
    sampler.cancel(numbers[1])
    assert [len([e for e in events if e.request == n]) for n in numbers] == [1, 12, 12, 0]
    for number, request in list(zip(numbers, requests, strict=True))[1:3]:
        assert [e.token for e in events if e.request == number] == sample_all(root, [request])[0].ids.tolist()


@pytest.mark.parametrize("name", ["Llama", "Bloom"])
def test_adapters_of_one_batch_each_draw_their_own(name: str) -> None:
    model = family(name)
    root, prompts = _root(model), _prompts((20, 31))
    for number, adapter in enumerate((ADAPTER, "other")):
        with_lora(model, adapter, seed=number)
    requests = [Request(p, 12, GREEDY, adapter) for p in prompts for adapter in (None, ADAPTER, "other", ADAPTER)]
    answers = sample_all(root, requests)
    for request, answer in zip(requests, answers, strict=True):
        alone = sample_all(root, [request])[0]
        assert answer.ids.tolist() == alone.ids.tolist()
        np.testing.assert_allclose(answer.logprobs, alone.logprobs, atol=1e-5)
    assert len({tuple(a.ids) for a in answers[:3]}) == 3


def test_a_model_that_fails_the_check_draws_with_its_own_cache() -> None:
    """The same answers, one sequence after another."""
    model = family("Gemma3")
    root = _root(model)
    slow = Root(model, replace(root.packing, draws=False), root.head)
    requests = _requests(_prompts((20, 31)), each=2)
    together, apart = sample_all(root, requests), sample_all(slow, requests)
    assert [a.ids.tolist() for a in together] == [a.ids.tolist() for a in apart]


def test_dynamic_positions_beyond_the_context_are_those_of_transformers() -> None:
    """Every length has frequencies of its own there, so such a sequence goes alone; one within the context stays in the crowd."""
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
    model = family("Llama", max_position_embeddings=64, rope_parameters=rope)
    root, prompts = _root(model), _prompts((20, 45, 70))
    answers = sample_all(root, _requests(prompts, rules=GREEDY, max_new_tokens=30))
    fresh = [family("Llama", max_position_embeddings=64, rope_parameters=rope) for _ in prompts]
    assert [a.ids.tolist() for a in answers] == [_generated(m, p, 30) for m, p in zip(fresh, prompts, strict=True)]


def test_what_a_request_computed_serves_one_that_goes_on_from_it() -> None:
    """20 + 12 tokens, of which the last was never fed: 31 are kept, and found again as the beginning of the next turn."""
    root, (prompt, more) = _root(family("Gemma4")), _prompts((20, 10))
    sampler = Sampler(root, kept_tokens=100)
    sampler.submit(Request(prompt, 12, address=(0, 1)))
    first = [e.token for e in _run(sampler)]
    assert sampler._kept.num_tokens == 31
    turn = Request(np.concatenate([prompt, np.array(first), more]), 12, address=(0, 2))
    found = sampler._kept.find(None, turn.prompt)
    assert found is not None and found[0][0].shape[1] == 31
    number = sampler.submit(turn)
    second = [e for e in _run(sampler) if e.request == number]
    alone = sample_all(root, [turn])[0]
    assert [e.token for e in second] == alone.ids.tolist()
    np.testing.assert_allclose([e.logprob for e in second], alone.logprobs, atol=1e-5)
    assert sampler._kept.num_tokens == 53  # the longer one stands for its beginning


def test_the_least_recently_used_leaves_first() -> None:
    root, prompts = _root(family("Llama")), _prompts((20, 20, 20))
    sampler = Sampler(root, kept_tokens=50)  # two of 20 + 2
    for prompt in (prompts[0], prompts[1], prompts[0], prompts[2]):
        sampler.submit(Request(prompt, 3, GREEDY))
        _run(sampler)
    assert [sampler._kept.find(None, np.r_[p, 5]) is not None for p in prompts] == [True, False, True]


def test_events_say_why_an_answer_ended_and_what_else_was_likely() -> None:
    root, (prompt,) = _root(family("Llama")), _prompts((20,))
    whole = sample_all(root, [Request(prompt, 12, GREEDY)])[0].ids.tolist()
    sampler = Sampler(root)
    sampler.submit(Request(prompt, 4, GREEDY, num_top=3))
    sampler.submit(Request(prompt, 12, GREEDY, stop_ids=frozenset({whole[2]})))
    sampler.submit(Request(prompt, 0, GREEDY))
    events = _run(sampler)
    ends = {e.request: e.end for e in events if e.end is not None}
    assert ends == {0: "length", 1: "stop", 2: "length"}
    first = next(e for e in events if e.request == 0)
    assert first.top[0] == (first.token, pytest.approx(first.logprob)) and len(first.top) == 3
    assert list(first.top) == sorted(first.top, key=lambda pair: -pair[1])


class _Letters:
    """Tokens 3… spell letters."""

    def push(self, id: int) -> str:
        return chr(97 + (id - 3) % 26)

    def finish(self) -> str:
        return ""


def test_a_stop_string_ends_the_answer_and_is_not_shown() -> None:
    root, (prompt,) = _root(family("Llama")), _prompts((20,))
    ids = sample_all(root, [Request(prompt, 12, GREEDY)])[0].ids.tolist()
    text = "".join(_Letters().push(id) for id in ids)
    stop = text[5:7]
    sampler = Sampler(root, text=_Letters)
    sampler.submit(Request(prompt, 12, GREEDY, stop_strings=(stop, "never")))
    events = _run(sampler)
    assert "".join(e.text for e in events) == text[: text.index(stop)]
    assert events[-1].end == "stop" and len(events) == text.index(stop) + 2


def test_the_beginning_of_a_stop_string_waits_until_it_is_sure() -> None:
    watch = StopStrings(("###", "\n\nUser"))
    assert watch.push("a#") == ("a", False)
    assert watch.push("#b\n") == ("##b", False)
    assert watch.push("\nUs") == ("", False)
    assert watch.push("ual") == ("\n\nUsual", False)
    assert watch.push("c####d") == ("c", True)
    assert StopStrings(("END",)).push("EN") == ("", False)


def test_an_answer_keeps_to_its_schema_or_its_tools(shared: Path) -> None:
    """Drawn at random from a small model that knows no JSON; the last, free request shares the batch."""
    pytest.importorskip("llguidance")
    from luthier.models.constraint import Grammars

    folder = shared / "models" / "stories260k"
    root, tokenizer = _root(load_model(folder, torch.float32, torch.device("cpu"))), Tokenizer.load(folder)
    grammars = Grammars(tokenizer, root.output.weight.shape[0])
    fields = {"mood": {"enum": ["glad", "sad"]}, "age": {"type": "integer", "minimum": 0, "maximum": 9}}
    schema = {"type": "object", "properties": fields, "required": ["mood", "age"], "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "greet", "parameters": schema}}
    masks = [grammars.json_schema(schema), grammars.tool_calls([tool], "<call>", "</call>", required=True), None]
    prompt = np.r_[tokenizer.bos_id, tokenizer.encode("Once")]
    requests = [Request(prompt, 400, DrawRules(), address=(0, i), stop_ids=tokenizer.eos_ids, mask=mask) for i, mask in enumerate(masks)]
    answers = sample_all(root, requests)
    texts = [tokenizer.decode(a.ids, skip_special=True) for a in answers]
    assert set(json.loads(texts[0])) == {"mood", "age"} and answers[0].finished
    call = json.loads(texts[1].split("</call>")[0].removeprefix("<call>"))
    assert call["name"] == "greet" and call["arguments"]["mood"] in ("glad", "sad")
    free = replace(requests[2], mask=None)
    assert answers[2].ids.tolist() == sample_all(root, [free])[0].ids.tolist()
    with pytest.raises(SettingsError, match="This JSON schema cannot be held to"):
        grammars.json_schema({"type": "nonsense"})


def test_sampling_leaves_a_training_model_training() -> None:
    model = family("Llama", attention_dropout=0.5)
    root = _root(model)
    expected = sample_all(root, _requests(_prompts()))
    model.train()
    sampler = Sampler(root)
    for request in _requests(_prompts()):
        sampler.submit(request)
    events = _run(sampler)
    assert [e.token for e in events if e.request == 4] == expected[4].ids.tolist()
    assert model.training and model.model.layers[0].training


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rules", [GREEDY, DrawRules()], ids=["greedy", "seeded"])
@pytest.mark.parametrize("name", ["stories260k", "tinystories-656k", "tinystories-instruct-3m-chat"])
def test_200_prompts_alone_and_in_a_crowd(name: str, rules: DrawRules, shared: Path) -> None:
    """The same tokens, in fp32. A model that draws its sequences one by one anyway shows it with 10 prompts."""
    folder = shared / "models" / name
    root, tokenizer = _root(load_model(folder, torch.float32, torch.device("cpu"))), Tokenizer.load(folder)
    with (shared / "data" / "gsm8k" / "train.jsonl").open(encoding="utf-8") as lines:
        prompts = [
            tokenizer.encode(json.loads(line)["question"])[:100]
            for line, _ in zip(lines, range(200 if root.packing.draws else 10), strict=False)
        ]
    requests = _requests(prompts, rules=rules, max_new_tokens=16)
    _same(sample_all(root, requests), [sample_all(root, [r])[0] for r in requests])
