"""How models write tool calls: one `Dialect` for each way that published chat templates know, and how its arguments are read."""

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Schemas = Mapping[str, Mapping[str, Any]]
"""Of each tool by name the JSON schema of its parameters."""

Call = tuple[str, dict[str, Any]]
"""A tool's name and its arguments."""

NAME = r"[\w.-]+"


@dataclass(frozen=True)
class Dialect:
    """`block`: finds a stretch of text with calls in it. `calls`: reads one; raises `ValueError`, or its like, where it is malformed.

    `begin`, `end`: what opens and closes a stretch, or a call, as a template writes it.
    """

    name: str
    begin: str
    end: str
    block: re.Pattern[str]
    calls: Callable[[re.Match[str], Schemas], list[Call]]


def _object(value: Any) -> Call:
    """`{"name": …, "arguments": …}`, or `parameters`, as Llama says."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError("no call")
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = json.loads(arguments or "{}")
    if not isinstance(arguments, dict):
        raise ValueError("its arguments are no object")
    return value["name"], arguments


def _json(found: re.Match[str], schemas: Schemas) -> list[Call]:
    """One call, or a list of them."""
    value = json.loads(found[1])
    return [_object(item) for item in value] if isinstance(value, list) else [_object(value)]


def _bare(found: re.Match[str], schemas: Schemas) -> list[Call]:
    """Objects one after the other, with nothing around them; only those of tools that there are, because any answer may be JSON."""
    decoder, text, at = json.JSONDecoder(), found[1].strip(), 0
    calls: list[Call] = []
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        calls.append(_object(value))
        at += len(text[at:]) - len(text[at:].lstrip(" \n;"))
    if any(name not in schemas for name, _ in calls):
        raise ValueError("no such tool")
    return calls


def _named(found: re.Match[str], schemas: Schemas) -> list[Call]:
    """The name (group 1) and then an object (group 2)."""
    return [_object({"name": found[1], "arguments": found[2]})]


def _each(pattern: str) -> Callable[[re.Match[str], Schemas], list[Call]]:
    """Several within a block, each a name and then an object."""
    one = re.compile(pattern, re.DOTALL)

    def calls(found: re.Match[str], schemas: Schemas) -> list[Call]:
        read = [call for each in one.finditer(found[1]) for call in _named(each, schemas)]
        if not read:
            raise ValueError("no call")
        return read

    return calls


def _tagged(call: str, parameter: str) -> Callable[[re.Match[str], Schemas], list[Call]]:
    """Parameters one by one, as text: a name (group 1) and a value (group 2) within `call`'s name (group 1) and body (group 2)."""
    of_call, of_parameter = re.compile(call, re.DOTALL), re.compile(parameter, re.DOTALL)

    def calls(found: re.Match[str], schemas: Schemas) -> list[Call]:
        read = []
        for each in of_call.finditer(found[1]):
            declared = schemas.get(each[1], {}).get("properties", {})
            arguments = {key: typed(text, declared.get(key)) for key, text in of_parameter.findall(each[2])}
            read.append((each[1], arguments))
        if not read:
            raise ValueError("no call")
        return read

    return calls


WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}


def typed(text: str, schema: Any) -> Any:
    """A value that was written as plain text, as its schema says; where there is none, or it does not fit, as JSON if it is some."""
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if kind == "string":
        return text
    if text.strip() in WORDS:
        return WORDS[text.strip()]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _python(found: re.Match[str], schemas: Schemas) -> list[Call]:
    """`[f(a="x", b=2), g()]`."""
    tree = ast.parse(found[1].strip(), mode="eval").body
    elements = tree.elts if isinstance(tree, ast.List) else [tree]
    return [_of_python(element) for element in elements]


