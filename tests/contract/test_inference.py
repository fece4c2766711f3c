"""Asking models with the unmodified client: whole, streamed, several answers, JSON, stored, embedded; scenarios 3, 16, 22."""

import json
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

pytestmark = pytest.mark.slow

HELLO = [{"role": "user", "content": "Hello, who are you?"}]


def ask(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(**{"model": "starter", "messages": HELLO, "max_tokens": 16, **more})


def test_an_answer_is_the_same_whole_and_streamed(client: openai.OpenAI):
    whole = ask(client, temperature=0)
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens > 0
    assert whole.id.startswith("chatcmpl-") and whole.choices[0].finish_reason in ("stop", "length")
    chunks = list(ask(client, temperature=0, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens and chunks[-1].choices == []
    assert chunks[0].choices[0].delta.role == "assistant" and len({c.id for c in chunks}) == 1


def test_a_seed_gives_the_same_answers_again_and_n_gives_several(client: openai.OpenAI):
    first, second = (ask(client, n=3, seed=7, temperature=1.0) for _ in range(2))
    said = [choice.message.content for choice in first.choices]
    assert said == [choice.message.content for choice in second.choices] and len(set(said)) > 1
    assert [choice.index for choice in first.choices] == [0, 1, 2]


def test_log_probabilities_come_with_each_token_and_its_rivals(client: openai.OpenAI):
    told = ask(client, temperature=0, logprobs=True, top_logprobs=3, max_tokens=4).choices[0]
    assert "".join(token.token for token in told.logprobs.content).startswith(told.message.content[:4])
    for token in told.logprobs.content:
        assert len(token.top_logprobs) == 3 and token.logprob == max(other.logprob for other in token.top_logprobs) <= 0


def test_a_stop_string_ends_the_answer_and_is_not_shown(client: openai.OpenAI):
    whole = ask(client, temperature=0, max_tokens=40).choices[0].message.content
    stop = whole.split()[2]
    cut = ask(client, temperature=0, max_tokens=40, stop=[stop]).choices[0]
    assert cut.finish_reason == "stop" and stop not in cut.message.content and whole.startswith(cut.message.content)


class Place(BaseModel):
    """Its answers end by themselves, however small the model is."""

    city: Literal["Oslo", "Bergen"]
    by_the_sea: bool


def test_an_answer_fits_the_schema_that_was_asked_for(client: openai.OpenAI):
    told = client.chat.completions.parse(model="starter", messages=HELLO, response_format=Place, max_tokens=120, seed=1)
    assert isinstance(told.choices[0].message.parsed, Place)
    free = ask(client, response_format={"type": "json_object"}, max_tokens=120, temperature=0)
    if free.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(free.choices[0].message.content), dict)


def test_completions_tell_the_prompt_and_how_likely_it_was(client: openai.OpenAI):
    told = client.completions.create(model="starter", prompt="Once upon a time", max_tokens=1, echo=True, logprobs=1, temperature=0)
    choice = told.choices[0]
    assert choice.text.startswith("Once upon a time")
    assert choice.logprobs.token_logprobs[0] is None and all(p <= 0 for p in choice.logprobs.token_logprobs[1:])
    assert len(choice.logprobs.tokens) == len(choice.logprobs.text_offset) == len(choice.logprobs.top_logprobs)
    several = client.completions.create(model="starter", prompt=["One", "Two"], max_tokens=3, temperature=0)
    assert [choice.index for choice in several.choices] == [0, 1]


def test_embeddings_are_vectors_of_length_one_in_both_forms(client: openai.OpenAI):
    texts = ["a cat sat on the mat", "a dog ran in the park"]
    packed = client.embeddings.create(model="starter", input=texts)
    plain = client.embeddings.create(model="starter", input=texts, encoding_format="float")
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert sum(x * x for x in one.embedding) == pytest.approx(1, abs=1e-4)
    assert len(client.embeddings.create(model="starter", input="x", dimensions=8).data[0].embedding) == 8


def test_responses_answer_stream_and_go_on(client: openai.OpenAI):
    first = client.responses.create(model="starter", input="Hello, who are you?", max_output_tokens=12, temperature=0)
    assert first.output_text and client.responses.retrieve(first.id).output_text == first.output_text
    events = list(client.responses.create(model="starter", input="Hello, who are you?", max_output_tokens=12, temperature=0, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == first.output_text
    assert events[-1].type in ("response.completed", "response.incomplete") and events[-1].response.output_text == first.output_text
    again = client.responses.create(model="starter", input="And now?", previous_response_id=first.id, max_output_tokens=4)
    assert again.usage.input_tokens > first.usage.input_tokens
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="not found"):
        client.responses.retrieve(first.id)


def test_stored_completions_are_found_by_their_metadata(client: openai.OpenAI):
    kept = ask(client, store=True, metadata={"job": "teacher"}, seed=3)
    ask(client, store=True, metadata={"job": "other"})
    listed = list(client.chat.completions.list(metadata={"job": "teacher"}))
    assert [one.id for one in listed] == [kept.id] and listed[0].choices[0].message.content == kept.choices[0].message.content
    turns = client.chat.completions.messages.list(kept.id).data
    assert (turns[0].id, turns[0].content) == (f"{kept.id}-0", HELLO[0]["content"])
    assert client.chat.completions.update(kept.id, metadata={"job": "changed"}).metadata == {"job": "changed"}
    assert client.chat.completions.delete(kept.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(kept.id)


def test_what_cannot_be_answered_is_told_in_openais_words(client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError) as missing:
        ask(client, model="nope")
    assert missing.value.code == "model_not_found" and "The model 'nope' does not exist" in missing.value.message
    with pytest.raises(openai.BadRequestError) as long:
        ask(client, messages=[{"role": "user", "content": "word " * 4000}])
    assert long.value.code == "context_length_exceeded" and "maximum context length is" in long.value.message
    with pytest.raises(openai.BadRequestError, match="3 is greater than the maximum of 2 - 'temperature'"):
        ask(client, temperature=3)


def test_azures_client_finds_the_same_models(served: Any):
    azure = openai.AzureOpenAI(azure_endpoint=served.url.removesuffix("/v1"), api_key=served.key, api_version="2024-10-21", max_retries=0)
    told = azure.chat.completions.create(model="starter", messages=HELLO, max_tokens=4)
    assert told.choices[0].message.content is not None
    assert [model.id for model in azure.models.list()]


def test_models_are_listed_and_bases_stay(client: openai.OpenAI):
    assert "starter" in [model.id for model in client.models.list()]
    assert client.models.retrieve("starter").object == "model"
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete("starter")
