"""Tool calls in what a model wrote: which way its template writes them, found by rendering one, and an answer as words and calls."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.text.dialects import DIALECTS, Call, Dialect, Schemas

FAULTS_OF_CALLS = (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError)
"""What reading a malformed call can raise: a model wrote it."""


@dataclass(frozen=True)
class Written:
    """An answer: its words, and its calls in the shape of chat completions."""

    content: str
    tool_calls: tuple[dict[str, Any], ...] = ()


def read(text: str, dialect: Dialect, tools: Sequence[dict[str, Any]]) -> Written:
    """What is said and what is called. A call that is malformed stays among the words, as it was written.

    Args:
        text: with the marks of calls in it, special tokens or not. tools: those that may be called; their schemas say what `5` is.
    """
    schemas, calls, words, at = schemas_of(tools), list[Call](), list[str](), 0
    for found in dialect.block.finditer(text):
        try:
            calls += dialect.calls(found, schemas)
        except FAULTS_OF_CALLS:
            continue
        words.append(text[at : found.start()])
        at = found.end()
    content = "".join([*words, text[at:]]).strip()
    return Written(content, tuple(_completion(number, call) for number, call in enumerate(calls)))


def _completion(number: int, call: Call) -> dict[str, Any]:
    """`id`: nine letters and digits, as the templates that look at it want."""
    name, arguments = call
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"id": f"call{number:05d}", "type": "function", "function": function}


def schemas_of(tools: Sequence[dict[str, Any]]) -> Schemas:
    """The parameters of each tool by name, whether it is OpenAI's shape or the function alone."""
    functions = [tool.get("function", tool) for tool in tools]
    return {str(function["name"]): function.get("parameters") or {} for function in functions if "name" in function}


PROBE_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks up.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Where."}, "days": {"type": "integer", "description": "How many."}},
            "required": ["city"],
        },
    },
}
PROBE_ARGUMENTS = {"city": "New York", "days": 2}
PROBE_CALL: dict[str, Any] = {
    "id": "call00000",
    "type": "function",
    "function": {"name": "look_up", "arguments": json.dumps(PROBE_ARGUMENTS)},
}


def dialect_of(rendered: str) -> Dialect | None:
    """The way in which `PROBE_CALL` was written in a rendered answer; None where it cannot be read back."""
    for dialect in DIALECTS:
        found = read(rendered, dialect, [PROBE_TOOL]).tool_calls
        if (
            len(found) == 1
            and found[0]["function"]["name"] == "look_up"
            and json.loads(found[0]["function"]["arguments"]) == PROBE_ARGUMENTS
        ):
            return dialect
    return None