def _of_python(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or node.args or any(keyword.arg is None for keyword in node.keywords):
        raise ValueError("no call")
    return ast.unparse(node.func), {str(keyword.arg): _value(keyword.value) for keyword in node.keywords}


def _value(node: ast.expr) -> Any:
    """A literal, of Python or of JSON."""
    match node:
        case ast.Name() if node.id in WORDS:
            return WORDS[node.id]
        case ast.List():
            return [_value(item) for item in node.elts]
        case ast.Dict():
            return {_value(key): _value(item) for key, item in zip(node.keys, node.values, strict=True) if key is not None}
    return ast.literal_eval(node)


QUOTE = '<|"|>'


def _gemma(found: re.Match[str], schemas: Schemas) -> list[Call]:
    """`call:f{a:<|"|>x<|"|>,b:2}`: texts between quotes of their own, keys without."""
    value, end = _gemma_value(found[2], 0)
    if not isinstance(value, dict) or end != len(found[2]):
        raise ValueError("no object")
    return [(found[1], value)]


def _gemma_value(text: str, at: int) -> tuple[Any, int]:
    """A value that begins at `at`, and where it ends."""
    if text.startswith(QUOTE, at):
        end = text.index(QUOTE, at + len(QUOTE))
        return text[at + len(QUOTE) : end], end + len(QUOTE)
    if text.startswith(("{", "["), at):
        return _gemma_group(text, at)
    end = next((place for place in range(at, len(text)) if text[place] in ",]}"), len(text))
    return typed(text[at:end], None), end


def _gemma_group(text: str, at: int) -> tuple[Any, int]:
    closing, pairs = ("}", True) if text[at] == "{" else ("]", False)
    group: list[Any] = []
    at += 1
    while not text.startswith(closing, at):
        key = None
        if pairs:
            colon = text.index(":", at)
            key, at = text[at:colon].replace(QUOTE, ""), colon + 1
        value, at = _gemma_value(text, at)
        group.append((key, value) if pairs else value)
        at += text.startswith(",", at)
        if at >= len(text):
            raise ValueError("not closed")
    return dict(group) if pairs else group, at + 1


def _block(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


TAGGED = _block(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)")

DIALECTS: Sequence[Dialect] = (
    Dialect("json", "<tool_call>\n", "\n</tool_call>", TAGGED, _json),  # Hermes, Qwen 2.5 and 3, our plain template
    Dialect(
        "functions",  # Qwen 3.5, Nemotron 3
        "<tool_call>\n<function=",
        "</function>\n</tool_call>",
        TAGGED,
        _tagged(rf"<function=({NAME})>(.*?)(?:</function>|\Z)", rf"<parameter=({NAME})>\n?(.*?)\n?</parameter>"),
    ),
    Dialect(
        "keys and values",  # GLM 4
        "<tool_call>",
        "</tool_call>",
        TAGGED,
        _tagged(rf"\A({NAME})(.*)\Z", r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>"),
    ),
    Dialect(
        "list",  # Mistral
        "[TOOL_CALLS]",
        "]",
        _block(r"\[TOOL_CALLS\]\s*(\[.*\])"),
        _json,
    ),
    Dialect(
        "named",  # Mistral since 2025
        "[TOOL_CALLS]",
        "}",
        _block(rf"\[TOOL_CALLS\]\s*({NAME})(?:\[CALL_ID\]\w+)?\[ARGS\]\s*(\{{.*?\}})\s*(?=\[TOOL_CALLS\]|<|\Z)"),
        _named,
    ),
    Dialect(
        "fenced",  # DeepSeek V3, R1
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        _block(r"<｜tool▁calls▁begin｜>(.*?)(?:<｜tool▁calls▁end｜>|\Z)"),
        _each(rf"<｜tool▁sep｜>({NAME})\s*```json\s*(.*?)\s*```"),
    ),
    Dialect(
        "separated",  # DeepSeek V3.1
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁end｜>",
        _block(r"<｜tool▁calls▁begin｜>(.*?)(?:<｜tool▁calls▁end｜>|\Z)"),
        _each(rf"<｜tool▁call▁begin｜>({NAME})<｜tool▁sep｜>\s*(.*?)\s*<｜tool▁call▁end｜>"),
    ),
    Dialect("gemma", "<|tool_call>call:", "<tool_call|>", _block(rf"<\|tool_call>call:({NAME})(\{{.*?\}})(?:<tool_call\|>|\Z)"), _gemma),
    Dialect(
        "python",  # LFM 2
        "<|tool_call_start|>[",
        "]<|tool_call_end|>",
        _block(r"<\|tool_call_start\|>(.*?)(?:<\|tool_call_end\|>|\Z)"),
        _python,
    ),
    Dialect(
        "channels",  # gpt-oss
        "<|channel|>commentary to=functions.",
        "<|call|>",
        _block(
            rf"(?:<\|start\|>assistant)?(?:<\|channel\|>commentary)?\s*to=functions\.({NAME})(?:<\|channel\|>commentary)?\s*"
            r"(?:<\|constrain\|>)?\s*(?:json)?\s*<\|message\|>(.*?)(?:<\|call\|>|\Z)"
        ),
        _named,
    ),
    Dialect(
        "invocations",  # Muse
        "<atem:function_calls>\n",
        "\n</atem:function_calls>",
        _block(rf"(?:(?:<\|start\|>assistant)?\s*to={NAME}<\|message\|>)?<atem:function_calls>(.*?)(?:</atem:function_calls>|\Z)"),
        _tagged(rf'<atem:invoke name="({NAME})">(.*?)(?:</atem:invoke>|\Z)', rf'<atem:parameter name="({NAME})">(.*?)</atem:parameter>'),
    ),
    Dialect("marked", "<|call|>", "", _block(r"<\|call\|>\s*(\{.*?\})\s*(?=<\||\Z)"), _json),  # the starter
    Dialect("bare", '{"name": "', "}", _block(r"\A\s*(?:<\|python_tag\|>)?\s*(\{.*\})\s*\Z"), _bare),  # Llama 3
)
"""The likelier first, where a text could be read in two ways."""
