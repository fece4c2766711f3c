"""Files of fine-tuning jobs: what OpenAI refuses is refused in its words, with the number of the example."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.recipes.tuning_files import FileLook, look
from luthier.spec.tuning import TuningFile

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
PAIR = {
    "input": {"messages": [{"role": "user", "content": "Where?"}], "tools": [], "parallel_tool_calls": True},
    "preferred_output": [{"role": "assistant", "content": "Here."}],
    "non_preferred_output": [{"role": "assistant", "content": "No idea."}],
}
TASK = {"messages": [{"role": "developer", "content": "Count."}, {"role": "user", "content": "2 + 2?"}], "n": 4}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
WITH_TOOLS = {
    "messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "4"},
        {"role": "assistant", "content": [{"type": "text", "text": "4 °C"}], "weight": 1},
    ],
    "tools": TOOLS,
    "parallel_tool_calls": False,
}
INVALID, FORMAT = (
    "The job failed due to an invalid training file. Invalid file format. ",
    "The job failed due to a file format error in the ",
)


def seen(folder: Path, rows: list[Any], method: str = "sft", part: Any = "training") -> FileLook:
    """Rows that are no text are written as JSON."""
    path = folder / "blob"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return look(TuningFile(id="file-abc", path=str(path)), part, method)


def changed(row: dict[str, Any], number: int, **message: Any) -> dict[str, Any]:
    turns = [dict(turn) for turn in row["messages"]]
    turns[number] |= message
    return {**row, "messages": turns}


@pytest.mark.parametrize(
    ("row", "method"),
    [
        (CHAT, "sft"),
        (WITH_TOOLS, "sft"),
        ({"prompt": "a", "completion": "b"}, "sft"),
        (PAIR, "dpo"),
        (TASK, "grpo"),
        ({"anything": 1}, "reward_model"),
    ],
)
def test_each_of_openais_formats_is_taken_for_its_method(tmp_path: Path, row: dict[str, Any], method: str):
    assert seen(tmp_path, [row] * 10, method) == FileLook(TuningFile(id="file-abc", path=str(tmp_path / "blob")), "training", 10)


def test_a_mark_windows_line_ends_and_blank_lines_are_no_faults(tmp_path: Path):
    path = tmp_path / "blob"
    path.write_bytes(b"\xef\xbb\xbf" + (json.dumps(CHAT) + "\r\n").encode() * 10 + b"\r\n\n")
    found = look(TuningFile(id="file-abc", path=str(path)), "training", "sft")
    assert (found.examples, found.error) == (10, None)


def test_too_few_examples(tmp_path: Path):
    assert seen(tmp_path, [CHAT] * 7).error == {
        "code": "invalid_n_examples",
        "message": "Training file has 7 example(s), but must have at least 10 examples",
        "param": "training_file",
    }


@pytest.mark.parametrize(
    ("row", "code", "message"),
    [
        (
            '{"messages": [{"role": "user" "content": "x"}]}',
            "invalid_training_file",
            f"{INVALID}Example 5 cannot be parsed. Error: line contains invalid json: "
            "Expecting ',' delimiter: line 1 column 31 (char 30) (line 5)",
        ),
        ("[1]", "invalid_training_file", f"{INVALID}Example 5 is not a JSON object."),
        ({"text": "x"}, "invalid_training_file", f'{INVALID}Example 5 is missing key "messages".'),
        (
            {"messages": [{"role": "user", "content": "x"}, {"content": "y"}]},
            "invalid_training_file",
            f"{INVALID}Example 5, message 2 Discriminator 'role' is missing in value",
        ),
        (
            changed(CHAT, 1, role="bot"),
            "invalid_training_file",
            f"{INVALID}Example 5, message 2 Input tag 'bot' found using 'role' does not match any of the expected tags: "
            "'system', 'developer', 'user', 'assistant', 'tool', 'function'",
        ),
        (
            {"messages": [{"role": "user", "content": "x"}]},
            "invalid_training_file",
            f'{INVALID}Line 5, key "messages": At least one message must be from the assistant.',
        ),
        (
            {**CHAT, "weight": 1},
            "invalid_file_format",
            f'{FORMAT}training file. Invalid file format. Example 5 contains an extra "weight".',
        ),
        (
            changed(CHAT, 0, weight=1),
            "invalid_file_format",
            f'{FORMAT}training file. Invalid file format. Example 5, message 1 contains an extra "weight".',
        ),
        (changed(CHAT, 1, weight=2), "invalid_training_file", f"{INVALID}Example 5, message 2 Input should be 0 or 1 - 'weight'"),
        (changed(CHAT, 1, content=None), "invalid_training_file", f"{INVALID}Example 5, message 2 Field required - 'content'"),
        (changed(CHAT, 1, content="  "), "invalid_training_file", f"{INVALID}Example 5: The answer in message 2 is empty."),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_faulty_line_is_named_with_its_number(tmp_path: Path, row: Any, code: str, message: str):
    error = seen(tmp_path, [*[CHAT] * 4, row, *[CHAT] * 7]).error
    assert error is not None
    assert (error["code"], error["param"]) == (code, "training_file")
    assert error["message"].startswith(message)


@pytest.mark.parametrize(
    ("row", "method", "message"),
    [
        (
            CHAT,
            "dpo",
            "Input file file-abc is in the fine-tune-chat format, but the specified fine-tuning job is not using 'supervised' as the "
            "training method (provided method=dpo).",
        ),
        (
            PAIR,
            "sft",
            "Input file file-abc is in the fine-tune-preference format, but the specified fine-tuning job is not using 'dpo' as the "
            "training method (provided method=supervised).",
        ),
        (
            CHAT,
            "grpo",
            "Input file file-abc is in the fine-tune-chat format, but the specified fine-tuning job is not using 'supervised' as the "
            "training method (provided method=reinforcement).",
        ),
        ({"text": "x"}, "sft", "Unexpected file format, expected either prompt/completion pairs or chat messages."),
        ({"preferred_output": []}, "dpo", "Example 1 is missing key 'input'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_file_for_another_method(tmp_path: Path, row: Any, method: str, message: str):
    error = seen(tmp_path, [row] * 10, method).error
    assert error == {"code": "invalid_training_file", "message": INVALID + message, "param": "training_file"}


def test_a_validation_file_is_named_as_such(tmp_path: Path):
    error = seen(tmp_path, [CHAT, {"messages": []}], part="validation").error
    assert error is not None
    assert (error["code"], error["param"]) == ("invalid_validation_file", "validation_file")
    assert error["message"].startswith("The job failed due to an invalid validation file. Invalid file format. ")
    assert seen(tmp_path, [CHAT], part="validation").error is None


def test_the_rest_is_told_with_lines_and_bounded(tmp_path: Path):
    """Of 30 faults one is the error; of 10 more the line is told, and that there are 19 others."""
    notes = list(seen(tmp_path, [CHAT, *[{"messages": 1}] * 30]).notes())
    assert len(notes) == 11
    assert notes[0].startswith("file-abc, line 3: ")
    assert notes[-1] == "file-abc: 19 more examples are faulty."


def test_no_path_of_the_server_is_told(tmp_path: Path):
    path = tmp_path / "blob"
    path.write_bytes(b"PK\x03\x04 not text\n")
    error = look(TuningFile(id="file-abc", path=str(path)), "training", "sft").error
    assert error is not None
    assert str(tmp_path) not in error["message"]
