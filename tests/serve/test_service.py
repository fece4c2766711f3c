"""What clients of the sampler process get: the answers of the same model in training and in a terminal, whoever asks beside them."""

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.serve.conftest import CPU, ROOMY, Heard, House

from luthier.adapters import lora
from luthier.batches.examples import Example
from luthier.batches.streams import build_stream
from luthier.models.forward import Root
from luthier.models.load import load_model
from luthier.models.probe import probe
from luthier.recipes.assistant import Sampling, open_assistant
from luthier.rewards.local_model import LocalModel, MeanPooled
from luthier.serve.limits import Limits
from luthier.spec.rows import Message
from luthier.spec.serving import Ask, Done, Embed, Embedded, Load, Unload
from luthier.testing import toy_model
from luthier.text.renderer import Renderer
from luthier.text.sequence import Sequence as Ids

QUESTION = [{"role": "user", "content": "Count from 3."}]
NEVER_ENDS = {257: -100.0}
"""The toy's end token."""


def chat(folder: Path, **fields: Any) -> Ask:
    return Ask(**{"base": str(folder), "messages": QUESTION, "temperature": 0.0, "max_tokens": 12, **fields})


def test_greedy_answers_are_those_of_an_assistant(house: House, toy_run: Path, toy_folder: Path) -> None:
    """The run's adapter, and its base without."""
    greedy = Sampling(temperature=0.0, max_new_tokens=12)
    mine = house.ask(chat(toy_folder, adapter=str(toy_run / "adapter")), chat(toy_folder))
    theirs = [open_assistant(str(name)).answer([Message("user", "Count from 3.")], greedy) for name in (toy_run, toy_folder)]
    assert [heard.text() for heard in mine] == [answer.text for answer in theirs]
    assert [heard.pieces[-1].usage.completion_tokens for heard in mine] == [answer.num_tokens for answer in theirs]  # type: ignore[union-attr]
    assert [heard.finish == "stop" for heard in mine] == [answer.finished for answer in theirs]
    assert mine[0].text() != mine[1].text()


def test_a_stored_model_of_real_words_too(house: House, shared: Path) -> None:
    name = str(shared / "models" / "tinystories-instruct-3m-chat")
    heard = house.one(base=name, messages=[{"role": "user", "content": "Tell me a story about a dog."}], temperature=0.0, max_tokens=24)
    answer = open_assistant(name).answer([Message("user", "Tell me a story about a dog.")], Sampling(0.0, max_new_tokens=24))
    assert heard.text() == answer.text


def test_adapters_in_one_batch_answer_as_alone(house: House, toy_folder: Path, adapters: list[Path]) -> None:
    asks = [chat(toy_folder, adapter=None if a is None else str(a), seed=7, temperature=1.0) for a in (*adapters, None, adapters[1])]
    together = [heard.text() for heard in house.ask(*asks)]
    assert together == [house.ask(ask)[0].text() for ask in asks]
    assert together[1] == together[4] and len(set(together)) == 4


def test_pieces_come_one_by_one_and_the_last_says_what_it_took(house: House, toy_folder: Path) -> None:
    heard = house.ask(chat(toy_folder, logit_bias=NEVER_ENDS))[0]
    usage = heard.pieces[-1].usage
    assert len(heard.pieces) > 2 and usage is not None
    assert (usage.completion_tokens, heard.finish) == (12, "length")
    assert usage.prompt_tokens == len(Renderer.load(toy_folder).prompt_ids([Message("user", "Count from 3.")]))


def test_the_same_seed_gives_the_same_answers_and_none_gives_others(house: House, toy_folder: Path) -> None:
    ask = chat(toy_folder, n=3, temperature=1.0, seed=11)
    first, again, other = (house.ask(replaced)[0].texts for replaced in (ask, ask, chat(toy_folder, n=3, temperature=1.0)))
    assert first == again and len(set(first)) == 3
    assert first != other


def test_a_prompt_that_was_there_before_needs_no_computing(house: House, toy_folder: Path) -> None:
    words = [{"role": "user", "content": "A question that nobody asked before, of some length."}]
    first, again = (house.ask(chat(toy_folder, messages=words))[0].pieces[-1].usage for _ in range(2))
    assert first is not None and again is not None
    assert first.cached_tokens < 16 < again.cached_tokens < again.prompt_tokens


