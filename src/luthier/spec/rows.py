"""The kinds of row that a file can hold once it is checked. A method names the kind it learns from.

None of them can contain itself, so the garbage collector need not look at them (`gc=False`): a million rows load in half the time.
"""

from typing import Any

import msgspec


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where a row stands, for messages: `train.jsonl:417`."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Message(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """One turn. `weight` is the factor on an assistant turn's loss (0 = read, not learned)."""

    role: str
    content: str = ""
    reasoning: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    weight: float = 1.0


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """Turns, the last of which is the assistant's, and the tools it may call (JSON schema, OpenAI's shape)."""

    messages: tuple[Message, ...]
    origin: Origin
    tools: tuple[dict[str, Any], ...] = ()


class Document(msgspec.Struct, frozen=True, gc=False):
    """Raw text, every token of which is learned."""

    text: str
    origin: Origin


class Skipped(msgspec.Struct, frozen=True):
    """A stretch of a file that is no row and is left out: counted and named where the rows are, never silently."""

    why: str
    origin: Origin


Row = Conversation | Document
