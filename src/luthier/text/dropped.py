"""`Dropped`: what a template left out of a conversation. It is counted, never silent."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from luthier.text.messages import Message

WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Dropped:
    """What a template left out of the conversation: `characters` of one `part` of message number `message` (from 0; -1: of the tools)."""

    message: int
    role: str
    part: Literal["content", "reasoning", "tool_calls", "tools"]
    characters: int

    def __str__(self) -> str:
        where = f"message {self.message + 1} ({self.role}): its" if self.message >= 0 else "the list of"
        return f"{where} {self.part.replace('_', ' ')}: {self.characters} characters that the template leaves out."


def dropped_from_answer(index: int, message: Message, written: str) -> list[Dropped]:
    """What of the assistant's message is missing in `written`, the text that is learned for it."""
    counts = {
        "content": num_missing(message.content, written),
        "reasoning": num_missing(message.reasoning or "", written),
        "tool_calls": sum(_num_missing_of_call(call, written) for call in message.tool_calls),
    }
    return [Dropped(index, message.role, part, count) for part, count in counts.items() if count]  # type: ignore[arg-type]


def dropped_from_prompt(messages: Sequence[Message], tools: Sequence[dict[str, Any]], written: str) -> list[Dropped]:
    """What the model is never shown of the system's, user's and tools' messages, and of the list of tools."""
    others = [(index, message) for index, message in enumerate(messages) if message.role != "assistant"]
    counts = [(index, message, num_missing(message.content, written)) for index, message in others]
    dropped = [Dropped(index, message.role, "content", count) for index, message, count in counts if count]
    names = [str(tool.get("function", tool).get("name", "")) for tool in tools]
    num_tools = sum(len(json.dumps(tool)) for tool, name in zip(tools, names, strict=True) if name not in written)
    return [*dropped, Dropped(-1, "tools", "tools", num_tools)] if num_tools else dropped


def num_missing(said: str, written: str) -> int:
    """Characters of the words and signs in `said` that do not stand in `written`, in their order. White space does not count."""
    said = said.strip()
    if said in written or json.dumps(said, ensure_ascii=False)[1:-1] in written:
        return 0
    words = WORD.findall(said)
    blocks = SequenceMatcher(None, words, WORD.findall(written), autojunk=False).get_matching_blocks()
    return sum(map(len, words)) - sum(len(word) for block in blocks for word in words[block.a : block.a + block.size])


def _num_missing_of_call(call: dict[str, Any], written: str) -> int:
    function = call.get("function", call)
    name, arguments = str(function.get("name", "")), function.get("arguments", "")
    if name not in written:
        return len(name) + len(arguments if isinstance(arguments, str) else json.dumps(arguments))
    return sum(num_missing(leaf, written) for leaf in _leaves(arguments))


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