def test_a_stop_string_is_not_shown(house: House, toy_folder: Path) -> None:
    whole = house.ask(chat(toy_folder, temperature=1.0, seed=3, max_tokens=40, logit_bias=NEVER_ENDS))[0].text()
    stop = whole[5:7]
    heard = house.ask(chat(toy_folder, temperature=1.0, seed=3, max_tokens=40, logit_bias=NEVER_ENDS, stop=(stop,)))[0]
    assert heard.text() == whole[: whole.index(stop)].rstrip()
    assert heard.finish == "stop"


def _alone(folder: Path, adapter: Path | None, ids: np.ndarray) -> np.ndarray:
    """Log-probabilities of every token but the first, as training computes them."""
    model = load_model(folder, torch.float32, CPU)
    found = probe(model)
    if adapter is not None:
        lora.load(model, "policy", adapter, model.get_output_embeddings())
    root = Root(model, found.packing, found.head)
    row = Example((Ids(ids, np.r_[0, np.ones(len(ids) - 1)].astype(np.float32)),))
    with torch.no_grad():
        return root.score(build_stream([row], found.packing), None if adapter is None else "policy").logprobs.numpy()


@pytest.mark.parametrize("with_adapter", [False, True])
def test_an_echoed_prompt_has_the_log_probabilities_of_training(
    house: House, toy_folder: Path, adapters: list[Path], with_adapter: bool
) -> None:
    """And the one new token comes after them, as harnesses that take the last one off expect."""
    adapter = adapters[0] if with_adapter else None
    fields = {"base": str(toy_folder), "adapter": str(adapter) if adapter else None, "echo": True, "top_logprobs": 2, "temperature": 0.0}
    texts = ["Once upon a time", "Naïve 日本"]
    for heard, text in zip(house.ask(*(Ask(prompt=text, max_tokens=1, **fields) for text in texts)), texts, strict=True):  # type: ignore[arg-type]
        prompt = heard.pieces[0].prompt_tokens
        assert "".join(token.text for token in prompt) == heard.pieces[0].prompt_text == text
        assert prompt[0].logprob is None and all(token.top[0].logprob >= token.logprob for token in prompt[1:])  # type: ignore[operator]
        ids = np.array([token.id for token in prompt])
        np.testing.assert_allclose([t.logprob for t in prompt[1:]], _alone(toy_folder, adapter, ids), atol=1e-5)
        drawn = [token for piece in heard.pieces[1:] for token in piece.tokens]
        assert len(drawn) == 1 and len(drawn[0].top) == 2
        np.testing.assert_allclose(drawn[0].logprob, _alone(toy_folder, adapter, np.r_[ids, drawn[0].id])[-1], atol=1e-5)


def test_only_looking_at_a_prompt_draws_nothing(house: House, toy_folder: Path) -> None:
    heard = house.one(base=str(toy_folder), prompt=[72, 101, 108, 108, 111], echo=True, top_logprobs=0, max_tokens=0)
    assert heard.pieces[0].prompt_text == "Hello" and heard.text() == ""
    assert len(heard.pieces[0].prompt_tokens) == 5 and heard.finish == "length"
    assert heard.pieces[-1].usage is not None and heard.pieces[-1].usage.completion_tokens == 0


def test_tokens_spell_the_answer(house: House, toy_folder: Path) -> None:
    heard = house.one(base=str(toy_folder), prompt="Hi", max_tokens=20, seed=1, top_logprobs=3, logit_bias=NEVER_ENDS)
    tokens = [token for piece in heard.pieces for token in piece.tokens]
    assert len(tokens) == 20 and all(len(token.top) == 3 for token in tokens)
    assert all(token.bytes == bytes([token.id]) for token in tokens if token.id < 256)


SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["glad", "sad"]}, "age": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["mood", "age"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "greet", "description": "Greets.", "parameters": SCHEMA}}


def test_an_answer_fits_its_schema(house: House, toy_folder: Path) -> None:
    pytest.importorskip("llguidance")
    heard = house.ask(chat(toy_folder, json_schema=SCHEMA, temperature=1.0, seed=5, max_tokens=200, n=2))[0]
    for text in heard.texts:
        assert set(json.loads(text)) == {"mood", "age"}


