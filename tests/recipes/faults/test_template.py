"""Faults 1, 2, 3, 6 and 18: templates that teach something else than the rows say, put into a real model folder."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from luthier.testing import BOS, CHAT_TEMPLATE, END

Fault = Callable[[Any], None]

CLOSE = "{{- '<|end|>' -}}\n{%- endgeneration -%}"
SAYS = "{%- if message['content'] %}{{ message['content'] }}{% endif -%}"
PLAIN_LOOP = (
    "{{- '<|bos|>' -}}{%- for m in messages -%}{{- '<|' + m.role + '|>' + m.content + '<|end|>' -}}{%- endfor -%}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif -%}"
)
assert CLOSE in CHAT_TEMPLATE and SAYS in CHAT_TEMPLATE


def replaced(old: str, new: str) -> Fault:
    """The toy's template with something else in it."""
    assert old in CHAT_TEMPLATE

    def put(bench: Any) -> None:
        bench.template = CHAT_TEMPLATE.replace(old, new)

    return put


def a_file(template: str) -> Fault:
    """The same by `model.chat_template` instead of in the model's folder."""

    def put(bench: Any) -> None:
        path = bench.folder / "own.jinja"
        path.write_text(template, encoding="utf-8")
        bench.set("model.chat_template", str(path))

    return put


def both(*faults: Fault) -> Fault:
    def put(bench: Any) -> None:
        for fault in faults:
            fault(bench)

    return put


def spells(text: str) -> Fault:
    """A text in a user's message of the fourth row."""

    def put(bench: Any) -> None:
        rows = bench.rows
        rows[3]["messages"][0]["content"] += text
        bench.rows = rows

    return put


def systems(bench: Any) -> None:
    rows = bench.rows
    for row in rows:
        row["messages"].insert(0, {"role": "system", "content": "You work for a bank, and you are polite."})
    bench.rows = rows


def calls(bench: Any) -> None:
    rows = bench.rows
    call = {"id": "a", "type": "function", "function": {"name": "balance", "arguments": json.dumps({"account": "savings"})}}
    for row in rows[:5]:
        question, answer = [turn for turn in row["messages"] if turn["role"] != "system"][:2]
        row["messages"] = [
            question,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": "12"},
            answer,
        ]
        row["tools"] = [{"type": "function", "function": {"name": "balance", "parameters": {"type": "object", "properties": {}}}}]
    bench.rows = rows


def thoughts(bench: Any) -> None:
    rows = bench.rows
    for row in rows[:6]:
        row["messages"][-1]["reasoning_content"] = "They want to know what it costs."
    bench.rows = rows


def config(**values: Any) -> Fault:
    def put(bench: Any) -> None:
        bench.change("tokenizer_config.json", **values)

    return put


def nameless_end(bench: Any) -> None:
    bench.change("tokenizer_config.json", eos_token=None)
    for file in ("config.json", "generation_config.json"):
        bench.change(file, eos_token_id=None)


def setting(key: str, value: Any) -> Fault:
    def put(bench: Any) -> None:
        bench.set(key, value)

    return put


MARKS_NOTHING = CHAT_TEMPLATE.replace("{%- generation -%}", "{%- generation -%}{%- endgeneration -%}").replace(CLOSE, "{{- '<|end|>' -}}")
MARKS_THE_USER = (
    "{{- '<|bos|>' -}}{%- for m in messages -%}{%- if m.role == 'user' -%}"
    "{%- generation -%}{{- '<|user|>' + m.content + '<|end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- '<|' + m.role + '|>' + m.content + '<|end|>' -}}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif -%}"
)
NOTHING = "No row has a token to learn"

ERRORS: list[tuple[str, Fault, str, list[str]]] = [
    ("1 nothing is marked as the assistant's", replaced(CHAT_TEMPLATE, MARKS_NOTHING), "would-fail", [NOTHING, "rows.jsonl:1"]),
    ("1 the user is marked instead", a_file(MARKS_THE_USER), "would-fail", [NOTHING, "rows.jsonl:1", "luthier show"]),
    (
        "1 cut to the question",
        both(setting("data.max_length", 20), setting("data.too_long", "cut")),
        "would-fail",
        [NOTHING, "rows.jsonl:1"],
    ),
    ("2 no end token", replaced(CLOSE, "{%- endgeneration -%}"), "end-not-learned", ["would not learn where to stop", "rows.jsonl:1"]),
    (
        "2 the end is not the assistant's",
        replaced(CLOSE, "{%- endgeneration -%}{{- '<|end|>' -}}"),
        "end-not-learned",
        ["`{% generation %}` leaves the end token out", "rows.jsonl:1"],
    ),
    ("2 the end is not a token", replaced(CLOSE, CLOSE.replace("<|end|>", "</s>")), "end-not-learned", ["where to stop", "plain"]),
    (
        "2 an end token that nobody names",
        both(a_file(PLAIN_LOOP.replace("+ '<|end|>' -}}", "-}}{{- eos_token -}}")), nameless_end),
        "end-not-learned",
        ["where to stop"],
    ),
    (
        "3 BOS twice",
        replaced("{{- '<|bos|>' -}}", "{{- bos_token -}}{{- '<|bos|>' -}}"),
        "double-bos",
        ["begin with `<|bos|>` twice", "rows.jsonl:1"],
    ),
    ("3 BOS, a line break, BOS", a_file("{{- bos_token + '\\n' -}}" + CHAT_TEMPLATE), "double-bos", ["twice"]),
    (
        "6 the answer is cut by the template",
        replaced(SAYS, "{{- message['content'][:12] -}}"),
        "missing-answer",
        ["of answers would not be learned", "rows.jsonl:1", "luthier show"],
    ),
    (
        "6 the answer is rewritten",
        a_file(PLAIN_LOOP.replace("m.content", "(m.content | upper)")),
        "missing-answer",
        ["of answers would not be learned"],
    ),
]


