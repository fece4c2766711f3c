"""Alpaca's instructions, ShareGPT's conversations, and texts with their class."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.load import load, read, recognize
from luthier.errors import DataError, UserError
from luthier.spec.rows import Conversation, Labeled, Row
from luthier.spec.run import DataSource


def written(folder: Path, *rows: dict[str, Any]) -> DataSource:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return DataSource(path=str(file))


def turns(row: Row) -> list[tuple[str, str]]:
    assert isinstance(row, Conversation)
    return [(message.role, message.content) for message in row.messages]


def fault(given: DataSource, format: str) -> str:
    with pytest.raises(DataError) as error:
        read(given.model_copy(update={"format": format}))
    return str(error.value)


class TestAlpaca:
    def test_input_system_and_history(self, tmp_path: Path) -> None:
        row = {"instruction": "Sum.", "input": "1 2", "output": "3", "system": "Count.", "history": [["1 1", "2"]], "id": 9}
        given = written(tmp_path, row)
        assert recognize(given).mapping == (
            "`system` → system, `history` → earlier turns, `instruction` and, below it, `input` → user, "
            "`output` → assistant; not read: `id`"
        )
        assert turns(read(given)[0]) == [
            ("system", "Count."),
            ("user", "1 1"),
            ("assistant", "2"),
            ("user", "Sum.\n\n1 2"),
            ("assistant", "3"),
        ]

    @pytest.mark.parametrize("row", [{"instruction": "Hi", "output": "Hello"}, {"instruction": "Hi", "context": " ", "response": "Hello"}])
    def test_an_instruction_may_stand_alone(self, tmp_path: Path, row: dict[str, Any]) -> None:
        assert turns(read(written(tmp_path, row))[0]) == [("user", "Hi"), ("assistant", "Hello")]

    @pytest.mark.parametrize(
        "row, sentence",
        [
            ({"instruction": "a"}, "this row has no `output`."),
            ({"output": "a"}, "this row has no `instruction`."),
            ({"instruction": 3, "output": "a"}, "`instruction` is 3; it must be text in quotes."),
            ({"instruction": "a", "output": "b", "history": ["c"]}, "`history` is a list of 1; it must be a list of pairs"),
            ({"instruction": "a", "input": 4, "output": "b"}, "`input` is 4; it must be text in quotes."),
            ({"instruction": "a", "output": ""}, "the answer in message 2 is empty."),
        ],
    )
    def test_names_what_is_wrong(self, tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
        assert f"rows.jsonl:1: {sentence}" in fault(written(tmp_path, row), "alpaca")


class TestShareGPT:
    def test_calls_results_and_tools_become_openais(self, tmp_path: Path) -> None:
        row = {
            "conversations": [
                {"from": "human", "value": "Rate?"},
                {"from": "function_call", "value": '[{"name": "rate", "arguments": {"years": 5}}, {"name": "date", "arguments": "{}"}]'},
                {"from": "observation", "value": "4 %"},
                {"from": "tool", "value": "today"},
                {"from": "gpt", "value": "4 % today."},
            ],
            "system": "Be brief.",
            "tools": '[{"name": "rate", "parameters": {}}]',
        }
        given = written(tmp_path, row)
        assert recognize(given).mapping == (
            "`conversations` (of `human`, `function_call`, `observation`, `tool`, `gpt`) → the conversation, "
            "`tools` → the tools it may call, `system` → system"
        )
        (found,) = read(given)
        assert isinstance(found, Conversation)
        assert found.tools == ({"type": "function", "function": {"name": "rate", "parameters": {}}},)
        assert [turn.role for turn in found.messages] == ["system", "user", "assistant", "tool", "tool", "assistant"]
        calls = found.messages[2].tool_calls
        assert [(call["id"], call["function"]) for call in calls] == [
            ("call_2_1", {"name": "rate", "arguments": '{"years": 5}'}),
            ("call_2_2", {"name": "date", "arguments": "{}"}),
        ]
        assert [turn.tool_call_id for turn in found.messages[3:5]] == ["call_2_1", "call_2_2"]

    def test_turns_may_have_role_and_content(self, tmp_path: Path) -> None:
        row = {"conversations": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
        assert turns(read(written(tmp_path, row))[0]) == [("user", "Hi"), ("assistant", "Hello")]

    @pytest.mark.parametrize(
        "turn, sentence",
        [
            ({"from": "narrator", "value": "a"}, 'message 1 has role "narrator"; use "system", "user", "assistant" or "tool".'),
            ({"from": "human"}, "`value` of message 1 of `conversations` is null; it must be text in quotes."),
            ({"from": 3, "value": "a"}, "`from` of message 1 of `conversations` is 3; it must be `human` or `gpt`."),
            (
                {"from": "function_call", "value": "rate(5)"},
                'the call in message 1 of `conversations` is "rate(5)"; it must be JSON such as',
            ),
            ({"from": "observation", "value": "4 %"}, 'message 1 has role "tool", but no message before it calls a tool.'),
            ("Hi", 'message 1 of `conversations` is "Hi"; it must be an object'),
        ],
    )
    def test_names_what_is_wrong(self, tmp_path: Path, turn: Any, sentence: str) -> None:
        assert sentence in fault(written(tmp_path, {"conversations": [turn, {"from": "gpt", "value": "b"}]}), "sharegpt")

    def test_real_tool_calls_are_linked(self, shared: Path) -> None:
        """211 calls and 211 results in 300 conversations."""
        found = load(DataSource(path=str(shared / "data" / "llamafactory_demos" / "glaive_toolcall_en_demo.json")))
        messages = [message for row in found.rows if isinstance(row, Conversation) for message in row.messages]
        assert sum(len(message.tool_calls) for message in messages) == sum(message.tool_call_id is not None for message in messages) == 211


class TestLabels:
    @pytest.mark.parametrize(
        "row, expected",
        [
            ({"text": "a b", "label": "x"}, ("a b", "x")),
            ({"text": "a b", "label": 3}, ("a b", "3")),
            ({"text": "a b", "label": 1.0}, ("a b", "1")),
            ({"text": "a b", "label": False}, ("a b", "false")),
            ({"text": "a b", "label": 1, "label_text": "x"}, ("a b", "x")),
            ({"utterance": "a b", "intent": "x", "category": "Y"}, ("a b", "x")),
            ({"Tweet": "a b", "Class": " x "}, ("a b", "x")),
            ({"premise": "a", "hypothesis": "b", "label": "x"}, ("premise: a\nhypothesis: b", "x")),
            ({"sentence": "a b", "sentiment": "x"}, ("a b", "x")),
        ],
    )
    def test_columns_are_known_by_their_names(self, tmp_path: Path, row: dict[str, Any], expected: tuple[str, str]) -> None:
        given = written(tmp_path, row)
        assert recognize(given).format == "labels"
        (found,) = read(given)
        assert isinstance(found, Labeled)
        assert (found.text, found.label) == expected

    def test_the_mapping_shows_classes_and_what_is_not_read(self, tmp_path: Path) -> None:
        given = written(tmp_path, {"text": "a b", "label": "x", "id": 1}, {"text": "c d", "label": "y", "id": 2})
        assert recognize(given).mapping == "`text` → the text, `label` → its class (`x` and `y`); not read: `id`"

    def test_lines_that_begin_with_their_class(self, tmp_path: Path) -> None:
        for name, text in (
            ("a.train", "1 a fine film\n\n0 bad , bad film\n"),
            ("b.txt", "__label__1 a fine film\n\n__label__0 bad , bad film\n"),
        ):
            (tmp_path / name).write_text(text)
            rows = read(DataSource(path=str(tmp_path / name)))
            assert [(row.text, row.label, row.origin.line) for row in rows if isinstance(row, Labeled)] == [
                ("a fine film", "1", 1),
                ("bad , bad film", "0", 3),
            ]

    def test_a_line_without_a_class_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.train").write_text("1 a fine film\n" * 20 + "no class here\n")
        assert 'a.train:21: this line is "no class here", and does not begin with a class' in fault(
            DataSource(path=str(tmp_path / "a.train")), "labels"
        )

    @pytest.mark.parametrize("text", ["1 one\n2 two\n3 three\n", "1990 was fine.\n1991 was fine.\n", "12 men\nwere angry\n"])
    def test_other_text_with_numbers_is_no_text_with_classes(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "a.txt").write_text(text)
        assert recognize(DataSource(path=str(tmp_path / "a.txt"))).format == "text"

    @pytest.mark.parametrize(
        "row, sentence",
        [
            ({"text": "a"}, "this row has no `label`."),
            ({"label": "a"}, "this row has no `text`."),
            ({"text": "a", "label": None}, "`label` is null; it must be the name of a class"),
            ({"text": "a", "label": 0.5}, "`label` is 0.5; it must be the name of a class"),
            ({"text": "a", "label": ""}, "the label is empty"),
            ({"text": "", "label": "a"}, "`text` is empty"),
            ({"text": 3, "label": "a"}, "`text` is 3; it must be text in quotes."),
        ],
    )
    def test_names_what_is_wrong(self, tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
        assert f"rows.jsonl:1: {sentence}" in fault(written(tmp_path, row), "labels")


class TestParts:
    """A JSON object of several arrays, as CLINC150's."""

    PARTS: dict[str, Any] = {
        "train": [["Where is it?", "where"], ["Where am I?", "where"]],
        "test": [["Who is it?", "who"], ["Who am I?", "who"]],
    }

    def test_a_part_is_asked_for_and_read(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(json.dumps(self.PARTS))
        with pytest.raises(DataError, match="holds several parts: `train` and `test`"):
            load(DataSource(path=str(tmp_path / "a.json")))
        rows = read(DataSource(path=str(tmp_path / "a.json"), split="test"))
        assert [(row.text, row.label) for row in rows if isinstance(row, Labeled)] == [("Who is it?", "who"), ("Who am I?", "who")]

    def test_a_column_parts_a_table(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("text,label,split\na b,x,train\nc d,y,test\n")
        (row,) = read(DataSource(path=str(tmp_path / "a.csv"), split="test"))
        assert row.origin.line == 3

    @pytest.mark.parametrize(
        "name, content, sentence",
        [
            ("a.json", json.dumps(PARTS), "has no part `tests`. Did you mean `test`? It has `train` and `test`."),
            ("a.csv", "text,label\na b,x\n", "is not in parts, so `split: tests` has no effect."),
            ("b.csv", "text,label,split\na b,x,train\n", "has no row whose `split` is tests."),
            ("a.txt", "a b\n", "is not in parts, so `split: tests` has no effect."),
        ],
    )
    def test_a_part_that_is_not_there_is_refused(self, tmp_path: Path, name: str, content: str, sentence: str) -> None:
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError) as error:
            read(DataSource(path=str(tmp_path / name), split="tests"))
        assert sentence in str(error.value)


@pytest.mark.parametrize(
    "value",
    [
        {"data": [{"prompt": "a", "completion": "b"}], "version": 2},
        {"prompt": "a", "completion": "b"},
        {"question": ["a"], "answer": ["b"]},
        {"7": {"prompt": "a", "completion": "b"}, "8": {"prompt": "a", "completion": "b"}},
    ],
)
def test_other_objects_that_hold_rows(tmp_path: Path, value: dict[str, Any]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(value, indent=1))
    assert turns(read(DataSource(path=str(tmp_path / "a.json")))[0]) == [("user", "a"), ("assistant", "b")]