def test_a_call_that_must_be_made_is_made(house: House, toy_folder: Path) -> None:
    """With the plain template, whose calls can be read back; the toy's own cannot."""
    pytest.importorskip("llguidance")
    fields = {"tools": [TOOL], "tool_choice": "required", "max_tokens": 200, "temperature": 1.0, "seed": 2}
    heard = house.ask(chat(toy_folder, chat_template="plain", **fields))[0]
    calls = heard.pieces[-1].tool_calls
    assert heard.finish == "tool_calls" and heard.text() == ""
    assert calls[0]["function"]["name"] == "greet" and json.loads(calls[0]["function"]["arguments"])["mood"] in ("glad", "sad")
    assert len(calls[0]["id"]) == 9
    refused = house.ask(chat(toy_folder, **fields))[0].error
    assert refused is not None and "none can be required" in refused.message


def test_with_a_schema_and_tools_an_answer_is_one_or_the_other(house: House, toy_folder: Path) -> None:
    pytest.importorskip("llguidance")
    schema = {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"], "additionalProperties": False}
    ask = chat(toy_folder, chat_template="plain", tools=[TOOL], json_schema=schema, n=4, temperature=1.0, seed=1, max_tokens=300)
    heard = house.ask(ask)[0]
    for index, text in enumerate(heard.texts):
        calls = [call for piece in heard.pieces if piece.index == index for call in piece.tool_calls]
        assert calls or set(json.loads(text)) == {"x"}


def test_the_starter_calls_tools_in_its_own_way(house: House) -> None:
    pytest.importorskip("llguidance")
    ask = Ask(base="starter", messages=QUESTION, tools=[TOOL], max_tokens=120, seed=1, tool_choice=_named("greet"))
    heard = house.ask(ask)[0]
    assert heard.finish == "tool_calls", heard
    assert heard.pieces[-1].tool_calls[0]["function"]["name"] == "greet"


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize(
    "fields, kind, words",
    [
        (
            {"messages": [{"role": "user", "content": "x" * 600}]},
            "bad_request",
            "maximum context length is 512 tokens. However, your messages",
        ),
        ({"base": "/nowhere/at/all"}, "not_found", "neither a folder here nor"),
        ({"adapter": "/nowhere"}, "not_found", "There is no adapter in /nowhere"),
        ({"messages": [{"role": "user"}]}, "bad_request", "message 1 .* has no `content`"),
        ({"messages": [{"role": "king", "content": "x"}]}, "bad_request", "'king' is not one of"),
        ({"messages": None}, "bad_request", "neither `messages` nor `prompt`"),
        ({"messages": None, "prompt": [1, 999]}, "bad_request", "999 is no token of this model"),
        ({"logit_bias": {5000: 1.0}}, "bad_request", "`logit_bias` names 5000"),
        ({"temperature": -1.0}, "bad_request", "`temperature` is -1"),
        ({"json_schema": {"type": "nonsense"}}, "bad_request", "cannot be held to"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "bad_request", "Tool choice 'other'"),
        ({"template_arguments": {"nothing_reads_this": 1}}, "bad_request", "has no effect"),
    ],
)
def test_what_cannot_be_answered_is_a_sentence(house: House, toy_folder: Path, fields: dict[str, Any], kind: str, words: str) -> None:
    error = house.ask(chat(toy_folder, **fields))[0].error
    assert error is not None and error.kind == kind
    assert re.search(words, error.message), error.message


def test_a_model_without_a_template_completes_but_does_not_chat(house: House, tmp_path: Path) -> None:
    bare = toy_model(tmp_path / "bare", chat_template=None)
    error = house.ask(chat(bare))[0].error
    assert error is not None and "has no chat template" in error.message
    assert house.one(base=str(bare), prompt="Once", max_tokens=3, temperature=0.0).error is None


def test_a_damaged_adapter_fails_its_own_request_only(house: House, toy_folder: Path, adapters: list[Path], tmp_path: Path) -> None:
    broken = Path(shutil.copytree(adapters[0], tmp_path / "broken"))
    (broken / lora.WEIGHTS).write_bytes(b"half")
    bad, good = house.ask(chat(toy_folder, adapter=str(broken)), chat(toy_folder, adapter=str(adapters[0])))
    assert bad.error is not None and "is damaged or incomplete" in bad.error.message
    assert good.error is None


def test_a_model_that_cannot_be_loaded_says_why_in_the_state(house: House, toy_folder: Path, tmp_path: Path) -> None:
    half = Path(shutil.copytree(toy_folder, tmp_path / "half"))
    (half / "model.safetensors").write_bytes(b"half")
    error = house.ask(chat(half))[0].error
    assert error is not None and error.kind == "internal" and "is damaged or cut short" in error.message
    state = next(base for base in house.state.bases if base.folder == str(half))
    assert state.status == "refused" and "damaged" in state.reason


def test_a_model_whose_answers_cannot_be_drawn_is_refused(house: House, tmp_path: Path) -> None:
    """The first GPT keeps nothing of what it has read, so that there is nothing to go on from."""
    error = house.ask(chat(toy_model(tmp_path / "gpt-1", "openai-gpt")))[0].error
    assert error is not None and error.kind == "internal"
    assert "is not served: answers drawn token by token would not be those that it was trained to give" in error.message
    assert "past_key_values" in error.message
    state = next(base for base in house.state.bases if base.folder == str(tmp_path / "gpt-1"))
    assert state.status == "refused" and state.reason == error.message


def test_a_client_that_hangs_up_frees_its_room(house: House, roomy_folder: Path) -> None:
    async def hang_up() -> tuple[int, int]:
        before = house.state.cancelled
        async with house.said(chat(roomy_folder, max_tokens=None, logit_bias=NEVER_ENDS)) as reply:
            await reply()
            running = house.state.running
        for _ in range(200):
            if not house.state.running:
                break
            await asyncio.sleep(0.01)
        return running, house.state.cancelled - before

    assert house.runner.run(hang_up()) == (1, 1)
    assert house.state.running == 0


@pytest.mark.parametrize("sent", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x03abc", b"\x00\x00\x01\x00half of it"])
def test_what_is_no_request_is_refused_and_forgotten(house: House, toy_folder: Path, sent: bytes) -> None:
    """Too long, no message, and one that breaks off."""

    async def send() -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(house.folder / "s"))
        writer.write(sent)
        writer.write_eof()
        said = await reader.read()
        writer.close()
        return said

    assert (b"bad_request" in house.runner.run(send())) == (b"half" not in sent)
    assert house.ask(chat(toy_folder))[0].error is None


def test_a_key_with_much_to_ask_does_not_hold_up_another(opened: Callable[[Limits], House], toy_folder: Path) -> None:
    house = opened(replace(ROOMY, max_sequences=2))
    ended: list[str] = []

    async def timed(ask: Ask) -> None:
        await house.hear(ask)
        ended.append(ask.key)

    async def both() -> None:
        await house.tell(Load(base=str(toy_folder)))
        many = [asyncio.create_task(timed(chat(toy_folder, key="many", logit_bias=NEVER_ENDS, seed=i))) for i in range(20)]
        await asyncio.sleep(0.01)
        await asyncio.gather(timed(chat(toy_folder, key="one", logit_bias=NEVER_ENDS)), *many)

    house.runner.run(both())
    assert ended.index("one") < 10 and len(ended) == 21


def test_beyond_the_line_is_told_when_to_come_back(opened: Callable[[Limits], House], toy_folder: Path) -> None:
    house = opened(replace(ROOMY, max_sequences=1, max_waiting=3))
    heard = house.ask(*(chat(toy_folder, logit_bias=NEVER_ENDS) for _ in range(8)))
    refused = [one.error for one in heard if one.error is not None]
    assert refused and all(fault.kind == "overloaded" and (fault.retry_after or 0) >= 1 for fault in refused)
    assert house.state.overloaded == len(refused)
    assert sum(one.error is None for one in heard) >= 3


def test_adapters_leave_by_least_use_and_come_back(opened: Callable[[Limits], House], toy_folder: Path, adapters: list[Path]) -> None:
    size = max((a / lora.WEIGHTS).stat().st_size for a in adapters)
    house = opened(replace(ROOMY, adapter_bytes=size))
    asks = [chat(toy_folder, adapter=str(a)) for a in (*adapters, *adapters)]
    one_by_one = [house.ask(ask)[0].text() for ask in asks]
    assert one_by_one[:3] == one_by_one[3:]
    assert len(house.state.bases[0].adapters) < 3
    assert [heard.text() for heard in house.ask(*asks)] == one_by_one


def test_another_adapter_at_the_same_place_is_another_adapter(house: House, toy_folder: Path, adapters: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapters[0], tmp_path / "tuned"))
    first = house.ask(chat(toy_folder, adapter=str(folder)))[0].text()
    shutil.rmtree(folder)
    shutil.copytree(adapters[1], folder)
    assert house.ask(chat(toy_folder, adapter=str(folder)))[0].text() != first


