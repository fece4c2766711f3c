"""Tool calls are read as the model's own template writes them, whichever way that is."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.spec.rows import Conversation, Message, Origin
from luthier.text.dialects import DIALECTS, typed
from luthier.text.plain import PLAIN
from luthier.text.renderer import Renderer
from luthier.text.tokenizer import Tokenizer
from luthier.text.tool_calls import Written, read

TYPES = {"city": "string", "days": "integer", "share": "number", "exact": "boolean", "stops": "array", "window": "object"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Says something.",
            "parameters": {
                "type": "object",
                "properties": {key: {"type": kind, "description": f"The {key}."} for key, kind in TYPES.items()},
                "required": ["city"],
            },
        },
    }
    for name in ("forecast", "travel")
]
RICH = {"city": "New York", "days": 3, "share": 0.5, "exact": True, "stops": ["Bonn", "Köln"], "window": {"from": 1, "to": 2}}


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": "call00000", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def called(found: Written) -> list[tuple[str, Any]]:
    return [(each["function"]["name"], json.loads(each["function"]["arguments"])) for each in found.tool_calls]


def read_as(name: str, text: str) -> Written:
    return read(text, next(dialect for dialect in DIALECTS if dialect.name == name), TOOLS)


SAMPLES = {
    "json": 'Let me see.\n<tool_call>\n{"name": "forecast", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>',
    "functions": "Let me see.\n<tool_call>\n<function=forecast>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n2\n</parameter>\n"
    "</function>\n</tool_call>",
    "keys and values": "Let me see.\n<tool_call>forecast\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n<arg_key>days</arg_key>\n"
    "<arg_value>2</arg_value>\n</tool_call>",
    "list": 'Let me see.[TOOL_CALLS] [{"name": "forecast", "arguments": {"city": "Oslo", "days": 2}}]',
    "named": 'Let me see.[TOOL_CALLS]forecast[ARGS]{"city": "Oslo", "days": 2}',
    "fenced": "Let me see.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>forecast\n```json\n"
    '{"city": "Oslo", "days": 2}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "separated": "Let me see.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>forecast<｜tool▁sep｜>"
    '{"city": "Oslo", "days": 2}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "gemma": 'Let me see.<|tool_call>call:forecast{city:<|"|>Oslo<|"|>,days:2}<tool_call|>',
    "python": 'Let me see.<|tool_call_start|>[forecast(city="Oslo", days=2)]<|tool_call_end|>',
    "channels": 'Let me see.<|start|>assistant<|channel|>commentary to=functions.forecast <|constrain|>json<|message|>{"city": "Oslo", '
    '"days": 2}<|call|>',
    "invocations": 'Let me see.<atem:function_calls>\n<atem:invoke name="forecast">\n<atem:parameter name="city">Oslo</atem:parameter>\n'
    '<atem:parameter name="days">2</atem:parameter>\n</atem:invoke>\n</atem:function_calls>',
    "marked": 'Let me see.<|call|>{"name": "forecast", "arguments": {"city": "Oslo", "days": 2}}',
    "bare": '<|python_tag|>{"name": "forecast", "parameters": {"city": "Oslo", "days": 2}}',
}


@pytest.mark.parametrize("name", [dialect.name for dialect in DIALECTS])
def test_words_and_calls_are_told_apart(name: str):
    found = read_as(name, SAMPLES[name])
    assert found.content == ("" if name == "bare" else "Let me see.")
    assert called(found) == [("forecast", {"city": "Oslo", "days": 2})]
    assert found.tool_calls[0]["id"] == "call00000" and found.tool_calls[0]["type"] == "function"


@pytest.mark.parametrize("name", [dialect.name for dialect in DIALECTS])
@pytest.mark.parametrize("text", ["", "Hello.", "{", '{"name": 3}', "<tool_call>", "forecast()"])
def test_what_is_no_call_stays_as_it_was_written(name: str, text: str):
    assert read_as(name, text) == Written(text)


@pytest.mark.parametrize("name", [dialect.name for dialect in DIALECTS])
def test_a_call_that_is_cut_or_garbled_never_raises(name: str):
    sample = SAMPLES[name]
    for end in range(len(sample)):
        assert len(read_as(name, sample[:end]).tool_calls) <= 1
        assert len(read_as(name, sample[:end] + "}" + sample[end:]).tool_calls) <= 1


def test_several_calls_are_numbered():
    text = "\n".join('<tool_call>{"name": "travel", "arguments": {"days": %d}}</tool_call>' % days for days in (1, 2))  # noqa: UP031
    found = read_as("json", text)
    assert called(found) == [("travel", {"days": 1}), ("travel", {"days": 2})]
    assert [each["id"] for each in found.tool_calls] == ["call00000", "call00001"]


def test_any_other_json_is_an_answer():
    """Llama's calls have nothing around them: only the names of tools tell them from an answer in JSON."""
    assert called(read_as("bare", '{"name": "forecast", "parameters": {}}')) == [("forecast", {})]
    assert read_as("bare", '{"name": "Anna", "parameters": {}}').tool_calls == ()


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("12", {"type": "string"}, "12"),
        ("12", {"type": "integer"}, 12),
        ("True", {"type": "boolean"}, True),
        ("None", None, None),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ("12", None, 12),
        ("a, b", None, "a, b"),
        ("12 or so", {"type": "integer"}, "12 or so"),
    ],
)
def test_values_written_as_text_are_what_their_schema_says(text: str, schema: Any, value: Any):
    assert typed(text, schema) == value