@pytest.mark.parametrize("name, fault, code, said", ERRORS, ids=[name.replace(" ", "-") for name, *_ in ERRORS])
def test_it_is_an_error_and_a_run_is_refused(bench: Any, name: str, fault: Fault, code: str, said: list[str]):
    fault(bench)
    found = bench.check()
    assert code in found, (name, found)
    assert found[code]["severity"] == "error"
    assert bench.train() == 1
    for words in said:
        assert words in found[code]["message"] and words in bench.printed
    assert "Traceback" not in bench.printed
    assert not bench.out.exists()


WARNINGS: list[tuple[str, Fault, str, list[str]]] = [
    (
        "3 no BOS, though the tokenizer's settings ask for it",
        both(replaced("{{- '<|bos|>' -}}", ""), config(add_bos_token=True)),
        "no-bos",
        ["`<|bos|>`", "add_bos_token"],
    ),
    (
        "6 no system prompt",
        both(replaced("{%- for message in messages -%}", "{%- for message in messages if message.role != 'system' -%}"), systems),
        "missing-content",
        ["40 rows", "rows.jsonl:1", "others than the assistant"],
    ),
    (
        "6 no tool calls",
        both(replaced("message['tool_calls'] or []", "[]"), calls),
        "missing-tool-calls",
        ["rows.jsonl:1", "tool calls"],
    ),
    ("6 no list of tools", both(replaced("{%- if tools %}", "{%- if false %}"), calls), "missing-tools", ["rows.jsonl:1", "list of tools"]),
    ("6 no reasoning", thoughts, "missing-reasoning", ["6 rows", "the reasoning"]),
    (
        "18 a turn marker in a message",
        spells(" <|end|><|assistant|>I owe you nothing."),
        "special-tokens-in-text",
        ["`<|end|>`", "rows.jsonl:4"],
    ),
    ("18 BOS in a message", spells(f"{BOS}"), "special-tokens-in-text", [BOS, "rows.jsonl:4"]),
    ("18 another model's markers in a message", spells("<|im_end|>\n<|im_start|>assistant\n"), "special-tokens-in-text", ["<|im_start|>"]),
    ("18 markers in brackets", spells(" [INST] and </s>"), "special-tokens-in-text", ["[INST]", "ordinary text"]),
    (
        "18 the template's markers are no tokens",
        replaced("'<|' + message['role'] + '|>'", "'<|im_start|>' + message['role']"),
        "split-marker",
        ["`<|im_start|>`", "not a token of this tokenizer"],
    ),
]


@pytest.mark.parametrize("name, fault, code, said", WARNINGS, ids=[name.replace(" ", "-") for name, *_ in WARNINGS])
def test_it_is_a_warning(bench: Any, name: str, fault: Fault, code: str, said: list[str]):
    fault(bench)
    found = bench.check()
    assert code in found, (name, found)
    assert found[code]["severity"] == "warning"
    for words in said:
        assert words in found[code]["message"]


def test_a_run_shows_its_warnings_and_keeps_them(bench: Any):
    spells(f" {END}")(bench)
    assert bench.train() == 0
    assert "Warning: Texts spell out special tokens: `<|end|>`" in bench.printed
    record = json.loads((bench.out / "record.json").read_text(encoding="utf-8"))
    assert [finding["code"] for finding in record["preflight"] if finding["severity"] == "warning"] == ["special-tokens-in-text"]


def test_a_pad_token_that_is_the_end_token_masks_nothing(bench: Any):
    """Where padding is masked by its id, the real end is masked along; here no padding is computed, and the end is learned."""
    bench.change("tokenizer_config.json", pad_token=END)
    bench.change("config.json", pad_token_id=257)
    assert not [finding for finding in bench.check().values() if finding["severity"] != "advice"]
    assert bench.train() == 0
    counts = json.loads((bench.out / "record.json").read_text(encoding="utf-8"))["data"]["train_counts"]
    answers = [turn["content"] for row in bench.rows for turn in row["messages"] if turn["role"] == "assistant"]
    assert counts["trained_tokens"] == sum(len(answer.encode()) + 1 for answer in answers)  # a byte a token, and the end


def test_an_end_that_opens_the_next_turn_is_learned(bench: Any):
    """Not in the finished conversation, but where it goes on: the model writes it to say that it is done."""
    a_file(PLAIN_LOOP.replace("+ '<|end|>' -}}", "-}}{%- if not loop.last or m.role == 'user' -%}{{- '<|end|>' -}}{%- endif -%}"))(bench)
    assert "end-not-learned" not in bench.check()


def test_markers_in_documents_are_named_too(bench: Any):
    bench.data = bench.folder / "story.txt"
    bench.data.write_text("Once there was a baker.<|end|>He slept.\n\nAnd a second story, longer than the first.\n", encoding="utf-8")
    bench.set("method", "pretrain")
    bench.set("data.train", [{"path": str(bench.data), "format": "text"}])
    assert bench.check()["special-tokens-in-text"]["severity"] == "warning"
