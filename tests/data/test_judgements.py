"""People's judgements in the shapes that they come in: pairs, rankings, thumbs, ratings."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.load import read, recognize, stream
from luthier.errors import DataError
from luthier.spec.rows import Faulty, Message, Preference, Ranking, Rating, Row, Thumb
from luthier.spec.run import DataSource

USER = {"role": "user", "content": "Hi"}
GOOD = {"role": "assistant", "content": "Hello"}
BAD = {"role": "assistant", "content": "No."}
SYSTEM = {"role": "system", "content": "Be kind."}

HI = (Message("user", "Hi"),)
HELLO = (Message("assistant", "Hello"),)
NO = (Message("assistant", "No."),)


def written(folder: Path, row: dict[str, Any]) -> DataSource:
    file = folder / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return DataSource(path=str(file))


def rows_of(folder: Path, row: dict[str, Any]) -> list[Row]:
    return read(written(folder, row))


def fault(folder: Path, row: dict[str, Any], format: str) -> str:
    with pytest.raises(DataError) as error:
        read(written(folder, row).model_copy(update={"format": format}))
    return str(error.value).replace(f"{folder}/", "")


class TestPreference:
    @pytest.mark.parametrize(
        "row, mapping",
        [
            ({"prompt": "Hi", "chosen": "Hello", "rejected": "No."}, "`prompt` → the prompt, `chosen`"),
            ({"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}, "`prompt` → the prompt, `chosen`"),
            ({"prompt": "Hi", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, "their common beginning → the prompt, `chosen`"),
            ({"chosen": [USER, GOOD], "rejected": [USER, BAD]}, "their common beginning → the prompt, `chosen`"),
            (
                {"input": {"messages": [USER]}, "preferred_output": [GOOD], "non_preferred_output": [BAD]},
                "`input` → the prompt, `preferred_output` → the better answer, `non_preferred_output` → the worse one",
            ),
            (
                {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: No."},
                "their common beginning → the prompt",
            ),
            ({"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": "Hello", "rejected": "No."}, "`prompt` → the prompt"),
            (
                {
                    "conversations": [{"from": "human", "value": "Hi"}],
                    "chosen": {"from": "gpt", "value": "Hello"},
                    "rejected": {"from": "gpt", "value": "No."},
                },
                "`conversations` → the prompt",
            ),
            ({"question": "Hi", "chosen": "Hello", "rejected": "No."}, "`question` → the prompt"),
            ({"instruction": "Hi", "input": "", "chosen": "Hello", "rejected": "No."}, "`instruction` → the prompt"),
            ({"chosen_messages": [USER, GOOD], "rejected_messages": [USER, BAD]}, "their common beginning → the prompt"),
        ],
    )
    def test_every_shape_says_the_same(self, tmp_path: Path, row: dict[str, Any], mapping: str) -> None:
        given = written(tmp_path, row)
        assert recognize(given).mapping.startswith(mapping)
        (found,) = read(given)
        assert found == Preference(HI, HELLO, NO, found.origin)

    def test_tools_and_system_come_along(self, tmp_path: Path) -> None:
        tool = {"type": "function", "function": {"name": "rate"}}
        row = {"input": {"messages": [SYSTEM, USER], "tools": [tool]}, "preferred_output": [GOOD], "non_preferred_output": [BAD]}
        (found,) = rows_of(tmp_path, row)
        assert isinstance(found, Preference)
        assert found.tools == (tool,)
        assert [turn.role for turn in found.prompt] == ["system", "user"]
        (found,) = rows_of(tmp_path, {"system": "Be kind.", "question": "Hi", "chosen": "Hello", "rejected": "No."})
        assert isinstance(found, Preference)
        assert found.prompt == (Message("system", "Be kind."), *HI)

    def test_dialogues_part_at_the_answer_in_which_they_differ(self, tmp_path: Path) -> None:
        beginning = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: How are you?\n\nAssistant: "
        row = {"chosen": beginning + "Fine.\n\nAnd you?\n\nHuman: Fine.\n\nAssistant: Good.", "rejected": beginning + "Bad."}
        (found,) = rows_of(tmp_path, row)
        assert isinstance(found, Preference)
        assert [turn.content for turn in found.prompt] == ["Hi", "Hello", "How are you?"]
        assert [(turn.role, turn.content) for turn in found.chosen] == [
            ("assistant", "Fine.\n\nAnd you?"),
            ("user", "Fine."),
            ("assistant", "Good."),
        ]
        assert [turn.content for turn in found.rejected] == ["Bad."]

    def test_equal_answers_keep_their_prompt(self, tmp_path: Path) -> None:
        """What to do about them is the check's to say, not the format's."""
        (found,) = rows_of(tmp_path, {"chosen": [USER, GOOD], "rejected": [USER, GOOD]})
        assert found == Preference(HI, HELLO, HELLO, found.origin)

    def test_one_empty_answer_is_a_choice_too(self, tmp_path: Path) -> None:
        (found,) = rows_of(tmp_path, {"prompt": "Hi", "chosen": "", "rejected": "No."})
        assert isinstance(found, Preference)
        assert found.chosen == (Message("assistant", ""),)

    @pytest.mark.parametrize(
        "row, sentence",
        [
            ({"prompt": "Hi", "chosen": "a"}, "this row has no `rejected`."),
            ({"input": "Hi", "preferred_output": "a"}, "this row has no `non_preferred_output`."),
            ({"chosen": "a", "rejected": "b"}, "this row has no `prompt`, and its answers are no dialogues"),
            ({"prompt": "", "chosen": "a", "rejected": "b"}, "the prompt is empty"),
            ({"prompt": "Hi", "chosen": " ", "rejected": ""}, "`chosen` and `rejected` are both empty."),
            ({"prompt": "Hi", "chosen": 3, "rejected": "b"}, "`chosen` is 3; it must be text in quotes."),
            ({"prompt": [USER, GOOD], "chosen": "a", "rejected": "b"}, "the prompt ends with the assistant's turn"),
            ({"prompt": [USER], "chosen": [{"content": "a"}], "rejected": [BAD]}, "message 1 of `chosen` has no `role`"),
            (
                {"prompt": [USER], "chosen": [GOOD, USER], "rejected": [BAD]},
                "`chosen` must begin and end with a message of the assistant's",
            ),
            ({"chosen": [USER, GOOD], "rejected": [{**USER, "content": "Other"}, BAD]}, "the two conversations part at message 1"),
            ({"chosen": [SYSTEM, GOOD], "rejected": [SYSTEM]}, "the two conversations part at message 1"),
            ({"prompt": [{"role": "human", "content": "a"}], "chosen": "a", "rejected": "b"}, 'message 1 has role "human"; use "user".'),
        ],
    )
    def test_names_what_is_wrong(self, tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
        assert f"rows.jsonl:1: {sentence}" in fault(tmp_path, row, "preference")


class TestRanking:
    def test_ties_raters_and_messages(self, tmp_path: Path) -> None:
        row = {"prompt": [USER], "answers": ["a", [{"role": "assistant", "content": "b"}], "c"], "ranks": [2, 1, 2], "rater": 7}
        given = written(tmp_path, row)
        assert recognize(given).mapping == (
            "`prompt` → the prompt, `answers` → the answers, `ranks` → their places (1 is the best), `rater` → who ranked them"
        )
        (found,) = read(given)
        assert found == Ranking(HI, tuple((Message("assistant", text),) for text in "abc"), (2, 1, 2), found.origin, "7")

    def test_comparisons_by_several_people_are_a_ranking_of_each(self, tmp_path: Path) -> None:
        """0 is a tie, 1 the first answer, 2 the second."""
        row = {"instruction": "Hi", "input": "", "response1": "a", "response2": "b", "annotator1": 0, "annotator2": 1, "annotator3": 2}
        rankings = rows_of(tmp_path, row)
        assert [(found.ranks, found.rater) for found in rankings if isinstance(found, Ranking)] == [
            ((1, 1), "annotator1"),
            ((1, 2), "annotator2"),
            ((2, 1), "annotator3"),
        ]
        assert {found.prompt for found in rankings if isinstance(found, Ranking)} == {HI}

    @pytest.mark.parametrize(
        "row, sentence",
        [
            ({"answers": ["a", "b"], "ranks": [1, 2]}, "this row has no `prompt`."),
            ({"prompt": "Hi", "answers": ["a", "b"]}, "this row has no `ranks`."),
            ({"prompt": "Hi", "answers": ["a"], "ranks": [1]}, "a ranking compares at least two answers; this row has 1."),
            ({"prompt": "Hi", "answers": ["a", "b"], "ranks": [1]}, "there are 2 answers and 1 ranks."),
            ({"prompt": "Hi", "answers": ["a", "b"], "ranks": [0, 1]}, "rank 0 is below 1."),
            ({"prompt": "Hi", "answers": ["a", "b"], "ranks": [1, 1.5]}, "`ranks` is a list of 2; it must be a list of whole numbers"),
            ({"prompt": "Hi", "answers": ["a", "b"], "ranks": [True, 2]}, "`ranks` is a list of 2; it must be a list of whole numbers"),
            ({"prompt": "Hi", "answers": ["a", None], "ranks": [1, 2]}, "answer 2 is null; it must be text in quotes."),
            ({"prompt": "Hi", "answers": ["", ""], "ranks": [1, 2]}, "answer 1 and answer 2 are both empty."),
            ({"instruction": "Hi", "response1": "a", "response2": "b", "annotator1": 3}, "`annotator1` is 3; it must be 1 or 2"),
            ({"instruction": "Hi", "response1": True, "response2": "b", "annotator1": 1}, "`response1` is true; it must be text"),
        ],
    )
    def test_names_what_is_wrong(self, tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
        assert f"rows.jsonl:1: {sentence}" in fault(tmp_path, row, "ranking")

    def test_the_six_truth_values_among_real_comparisons_are_named(self, shared: Path) -> None:
        """993 of 999 rows are read, each judged by three people: 2,979 rankings."""
        file = shared / "data" / "pandalm_human" / "testset-v1.json"
        found = list(stream(DataSource(path=str(file))))
        assert sum(isinstance(row, Ranking) for row in found) == 993 * 3
        assert [row.why.split("testset-v1.json:")[1] for row in found if isinstance(row, Faulty)] == [
            f"{number}: `response{which}` is true; it must be text in quotes."
            for number, which in ((158, 1), (159, 1), (160, 1), (162, 2), (163, 2), (165, 1))
        ]


class TestThumbs:
    @pytest.mark.parametrize(
        "row",
        [
            {"prompt": "Hi", "completion": "Hello", "label": True},
            {"prompt": [USER], "completion": [GOOD], "label": True},
            {"messages": [USER, GOOD], "label": True},
            {"messages": [USER, GOOD], "kto_tag": True},
            {"instruction": "Hi", "input": "", "output": "Hello", "kto_tag": True},
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "kto_tag": True},
            {"prompt": "Hi", "response": "Hello", "label": 1},
            {"query": "Hi", "response": "Hello", "label": 1},
            {"prompt": "Hi", "response": "Hello", "label": "True"},
        ],
    )
    def test_every_shape_says_the_same(self, tmp_path: Path, row: dict[str, Any]) -> None:
        given = written(tmp_path, row)
        assert recognize(given).format == "thumbs"
        (found,) = read(given)
        assert found == Thumb(HI, HELLO, True, found.origin)

    def test_the_last_answer_of_a_conversation_is_judged(self, tmp_path: Path) -> None:
        (found,) = rows_of(tmp_path, {"messages": [USER, GOOD, USER, BAD], "label": False})
        assert found == Thumb((*HI, *HELLO, *HI), NO, False, found.origin)

    @pytest.mark.parametrize(
        "row, sentence",
        [
            ({"prompt": "Hi", "completion": "Hello"}, "this row has no `label`."),
            ({"prompt": "Hi", "label": True}, "this row has no `completion`."),
            ({"prompt": "Hi", "completion": "Hello", "label": "maybe"}, '`label` is "maybe"; it must be true (good) or false.'),
            ({"prompt": "Hi", "completion": "Hello", "label": 2}, "`label` is 2; it must be true (good) or false."),
            ({"prompt": "Hi", "completion": "", "label": False}, "the answer is empty."),
            ({"messages": [USER], "label": True}, "the answer must begin and end with a message of the assistant's"),
        ],
    )
    def test_names_what_is_wrong(self, tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
        assert sentence.strip("`") in fault(tmp_path, row, "thumbs")


class TestRatings:
    @pytest.mark.parametrize(
        "row, scores",
        [
            ({"prompt": "Hi", "answer": "Hello", "scores": {"helpful": 4, "correct": 5.5}}, {"helpful": 4.0, "correct": 5.5}),
            ({"prompt": "Hi", "response": "Hello", "score": "3.5"}, {"score": 3.5}),
            ({"prompt": [USER], "completion": [GOOD], "rating": 2}, {"rating": 2.0}),
            ({"prompt": "Hi", "response": "Hello", "helpfulness": 3, "verbosity": 1}, {"helpfulness": 3.0, "verbosity": 1.0}),
            ({"prompt": "Hi", "answer": "Hello", "scores": '{"helpful": 4}'}, {"helpful": 4.0}),
        ],
    )
    def test_every_shape_is_read(self, tmp_path: Path, row: dict[str, Any], scores: dict[str, float]) -> None:
        given = written(tmp_path, {**row, "rater": "r1"})
        assert f"→ scores for {', '.join(scores)}" in recognize(given).mapping
        (found,) = read(given)
        assert found == Rating(HI, HELLO, scores, found.origin, "r1")

    @pytest.mark.parametrize(
        "row, sentence",
        [
            ({"prompt": "Hi", "answer": "Hello", "scores": {}}, "this row has no `scores`."),
            ({"prompt": "Hi", "answer": "Hello", "scores": {"a": "good"}}, 'the score for `a` is "good"; it must be a number.'),
            ({"prompt": "Hi", "answer": "Hello", "score": True}, "the score for `score` is true; it must be a number."),
            ({"prompt": "Hi", "answer": "Hello", "score": "nan"}, "the score for `score` is nan; it must be a finite number."),
            ({"prompt": "Hi", "answer": "Hello", "score": None}, "this row has no score."),
            ({"answer": "Hello", "score": 1}, "this row has no `prompt`."),
        ],
    )
    def test_names_what_is_wrong(self, tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
        assert f"rows.jsonl:1: {sentence}" in fault(tmp_path, row, "ratings")
