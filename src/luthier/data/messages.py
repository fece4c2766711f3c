"""Messages in OpenAI's JSON as `Message`s: roles by their other names, content in parts, the older function calls."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from luthier.data.jsonl import shown, wrong
from luthier.errors import DataError
from luthier.spec.nearest import nearest
from luthier.spec.rows import Message, Origin

Fields = Mapping[str, Any]

RENAMED_ROLES = {"developer": "system", "function": "tool"}
"""Roles of the API's other generations, read as ours."""

KEYS = {
    "role",
    "content",
    "weight",
    "loss_weight",
    "name",
    "tool_calls",
    "tool_call_id",
    "function_call",
    "reasoning",
    "reasoning_content",
    "thinking",
    "refusal",
}

PARTS = {
    "image_url": "an image",
    "input_image": "an image",
    "image": "an image",
    "input_audio": "sound",
    "audio": "sound",
    "video": "a video",
    "file": "a file",
}
"""Parts of content that are no text, by their type."""

SILENT_KEYS = {"audio", "annotations", "id", "object", "status", "created", "timestamp", "metadata"}
"""Keys in the answers of APIs that say nothing about the text."""


def message(fields: Any, origin: Origin, number: int, within: str = "") -> Message:
    """One message.

    Args:
        number: its place in the row, counted from 1, for messages. within: such as ` of `chosen``, where a row has several lists of them.
    Raises:
        DataError: a field of the wrong kind, a part that is not text, or a key that looks misspelt.
    """
    if isinstance(fields, dict) and len(fields) == 2:  # most are no more than that
        role, content = fields.get("role"), fields.get("content")
        if isinstance(role, str) and isinstance(content, str):
            return Message(RENAMED_ROLES.get(role, role), content)
    where = f"message {number}{within}"
    if not isinstance(fields, dict):
        raise wrong(origin, where, fields, 'it must be an object such as {"role": "user", "content": "…"}')
    _refuse_misspelt(fields, origin, where)
    role = fields.get("role")
    if not isinstance(role, str):
        raise _no_role(fields, origin, where)
    if "content" not in fields and role != "assistant":
        raise DataError(f"{origin}: {where} (role {shown(role)}) has no `content`; add it.")
    return Message(
        role=RENAMED_ROLES.get(role, role),
        content=_content(fields, origin, where),
        reasoning=_text_of(fields, ("reasoning", "reasoning_content", "thinking"), origin, where),
        tool_calls=_tool_calls(fields, origin, where, number),
        tool_call_id=_text_of(fields, ("tool_call_id",), origin, where),
        name=_text_of(fields, ("name",), origin, where),
        weight=_weight(fields, origin, where),
    )


