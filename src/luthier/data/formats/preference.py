"""A better and a worse answer to one prompt, in the shapes that people have them.

- OpenAI's: `{"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}`.
- TRL's: `prompt`, `chosen` and `rejected`, each text or messages; or `chosen` and `rejected` alone, whose common beginning is the prompt.
- Whole dialogues in one text (`\\n\\nHuman: … \\n\\nAssistant: …`) as `chosen` and `rejected`: their common beginning is the prompt.
- LLaMA-Factory's: `conversations`, or `instruction` and `input`, with `chosen` and `rejected`; `chosen_messages`, `rejected_messages`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from luthier.data import jsonl, turns
from luthier.data.messages import tools
from luthier.data.sample import Sample
from luthier.errors import DataError
from luthier.spec.rows import Message, Origin, Preference

DESCRIPTION = "rows with `chosen` and `rejected`, or `preferred_output` and `non_preferred_output`"

PAIRS = (("chosen", "rejected"), ("preferred_output", "non_preferred_output"), ("chosen_messages", "rejected_messages"))


def sniff(sample: Sample) -> float:
    return sample.fitting(lambda row: _pair(row) is not None)


def mapping(sample: Sample) -> str:
    first, pair = next(((row, pair) for row in sample.objects if (pair := _pair(row))), ({}, PAIRS[0]))
    key = None if _holds_prompt(first, pair[0]) else _prompt_key(first)
    asked = f"`{key}` → the prompt" if key else "their common beginning → the prompt"
    others = "".join(
        f", `{other}` → {other}" for other in ("tools", "system", "history") if sample.share(other) and (key or other == "tools")
    )
    read = ("tools", "system", "history", key or "", "input" if key == "instruction" else "", *pair)
    return f"{asked}{others}, `{pair[0]}` → the better answer, `{pair[1]}` → the worse one" + sample.unread(read)


class _Plain(msgspec.Struct):
    """Pairs that are three texts. Any other row takes the slower way below."""

    prompt: str
    chosen: str
    rejected: str
    system: None = None
    tools: None = None
    functions: None = None
    instruction: None = None
    messages: None = None
    conversations: None = None
    conversation: None = None


_decode = msgspec.json.Decoder(_Plain).decode


def quick(line: bytes, origin: Origin) -> Preference | None:
    """A line of JSONL straight into a row, where it is one of the plain ones."""
    try:
        plain = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # not plain; the slower way reads it or says what is wrong
    if any(turns.is_more_than_text(text) for text in (plain.prompt, plain.chosen, plain.rejected)):
        return None
    return Preference(
        (Message("user", plain.prompt),), (Message("assistant", plain.chosen),), (Message("assistant", plain.rejected),), origin
    )


def row(fields: Mapping[str, Any], origin: Origin) -> Preference:
    pair = _pair(fields)
    if pair is None:
        begun = next((pair for pair in PAIRS if pair[0] in fields or pair[1] in fields), PAIRS[0])
        raise jsonl.missing(origin, [key for key in begun if key not in fields], fields, "preference")
    offered = fields.get("input") if isinstance(fields.get("input"), dict) else fields
    functions = tools(offered or fields, origin)
    if _holds_prompt(fields, pair[0]):
        chosen, rejected = (_whole(fields[key], f"`{key}`", origin) for key in pair)
        return Preference(*turns.common_beginning(chosen, rejected, origin), origin, functions)
    if _prompt_key(fields) is None:
        raise DataError(
            f"{origin}: this row has no `prompt`, and its answers are no dialogues whose common beginning could be it. Add a `prompt`."
        )
    prompt = turns.prompt(fields, origin, "preference")
    chosen, rejected = (turns.answer(fields[key], f"`{key}`", origin) for key in pair)
    return Preference(prompt, chosen, rejected, origin, functions)


def _pair(fields: Mapping[str, Any]) -> tuple[str, str] | None:
    return next((pair for pair in PAIRS if pair[0] in fields and pair[1] in fields), None)


def _prompt_key(fields: Mapping[str, Any]) -> str | None:
    return "instruction" if fields.get("instruction") is not None else turns.prompt_key(fields)


def _holds_prompt(fields: Mapping[str, Any], key: str) -> bool:
    """Whether an answer begins with the prompt: a dialogue in one text, or messages the first of which is not the assistant's."""
    value = turns.decoded(fields.get(key))
    if turns.is_dialogue(value):
        return True
    first = value[0] if isinstance(value, list) and value else None
    speaker = first.get("role", first.get("from")) if isinstance(first, dict) else "assistant"
    return turns.SPEAKERS.get(str(speaker).lower(), speaker) in ("user", "system", "developer")


def _whole(value: Any, what: str, origin: Origin) -> turns.Turns:
    """A conversation with its prompt."""
    return turns.dialogue(value) if turns.is_dialogue(value) else turns.turns(value, what, origin)
