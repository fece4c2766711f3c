"""Prompts of every kind of file, each up to the last question, with the answer that the file gives."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from luthier.data.prompts import read_prompts
from luthier.errors import DataError
from luthier.testing import write_jsonl


def turns(path: Path) -> list[list[tuple[str, str]]]:
    return [[(m.role, m.content) for m in prompt.messages] for prompt in read_prompts(str(path))]


USER = {"role": "user", "content": "Hi"}
BOT = {"role": "assistant", "content": "Hello"}


@pytest.mark.parametrize(
    "row, expected, reference",
    [
        ({"messages": [USER, BOT]}, [("user", "Hi")], "Hello"),
        ({"messages": [USER]}, [("user", "Hi")], None),
        ({"messages": [USER, BOT, USER, BOT]}, [("user", "Hi"), ("assistant", "Hello"), ("user", "Hi")], "Hello"),
        ({"messages": [{"role": "system", "content": "Be kind."}, USER]}, [("system", "Be kind."), ("user", "Hi")], None),
        ({"prompt": "Hi"}, [("user", "Hi")], None),
        ({"prompt": [USER, BOT]}, [("user", "Hi")], "Hello"),
        ({"prompt": "Hi", "completion": "Hello", "system": "Be kind."}, [("system", "Be kind."), ("user", "Hi")], "Hello"),
        ({"question": "Hi", "answer": "Hello"}, [("user", "Hi")], "Hello"),
        ({"text": "Once upon"}, [("user", "Once upon")], None),
    ],
)
def test_rows(row: dict[str, Any], expected: list[tuple[str, str]], reference: str | None, tmp_path: Path):
    path = write_jsonl(tmp_path / "rows.jsonl", [row])
    assert turns(path) == [expected]
    assert read_prompts(str(path))[0].reference == reference


@pytest.mark.parametrize(
    "row, reference",
    [
        ({"prompt": "Hi", "chosen": "Hello", "rejected": "No."}, "Hello"),
        ({"chosen": [USER, BOT], "rejected": [USER, {"role": "assistant", "content": "No."}]}, "Hello"),
        ({"prompt": "Hi", "answers": ["No.", "Hello"], "ranks": [2, 1]}, "Hello"),
        ({"prompt": "Hi", "answers": ["No.", "Hello"], "ranks": [1, 1]}, None),
        ({"prompt": "Hi", "completion": "Hello", "label": True}, "Hello"),
        ({"prompt": "Hi", "completion": "No.", "label": False}, None),
        ({"prompt": "Hi", "answer": "Hello", "scores": {"kind": 5}}, None),
        ({"text": "Hi", "label": "greeting"}, "greeting"),
        ({"instruction": "Hi", "output": "Hello"}, "Hello"),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}, "Hello"),
    ],
)
def test_what_rows_to_learn_from_ask(row: dict[str, Any], reference: str | None, tmp_path: Path):
    path = write_jsonl(tmp_path / "rows.jsonl", [row])
    assert turns(path) == [[("user", "Hi")]]
    assert read_prompts(str(path))[0].reference == reference


def test_a_column_of_a_table(tmp_path: Path):
    (tmp_path / "a.csv").write_text('id,prompt\n1,Hi\n2,"Who, me?"\n', encoding="utf-8")
    assert turns(tmp_path / "a.csv") == [[("user", "Hi")], [("user", "Who, me?")]]
    assert [prompt.origin.line for prompt in read_prompts(str(tmp_path / "a.csv"))] == [2, 3]


def test_rows_of_an_array_and_of_parquet(tmp_path: Path):
    rows = [{"prompt": "Hi"}, {"prompt": "Bye"}]
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert turns(tmp_path / "a.json") == turns(tmp_path / "a.parquet") == [[("user", "Hi")], [("user", "Bye")]]


def test_texts_without_their_class(tmp_path: Path):
    (tmp_path / "a.train").write_text("1 a fine film\n0 a bad one\n", encoding="utf-8")
    assert turns(tmp_path / "a.train") == [[("user", "a fine film")], [("user", "a bad one")]]


def test_prompts_of_real_files(shared: Path):
    """Instructions without answers, and the moderation texts, in their own containers."""
    data = shared / "data"
    assert len(read_prompts(str(data / "ifeval" / "input_data.jsonl"))) == 541
    assert len(read_prompts(str(data / "openai_moderation" / "samples-1680.jsonl.gz"))) == 1680
    assert len(read_prompts(str(data / "llamafactory_demos" / "dpo_en_demo.json"))) == 299
    assert len(read_prompts(str(data / "hh_rlhf_harmless" / "harmless.jsonl"))) == 1800


def test_a_line_each(tmp_path: Path):
    path = tmp_path / "prompts.txt"
    path.write_text("Hi\n\nWho are you?\n", encoding="utf-8")
    assert turns(path) == [[("user", "Hi")], [("user", "Who are you?")]]
    assert [prompt.origin.line for prompt in read_prompts(str(path))] == [1, 3]


def test_dialogues_as_text(tmp_path: Path):
    path = tmp_path / "chat.txt"
    path.write_text("User: Hi\nBot: Hello\nUser: Go on.\nBot: No.\n", encoding="utf-8")
    assert turns(path) == [[("user", "Hi"), ("assistant", "Hello"), ("user", "Go on.")]]


def test_tools_come_along(tmp_path: Path):
    tool = {"type": "function", "function": {"name": "rate", "parameters": {}}}
    path = write_jsonl(tmp_path / "rows.jsonl", [{"messages": [USER], "tools": [tool]}])
    assert read_prompts(str(path))[0].tools == (tool,)


@pytest.mark.parametrize(
    "row, sentence",
    [
        ({"message": [USER]}, r"rows\.jsonl:1: this row has no `messages`, `prompt`, `question` or `text`\. It has `message`\."),
        ({"messages": "Hi"}, r"rows\.jsonl:1: `messages` is \"Hi\"; it must be a list"),
        ({"messages": [BOT]}, r"rows\.jsonl:1: no message of this row is the user's"),
        ({"messages": [{"role": "bot", "content": "x"}, USER]}, r"rows\.jsonl:1: message 1 has role \"bot\"; use \"assistant\""),
        ({"prompt": 3}, r"rows\.jsonl:1: `prompt` is 3; it must be text"),
        ({"prompt": " "}, r"rows\.jsonl:1: `prompt` is"),
    ],
)
def test_a_wrong_row_is_named(row: dict[str, Any], sentence: str, tmp_path: Path):
    with pytest.raises(DataError, match=sentence):
        read_prompts(str(write_jsonl(tmp_path / "rows.jsonl", [row])))


def test_a_file_without_prompts_is_refused(tmp_path: Path):
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"empty\.txt is empty"):
        read_prompts(str(tmp_path / "empty.txt"))
    with pytest.raises(DataError, match="There is no file"):
        read_prompts(str(tmp_path / "none.txt"))
