"""What a conversation must have to be rendered, and messages as the dicts that chat templates read."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

Mark = Callable[[Any], Any]


class Message(Protocol):
    """One turn, as `data.rows.Message` has it."""

    @property
    def role(self) -> str: ...
    @property
    def content(self) -> str: ...
    @property
    def reasoning(self) -> str | None: ...
    @property
    def tool_calls(self) -> Sequence[dict[str, Any]]: ...
    @property
    def tool_call_id(self) -> str | None: ...
    @property
    def name(self) -> str | None: ...
    @property
    def weight(self) -> float: ...


class Conversation(Protocol):
    """One row, as `data.rows.Conversation` has it. `origin` prints as file and line."""

    @property
    def messages(self) -> Sequence[Message]: ...
    @property
    def tools(self) -> Sequence[dict[str, Any]]: ...
    @property
    def origin(self) -> object: ...


class Arguments(dict[str, Any]):
    """A tool call's arguments. Most templates want an object here; where one adds it to a string (DeepSeek), it is the JSON it came as."""

    def __init__(self, value: dict[str, Any], text: str) -> None:
        super().__init__(value)
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __add__(self, other: str) -> str:
        return self._text + other

    def __radd__(self, other: str) -> str:
        return other + self._text


def as_dict(message: Message, mark: Mark, in_parts: bool) -> dict[str, Any]:
    """One message, each text in it through `mark`. What a message does not have has no key.

    `in_parts`: content as a list of parts, as templates of models that see images want it.
    """
    content = mark(message.content)
    entry = {"role": mark(message.role), "content": [{"type": "text", "text": content}] if in_parts else content}
    if message.reasoning is not None:
        entry["reasoning_content"] = entry["thinking"] = mark(message.reasoning)  # templates look for either
    if message.tool_calls:
        entry["tool_calls"] = [_call(call, mark) for call in message.tool_calls]
    for key in ("tool_call_id", "name"):
        if (value := getattr(message, key)) is not None:
            entry[key] = mark(value)
    return entry


def _call(call: dict[str, Any], mark: Mark) -> dict[str, Any]:
    """OpenAI's shape, whose arguments are a string of JSON."""
    function = call.get("function", call)
    rest = {key: value for key, value in call.items() if key not in ("function", "name", "arguments")}
    return {"type": "function", **mark(rest), "function": {**mark(function), "arguments": _arguments(function.get("arguments", {}), mark)}}


def _arguments(value: Any, mark: Mark) -> Any:
    if isinstance(value, dict):
        return Arguments(mark(value), mark(json.dumps(value, ensure_ascii=False)))
    try:
        parsed = json.loads(value or "{}")
    except (TypeError, ValueError):
        return mark(value)
    return Arguments(mark(parsed), mark(value)) if isinstance(parsed, dict) else mark(value)
