"""`Dropped`: what a template left out of a conversation. It is counted, never silent."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Literal

from luthier.text.messages import Message

WORD = re.compile(r"\w+|[^\w\s]")
GAP = " … "

Part = Literal["content", "reasoning", "tool_calls", "tools"]


@dataclass(frozen=True)
class Dropped:
    """What a template left out of the conversation: `characters` of one `part` of message number `message` (from 0; -1: of the tools)."""

    message: int
    role: str
    part: Part
    characters: int
    text: str = field(default="", compare=False, repr=False)
    """The stretches themselves, as they were written, ` … ` between them."""

    def __str__(self) -> str:
        where = f"message {self.message + 1} ({self.role}): its" if self.message >= 0 else "the list of"
        return f"{where} {self.part.replace('_', ' ')}: {self.characters} characters that the template leaves out."


def dropped_from_answer(index: int, message: Message, written: str) -> list[Dropped]:
    """What of the assistant's message is missing in `written`, the text that is learned for it."""
    missing: dict[Part, list[str]] = {
        "content": missing_stretches(message.content, written),
        "reasoning": missing_stretches(message.reasoning or "", written),
        "tool_calls": [stretch for call in message.tool_calls for stretch in _missing_of_call(call, written)],
    }
    return [_dropped(index, message.role, part, stretches) for part, stretches in missing.items() if stretches]


def dropped_from_prompt(messages: Sequence[Message], tools: Sequence[dict[str, Any]], written: str) -> list[Dropped]:
    """What the model is never shown of the system's, user's and tools' messages, and of the list of tools."""
    others = [(index, message) for index, message in enumerate(messages) if message.role != "assistant"]
    found = [(index, message.role, missing_stretches(message.content, written)) for index, message in others]
    dropped = [_dropped(index, role, "content", stretches) for index, role, stretches in found if stretches]
    names = [str(tool.get("function", tool).get("name", "")) for tool in tools]
    unseen = [json.dumps(tool) for tool, name in zip(tools, names, strict=True) if written.count(name) <= _num_said(name, messages)]
    return [*dropped, Dropped(-1, "tools", "tools", sum(map(len, unseen)), GAP.join(unseen))] if unseen else dropped


def _num_said(name: str, messages: Sequence[Message]) -> int:
    """How often messages name a tool: a list of tools names it once more."""
    return sum(message.content.count(name) + json.dumps(list(message.tool_calls)).count(name) for message in messages)


def num_missing(said: str, written: str) -> int:
    """Characters of the words and signs in `said` that do not stand in `written`, in their order. White space does not count."""
    return _num_characters(missing_stretches(said, written))


def missing_stretches(said: str, written: str) -> list[str]:
    """The stretches of `said`, from word to word, that do not stand in `written`."""
    said = said.strip()
    if said in written or json.dumps(said, ensure_ascii=False)[1:-1] in written:
        return []
    words = list(WORD.finditer(said))
    matcher = SequenceMatcher(None, [word[0] for word in words], WORD.findall(written), autojunk=False)
    missing, at = list[str](), 0
    for block in matcher.get_matching_blocks():
        if block.a > at:
            missing.append(said[words[at].start() : words[block.a - 1].end()])
        at = block.a + block.size
    return missing


def _dropped(index: int, role: str, part: Part, stretches: list[str]) -> Dropped:
    return Dropped(index, role, part, _num_characters(stretches), GAP.join(stretches))


def _num_characters(stretches: list[str]) -> int:
    """Without white space between words and signs."""
    return sum(len(word) for stretch in stretches for word in WORD.findall(stretch))


def _missing_of_call(call: dict[str, Any], written: str) -> list[str]:
    function = call.get("function", call)
    name, arguments = str(function.get("name", "")), function.get("arguments", "")
    if name not in written:
        return [name, arguments if isinstance(arguments, str) else json.dumps(arguments)]
    return [stretch for leaf in _leaves(arguments) for stretch in missing_stretches(leaf, written)]


def _leaves(arguments: Any) -> list[str]:
    """The strings among a call's arguments, which may be JSON themselves."""
    if isinstance(arguments, str):
        try:
            return [leaf for leaf in _leaves(json.loads(arguments)) if leaf] if arguments[:1] == "{" else [arguments]
        except ValueError:
            return [arguments]
    if isinstance(arguments, dict):
        return [leaf for value in arguments.values() for leaf in _leaves(value)]
    if isinstance(arguments, list):
        return [leaf for value in arguments for leaf in _leaves(value)]
    return []