def test_bases_leave_by_least_use(opened: Callable[[Limits], House], toy_folder: Path, roomy_folder: Path) -> None:
    size = (toy_folder / "model.safetensors").stat().st_size
    house = opened(replace(ROOMY, base_bytes=int(1.5 * size)))
    assert [house.ask(chat(folder))[0].error for folder in (toy_folder, roomy_folder, toy_folder)] == [None] * 3
    assert [base.folder for base in house.state.bases] == [str(toy_folder)]
    too_small = opened(replace(ROOMY, base_bytes=size // 2)).ask(chat(toy_folder))[0].error
    assert too_small is not None and "Give it more memory" in too_small.message


def test_a_base_in_use_stays(opened: Callable[[Limits], House], toy_folder: Path, roomy_folder: Path) -> None:
    size = (toy_folder / "model.safetensors").stat().st_size
    house = opened(replace(ROOMY, base_bytes=int(1.5 * size)))

    async def beside() -> Heard:
        async with house.said(chat(roomy_folder, max_tokens=1500, logit_bias=NEVER_ENDS)) as reply:
            await reply()
            return await house.hear(chat(toy_folder))

    error = house.runner.run(beside()).error
    assert error is not None and error.kind == "overloaded" and error.retry_after


def test_what_is_let_go_is_gone(house: House, toy_folder: Path, adapters: list[Path]) -> None:
    house.ask(chat(toy_folder, adapter=str(adapters[2])))
    held = lambda: [a.folder for b in house.state.bases for a in b.adapters]  # noqa: E731
    assert str(adapters[2]) in held()
    assert house.runner.run(house.tell(Unload(base=str(toy_folder), adapter=str(adapters[2])))) == Done()
    assert str(adapters[2]) not in held()
    assert house.runner.run(house.tell(Unload(base=str(toy_folder)))) == Done()
    assert str(toy_folder) not in [base.folder for base in house.state.bases]


def test_embeddings_are_mean_states_of_length_one(house: House, toy_folder: Path) -> None:
    texts = ["Hello there", "Good bye"]
    told: Embedded = house.runner.run(house.tell(Embed(base=str(toy_folder), inputs=texts)))
    mine = np.stack([np.frombuffer(vector, dtype="<f4") for vector in told.vectors])
    theirs = MeanPooled(LocalModel.load(str(toy_folder)))(texts)
    np.testing.assert_allclose(mine, theirs / np.linalg.norm(theirs, axis=1, keepdims=True), atol=1e-6)
    assert told.num_tokens == sum(map(len, texts))
    long: Embedded = house.runner.run(house.tell(Embed(base=str(toy_folder), inputs=["x" * 600])))
    assert long.error is not None and long.error.code == "context_length_exceeded"


def test_the_state_says_what_was_found_and_done(house: House, toy_folder: Path) -> None:
    house.ask(chat(toy_folder))
    state = house.state
    base = next(b for b in state.bases if b.folder == str(toy_folder))
    assert (base.status, base.tier, base.dtype, base.context) == ("ready", 1, "float32", 512)
    assert "tier 1" in base.reason and "drawn" in base.reason
    counts = next(m for m in state.models if m.base == str(toy_folder) and m.adapter is None)
    assert counts.requests >= 1 and counts.completion_tokens >= 1
    assert sum(state.first_token_counts) >= 1 and state.memory_bytes > 0


def test_room_that_runs_out_ends_the_longest_answer_without_a_limit(opened: Callable[[Limits], House], toy_folder: Path) -> None:
    """Of 512 tokens (256 bytes each) 17 are the prompt's and 200 the answer's that has a limit of its own: 295 are left, 147 for each."""
    house = opened(replace(ROOMY, cache_bytes=512 * 256, unnamed_tokens=64))
    named = chat(toy_folder, max_tokens=200, logit_bias=NEVER_ENDS)
    unnamed = chat(toy_folder, max_tokens=None, logit_bias=NEVER_ENDS)
    first, other, second = house.ask(unnamed, unnamed, named)
    assert second.pieces[-1].usage is not None and second.pieces[-1].usage.completion_tokens == 200
    assert first.finish == other.finish == "length"
    cut, whole = sorted(one.pieces[-1].usage.completion_tokens for one in (first, other))  # type: ignore[union-attr]
    assert 140 < cut < 160 and whole == 512 - 17
