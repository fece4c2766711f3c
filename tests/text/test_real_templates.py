"""The renderer on 41 published chat templates, with dialogues that have a system, tools, thoughts and several turns."""

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from pathlib import Path

import msgspec
import numpy as np
import pytest

from luthier.errors import TemplateError
from luthier.spec.rows import Conversation, Message
from luthier.text.encoded import Encoded
from luthier.text.renderer import Renderer
from luthier.text.tokenizer import Tokenizer

SHARED = Path(os.environ.get("LUTHIER_SHARED") or Path(__file__).resolve().parents[3] / "shared")
NAMES = sorted(path.stem for path in (SHARED / "templates").glob("*.jinja"))
DIALOGUES = ("turns", "system", "thinking", "tools")
NOW = datetime(2026, 3, 1)

REFUSED = {
    *product(["gemma"], ["system", "tools"]),
    *product(["gemma3", "cohere", "cohere2", "llava_next"], ["tools"]),
}
"""Templates that say themselves that they take no system message, or no tool's."""

NO_END = {"glm4moe", "llava_next"}
"""GLM's answers end with the next turn's marker (where the model's settings say so), llava_next's with a `</s>` GPT-2 does not have."""

pytestmark = pytest.mark.skipif(not NAMES, reason=f"{SHARED / 'templates'} is missing; it holds real templates that are not shipped.")

Make = Callable[[str], Tokenizer]


@dataclass(frozen=True)
class Stretch:
    """What is learned at one place, and all that precedes it."""

    before: str
    learned: str
    last_id: int


def _stretches(renderer: Renderer, encoded: Encoded) -> list[Stretch]:
    found = []
    for sequence in encoded.sequences:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], sequence.weights != 0, [0]])))
        for start, end in edges.reshape(-1, 2):
            decode, ids = renderer.tokenizer.decode, sequence.ids
            found.append(Stretch(decode(ids[:start]), decode(ids[start:end]), int(ids[end - 1])))
    return found


@pytest.fixture(scope="module", params=NAMES)
def renderer(request: pytest.FixtureRequest, gpt2_for: Make) -> Renderer:
    """The renderer of each template in turn."""
    return _renderer(request.param, gpt2_for)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The template's name."""
    return str(request.node.callspec.params["renderer"])