def linked(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Results without an id (of the older function calls, of ShareGPT) point to the call that they answer: calls are answered in order."""
    found: list[Message] = []
    calls: list[Any] = []
    for turn in messages:
        if turn.tool_calls:
            calls = [call.get("id") for call in turn.tool_calls]
        if turn.role == "tool" and turn.tool_call_id is None and calls:
            turn = msgspec.structs.replace(turn, tool_call_id=calls.pop(0) if len(calls) > 1 else calls[0])
        found.append(turn)
    return tuple(found)


def tools(fields: Fields, origin: Origin) -> tuple[dict[str, Any], ...]:
    """The tools of a row, from `tools` or the older `functions`.

    Raises:
        DataError: a list of something other than functions.
    """
    if not fields.get("tools") and not fields.get("functions"):
        return ()
    older = _listing(fields.get("functions")) or []
    given = _listing(fields.get("tools")) or (
        [{"type": "function", "function": entry} for entry in older] if isinstance(older, list) else older
    )
    if not isinstance(given, list):
        raise wrong(origin, "`tools`", given, "it must be a list of tools in OpenAI's shape")
    return tuple(_tool(entry, origin, i) for i, entry in enumerate(given, start=1))


def _listing(given: Any) -> Any:
    """Tools as a list, which some files hold as JSON text."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given or "[]")
    except (ValueError, RecursionError):
        return given


def _tool(entry: Any, origin: Origin, number: int) -> dict[str, Any]:
    function = entry.get("function", entry) if isinstance(entry, dict) else None  # some files leave the wrapping out
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        shape = '{"type": "function", "function": {"name": …, "parameters": …}}'
        raise wrong(origin, f"tool {number}", entry, f"it must be an object such as {shape}")
    return dict(entry) if "function" in entry else {"type": "function", "function": function}


def _refuse_misspelt(fields: Fields, origin: Origin, where: str) -> None:
    for key in fields.keys() - KEYS - SILENT_KEYS:
        if meant := next((known for known in KEYS if known in key.split("_")), None) or nearest(key, KEYS):
            raise DataError(f"{origin}: {where} has `{key}`, which is not a field of messages. Did you mean `{meant}`?")


def _no_role(fields: Fields, origin: Origin, where: str) -> DataError:
    if "from" in fields:
        return DataError(f'{origin}: {where} has `from` and `value`; write {{"role": "user", "content": "…"}} instead.')
    if "role" in fields:
        return wrong(origin, f"`role` of {where}", fields["role"], "it must be system, user, assistant or tool")
    return DataError(f"{origin}: {where} has no `role`; add system, user, assistant or tool.")


def _content(fields: Fields, origin: Origin, where: str) -> str:
    content = fields.get("content")
    if isinstance(content, str):
        return content
    if content is None:
        return _text_of(fields, ("refusal",), origin, where) or ""
    if isinstance(content, list):
        return "".join(_part(part, origin, where) for part in content)
    raise wrong(origin, f"`content` of {where}", content, "it must be text in quotes")


def _part(part: Any, origin: Origin, where: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal", "input_text", "output_text"):
        value = part.get("refusal" if kind == "refusal" else "text", part.get("value"))
        if isinstance(value, str):
            return value
        raise wrong(origin, f"a part of {where}", part, 'a text part must be {"type": "text", "text": "…"}')
    if isinstance(kind, str):
        what = PARTS.get(kind, f"a part of type {shown(kind)}")
        raise DataError(f"{origin}: {where} has {what}, and only text can be learned. Remove the part or the row.")
    raise wrong(origin, f"a part of {where}", part, 'it must be an object such as {"type": "text", "text": "…"}')


def _text_of(fields: Fields, keys: tuple[str, ...], origin: Origin, where: str) -> str | None:
    """The first of some optional texts that is there."""
    for key in keys:
        value = fields.get(key)
        if isinstance(value, str):
            return value
        if value is not None:
            raise wrong(origin, f"`{key}` of {where}", value, "it must be text in quotes")
    return None


def _weight(fields: Fields, origin: Origin, where: str) -> float:
    weight = fields.get("weight", fields.get("loss_weight"))
    if weight is None:
        return 1.0
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise wrong(origin, f"`weight` of {where}", weight, "it must be a number, 0 for not learned and 1 for learned")
    if fields.get("role") != "assistant" and weight not in (0, 1):
        raise wrong(origin, f"`weight` of {where}", weight, "only what the assistant wrote is learned, so it has no effect here: remove it")
    return float(weight)


def _tool_calls(fields: Fields, origin: Origin, where: str, number: int) -> tuple[dict[str, Any], ...]:
    if legacy := fields.get("function_call"):
        return (_call({"id": f"call_{number}", "type": "function", "function": legacy}, origin, where),)
    calls = fields.get("tool_calls") or []
    if not isinstance(calls, list):
        raise wrong(origin, f"`tool_calls` of {where}", calls, "it must be a list")
    return tuple(_call(call, origin, where) for call in calls)


def _call(call: Any, origin: Origin, where: str) -> dict[str, Any]:
    """A call in OpenAI's shape, `arguments` as JSON text whichever way they were given."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        shape = '{"id": …, "type": "function", "function": {"name": …, "arguments": "{…}"}}'
        raise wrong(origin, f"a tool call of {where}", call, f"it must be an object such as {shape}")
    arguments = function.get("arguments", "{}")
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    if not isinstance(arguments, str) or not _is_object(arguments):
        raise wrong(origin, f"`arguments` of the call to {function['name']} in {where}", arguments, "they must be a JSON object, as text")
    return {**call, "type": "function", "function": {**function, "arguments": arguments}}


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except ValueError:
        return False
