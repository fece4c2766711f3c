"""OpenAI's chat rows: `{"messages": [{"role": "user", "content": "…"}, …], "tools": […]}`, one per line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from luthier.data import jsonl
from luthier.data.messages import RENAMED_ROLES, message, tools
from luthier.data.sample import Sample
from luthier.spec.rows import Conversation, Message, Origin

DESCRIPTION = "rows with `messages`, as OpenAI's"


class _Plain(msgspec.Struct):
    """The rows that most files consist of, decoded straight into their final shape. Any other takes the slower way below."""

    messages: tuple[Message, ...]
    tools: None = None
    functions: None = None


_decode = msgspec.json.Decoder(_Plain).decode


def sniff(sample: Sample) -> float:
    return 0.0 if sample.share("messages", "label") or sample.share("messages", "rejected") else sample.share("messages")


def mapping(sample: Sample) -> str:
    tools = next((f", `{key}` → the tools it may call" for key in ("tools", "functions") if sample.share(key)), "")
    return f"`messages` → the conversation{tools}"


def read(path: Path) -> Iterator[Conversation]:
    for origin, line in jsonl.lines(path):
        yield _plain(line, origin) or _any(jsonl.fields(line, origin), origin)


def _plain(line: bytes, origin: Origin) -> Conversation | None:
    try:
        row = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # not plain; the slower way reads it or says what is wrong
    for turn in row.messages:
        if not turn.content or turn.tool_calls or turn.role in RENAMED_ROLES or (turn.weight != 1.0 and turn.role != "assistant"):
            return None
    return Conversation(row.messages, origin)


def _any(fields: dict[str, Any], origin: Origin) -> Conversation:
    if "messages" not in fields:
        raise jsonl.missing(origin, ["messages"], fields, "chat")
    turns = fields["messages"]
    if not isinstance(turns, list):
        raise jsonl.wrong(origin, "`messages`", turns, "it must be a list of messages")
    messages = tuple(message(turn, origin, i) for i, turn in enumerate(turns, start=1))
    return Conversation(_answered(messages), origin, tools(fields, origin))


def _answered(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Results of the older function calls point to the call that they answer, which has no id of its own."""
    linked: list[Message] = []
    last_call: str | None = None
    for turn in messages:
        if turn.tool_calls:
            last_call = turn.tool_calls[-1].get("id")
        unlinked = turn.role == "tool" and turn.tool_call_id is None
        linked.append(msgspec.structs.replace(turn, tool_call_id=last_call) if unlinked else turn)
    return tuple(linked)