KNOWN = {
    **dict.fromkeys(("qwen2_5", "qwen3", "qwen3_instruct_2507", "qwen3_vl"), "json"),
    **dict.fromkeys(("qwen3_5_nothink", "qwen3_5_think", "qwen3_6", "qwen3_8"), "functions"),
    **dict.fromkeys(("nemotron_3_5_lightning", "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra"), "functions"),
    **dict.fromkeys(("gemma4", "gemma4_v2", "gemma4_v3", "gemma4_v4", "gemma4_v5", "diffusion_gemma"), "gemma"),
    **dict.fromkeys(("lfm2_v2", "lfm2_2_5", "lfm2_2_5_v2", "lfm2_2_5_vl"), "python"),
    "deepseekv3": "fenced",
    **dict.fromkeys(("llama3_1", "llama3_2"), "bare"),
    "glm4moe": "keys and values",
    "gptoss": "channels",
    "muse_glimmer": "invocations",
}
ONE_AT_A_TIME = {"llama3_1", "llama3_2", "gptoss"}
UNQUOTED = {"lfm2_2_5", "lfm2_2_5_v2"}
"""Templates that write a text between quotes as it stands, whatever is in it."""

Make = Callable[[str], Tokenizer]


def learned(renderer: Renderer, answer: Message) -> np.ndarray:
    """The ids that a model learns to write where it answers with calls."""
    asked = Message("user", "What is it like there?")
    (sequence,) = renderer.sequences(Conversation((asked, answer), Origin("rows.jsonl", 1), tuple(TOOLS))).sequences
    return sequence.ids[sequence.weights != 0]


@pytest.mark.parametrize("name", KNOWN)
def test_real_templates_are_read_back(name: str, shared: Path, gpt2_for: Make):
    """What the model would write for rich arguments, two calls where the template takes two, from its ids."""
    source = (shared / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
    renderer = Renderer(gpt2_for(source), source, now=datetime(2026, 3, 1))
    assert renderer.dialect is not None and renderer.dialect.name == KNOWN[name]
    calls = [call("forecast", RICH), call("travel", {"city": "Oslo" if name in UNQUOTED else "Oslo\nand 'Bergen'"})]
    calls = calls[:1] if name in ONE_AT_A_TIME else calls
    found = renderer.read_answer(learned(renderer, Message("assistant", tool_calls=tuple(calls))), TOOLS)
    assert called(found) == [(each["function"]["name"], json.loads(each["function"]["arguments"])) for each in calls]
    assert "forecast" not in found.content


def test_templates_that_write_no_calls_have_no_dialect(shared: Path, gpt2_for: Make):
    for path in sorted((shared / "templates").glob("*.jinja")):
        if path.stem not in KNOWN:
            source = path.read_text(encoding="utf-8")
            assert Renderer(gpt2_for(source), source, now=datetime(2026, 3, 1)).dialect is None, path.stem


def test_the_plain_template_is_read_back(gpt2_for: Make):
    renderer = Renderer(gpt2_for(PLAIN), PLAIN)
    answer = learned(renderer, Message("assistant", "I look.", tool_calls=(call("forecast", RICH),)))
    found = renderer.read_answer(answer, TOOLS)
    assert (found.content, called(found)) == ("I look.", [("forecast", RICH)])
    assert "<tool_call>" in renderer.read_answer(answer).content, "without tools nothing can be called"
