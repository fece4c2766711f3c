"""What OpenAI looks at in a row of a fine-tuning file, and its words for what is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Fields = Mapping[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
CHAT_KEYS = ("messages", "tools", "parallel_tool_calls", "functions")
COMPLETION_KEYS = ("prompt", "completion")
PREFERENCE_KEYS = ("input", "preferred_output", "non_preferred_output")
INPUT_KEYS = ("messages", "tools", "parallel_tool_calls")
MESSAGE_KEYS = ("role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal", "audio")
"""Keys that OpenAI knows; any other is an error there."""


@dataclass(frozen=True)
class Fault:
    """`code`: OpenAI's, for a training file. `text`: the sentence after "Invalid file format."; `line` is counted from 1."""

    code: str
    text: str
    line: int


def _missing(number: int, key: str, line: int, quote: str = '"') -> Fault:
    dot = "." if quote == '"' else ""
    return Fault("invalid_training_file", f"Example {number} is missing key {quote}{key}{quote}{dot}", line)


def _extra(fields: Fields, known: tuple[str, ...], where: str, line: int) -> Fault | None:
    extra = next((key for key in fields if key not in known), None)
    return None if extra is None else Fault("invalid_file_format", f'{where} contains an extra "{extra}".', line)


def chat_fault(fields: Fields, number: int, line: int) -> Fault | None:
    if "messages" not in fields:
        return _missing(number, "messages", line)
    if fault := _extra(fields, CHAT_KEYS, f"Example {number}", line) or _turns_fault(fields["messages"], number, line):
        return fault
    if all(turn.get("role") != "assistant" for turn in fields["messages"]):
        text = f'Line {line}, key "messages": At least one message must be from the assistant.'
        return Fault("invalid_training_file", text, line)
    return None


def completion_fault(fields: Fields, number: int, line: int) -> Fault | None:
    for key in COMPLETION_KEYS:
        if key not in fields:
            return _missing(number, key, line)
    return _extra(fields, COMPLETION_KEYS, f"Example {number}", line)


def preference_fault(fields: Fields, number: int, line: int) -> Fault | None:
    for key in PREFERENCE_KEYS:
        if key not in fields:
            return _missing(number, key, line, "'")
    if fault := _extra(fields, PREFERENCE_KEYS, f"Example {number}", line):
        return fault
    asked = fields["input"]
    if not isinstance(asked, dict) or "messages" not in asked:
        return _missing(number, "input.messages", line, "'")
    if fault := _extra(asked, INPUT_KEYS, f"Example {number}, input", line) or _turns_fault(asked["messages"], number, line):
        return fault
    for key in PREFERENCE_KEYS[1:]:
        given = fields[key]
        if not isinstance(given, list) or len(given) != 1 or not isinstance(given[0], dict) or given[0].get("role") != "assistant":
            text = f"Example {number}, key '{key}': It must be a list of exactly one message from the assistant."
            return Fault("invalid_training_file", text, line)
        if fault := _turns_fault(given, number, line):
            return fault
    return None


def task_fault(fields: Fields, number: int, line: int) -> Fault | None:
    if "messages" not in fields:
        return _missing(number, "messages", line)
    if fault := _turns_fault(fields["messages"], number, line):
        return fault
    if fields["messages"][-1]["role"] != "user":
        text = f'Line {line}, key "messages": The last message must be from the user.'
        return Fault("invalid_training_file", text, line)
    return None


def _turns_fault(turns: Any, number: int, line: int) -> Fault | None:
    if not isinstance(turns, list) or not turns:
        text = f'Line {line}, key "messages": It must be a list of at least one message.'
        return Fault("invalid_training_file", text, line)
    return next(
        (fault for i, turn in enumerate(turns, start=1) if (fault := _turn_fault(turn, f"Example {number}, message {i}", line))), None
    )


def _turn_fault(turn: Any, where: str, line: int) -> Fault | None:
    def fault(text: str) -> Fault:
        return Fault("invalid_training_file", f"{where} {text}", line)

    if not isinstance(turn, dict):
        return fault("Input should be an object")
    if "role" not in turn:
        return fault("Discriminator 'role' is missing in value")
    role, content, weight = turn["role"], turn.get("content"), turn.get("weight")
    if role not in ROLES:
        expected = ", ".join(f"'{known}'" for known in ROLES)
        return fault(f"Input tag '{role}' found using 'role' does not match any of the expected tags: {expected}")
    known = MESSAGE_KEYS if role == "assistant" else tuple(key for key in MESSAGE_KEYS if key != "weight")
    if extra := _extra(turn, known, where, line):
        return extra
    if not isinstance(content, str | list | None):
        return fault("Input should be a string or a list of parts - 'content'")
    if content is None and (role != "assistant" or not any(turn.get(key) for key in ("tool_calls", "function_call", "refusal"))):
        return fault("Field required - 'content'")
    if weight is not None and (isinstance(weight, bool) or weight not in (0, 1)):
        return fault("Input should be 0 or 1 - 'weight'")
    return None