def _renderer(name: str, gpt2_for: Make) -> Renderer:
    source = (SHARED / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
    return Renderer(gpt2_for(source), source, now=NOW)


def _assert_faithful(renderer: Renderer, dialogue: Conversation, ends: bool) -> None:
    encoded = renderer.sequences(dialogue)
    stretches = _stretches(renderer, encoded)
    answers = [index for index, message in enumerate(dialogue.messages) if message.role == "assistant"]
    assert len(stretches) == len(answers), "every answer is learned once"
    differs = [note for note in encoded.notes if note.kind == "prompt_differs"]
    prompts = {renderer.render(dialogue.messages[:index], dialogue.tools, add_generation_prompt=True).text for index in answers}
    assert len(prompts - {stretch.before for stretch in stretches}) <= len(differs), "every prompt is what serving feeds, or named"
    for stretch in stretches:
        assert "zebra" not in stretch.learned.lower(), "nothing that others said is learned"
        assert not ends or stretch.last_id in encoded.stops or stretch.learned.endswith("\n"), "the end is learned"
    named = [note for note in encoded.notes if note.kind == "boundary"]
    whole = [renderer.tokenizer.encode(renderer.tokenizer.decode(sequence.ids)) for sequence in encoded.sequences]
    others = [ids for ids, sequence in zip(whole, encoded.sequences, strict=True) if not np.array_equal(ids, sequence.ids)]
    assert len(others) == len(named), "the ids are those of the whole text, or the row is named"
    learned = " ".join(stretch.learned for stretch in stretches)
    dropped = Counter({(item.message, item.part): item.characters for item in encoded.dropped})
    for index in answers:
        message = dialogue.messages[index]
        assert message.content in learned
        assert ((message.reasoning or "") in learned) != ((index, "reasoning") in dropped)
        assert all("get_weather" in learned and "Oslo" in learned for _ in message.tool_calls) != ((index, "tool_calls") in dropped)


def test_every_answer_is_learned_as_serving_would_see_it(name: str, renderer: Renderer, dialogues: dict[str, Conversation]) -> None:
    for kind in DIALOGUES:
        if (name, kind) in REFUSED:
            with pytest.raises(TemplateError, match=r"^rows\.jsonl:7: The chat template refuses this conversation"):
                renderer.sequences(dialogues[kind])
        else:
            _assert_faithful(renderer, dialogues[kind], ends=name not in NO_END)


def test_a_message_never_writes_a_marker(name: str, renderer: Renderer, dialogues: dict[str, Conversation]) -> None:
    """All markers of the template in the mouths of user, tool and system: the added tokens are those of the harmless row."""
    tokenizer = renderer.tokenizer
    attack = " ".join([*tokenizer.added, "<|im_<|endoftext|>end|>"])
    for kind in DIALOGUES:
        if (name, kind) in REFUSED:
            continue
        harmless = dialogues[kind]
        messages = tuple(_with_attack(message, attack) for message in harmless.messages)
        attacked = renderer.sequences(msgspec.structs.replace(harmless, messages=messages))
        for ours, theirs in zip(renderer.sequences(harmless).sequences, attacked.sequences, strict=True):
            assert _markers(tokenizer, ours.ids) == _markers(tokenizer, theirs.ids)
            assert tokenizer.decode(ours.ids[ours.weights > 0]) == tokenizer.decode(theirs.ids[theirs.weights > 0])
        assert "escaped" in {note.kind for note in attacked.notes}


def _with_attack(message: Message, attack: str) -> Message:
    return message if message.role == "assistant" else msgspec.structs.replace(message, content=message.content + attack)


def _markers(tokenizer: Tokenizer, ids: np.ndarray) -> list[str | None]:
    return [tokenizer.token_of(id) for id in ids if id in tokenizer.added.values()]


def test_texts_are_those_of_transformers(name: str, renderer: Renderer, dialogues: dict[str, Conversation]) -> None:
    theirs = pytest.importorskip("transformers.utils.chat_template_utils").render_jinja_template
    source = renderer.template_sources["default"]
    renderer = Renderer(renderer.tokenizer, source)  # sees today's date, as transformers does
    named = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    in_parts = name in ("idefics3", "llava_next", "smolvlm")
    arguments_as_text = name == "deepseekv3"
    for kind, prompt in product(DIALOGUES, (False, True)):
        if (name, kind) in REFUSED:
            continue
        dialogue = dialogues[kind]
        messages = [_as_openai(message, in_parts, arguments_as_text) for message in dialogue.messages]
        settings = {"tools": list(dialogue.tools) or None, "chat_template": source, "add_generation_prompt": prompt, **named}
        assert renderer.render(dialogue.messages, dialogue.tools, prompt).text == theirs([messages], **settings)[0][0]


def _as_openai(message: Message, in_parts: bool, arguments_as_text: bool) -> dict[str, object]:
    entry: dict[str, object] = {key: value for key, value in msgspec.to_builtins(message).items() if key != "reasoning"}
    entry["content"] = [{"type": "text", "text": message.content}] if in_parts else message.content
    if message.reasoning:
        entry["reasoning_content"] = message.reasoning
    if message.tool_calls:
        entry["tool_calls"] = [
            {
                **call,
                "function": {**call["function"], "arguments": call["function"]["arguments"] if arguments_as_text else {"city": "Oslo"}},
            }
            for call in message.tool_calls
        ]
        assert json.loads(message.tool_calls[0]["function"]["arguments"]) == {"city": "Oslo"}
    return entry


def test_glm_learns_to_end_where_its_settings_say_that_it_stops(gpt2_for: Make, dialogues: dict[str, Conversation]) -> None:
    source = (SHARED / "templates/glm4moe.jinja").read_text(encoding="utf-8")
    tokenizer = gpt2_for(source)
    tokenizer.eos_ids |= {tokenizer.added["<|user|>"], tokenizer.added["<|observation|>"]}
    renderer = Renderer(tokenizer, source)
    learned = [stretch.learned for stretch in _stretches(renderer, renderer.sequences(dialogues["tools"]))]
    assert [text[text.rindex("<|") :] for text in learned] == ["<|observation|>", "<|user|>", "<|user|>"]


@pytest.mark.parametrize("name, num_sequences", [("qwen3", 2), ("gptoss", 2), ("gemma4_v5", 2), ("phi3", 1), ("qwen2_5", 1)])
def test_templates_that_drop_earlier_thoughts_need_more_than_one_sequence(
    name: str, num_sequences: int, gpt2_for: Make, dialogues: dict[str, Conversation]
) -> None:
    assert len(_renderer(name, gpt2_for).sequences(dialogues["thinking"]).sequences) == num_sequences
