"""The format rewards of examples/: each instruction told on an answer that keeps it and on one that does not, and on IFEval's own rows."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

KEPT: list[tuple[str, dict[str, Any], str, str]] = [
    ("punctuation:no_comma", {}, "No pause here.", "A pause, here."),
    ("length_constraints:number_words", {"relation": "at least", "num_words": 3}, "one two three", "one two"),
    ("length_constraints:number_sentences", {"relation": "less than", "num_sentences": 2}, "One. ", "One. Two!"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", "one"),
    ("keywords:existence", {"keywords": ["loan", "rate"]}, "The rate of a Loan.", "The rates of loans."),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "A rocket.", "A Rock."),
    ("keywords:frequency", {"relation": "at least", "keyword": "story", "frequency": 2}, "Story, story.", "A story."),
    ("keywords:letter_frequency", {"let_relation": "less than", "letter": "z", "let_frequency": 2}, "zoo", "jazz"),
    ("change_case:english_lowercase", {}, "all small.", "Not all."),
    ("change_case:english_capital", {}, "ALL BIG.", "NOT all."),
    ("change_case:capital_word_frequency", {"capital_relation": "at least", "capital_frequency": 2}, "YES and NO", "YES and no"),
    ("startend:quotation", {}, '"Said."', '"Said.'),
    ("startend:end_checker", {"end_phrase": "Any questions?"}, "So it is. Any questions?", "Any questions? No."),
    ("detectable_format:title", {}, "<<Loans>>\nThey cost.", "Loans\nThey cost."),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n* two", "* one\n* two\n- three"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "a *b* c", "a b c"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name], [place]", "[name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye. P.S. Call.", "Bye."),
]


@pytest.fixture(scope="module")
def rewards(root: Path) -> dict[str, Any]:
    return runpy.run_path(str(root / "examples" / "format_rewards.py"))


def test_each_instruction_is_told(rewards: dict[str, Any]):
    assert {name for name, *_ in KEPT} == set(rewards["CHECKS"])
    for name, arguments, good, bad in KEPT:
        item = {"instruction_id_list": [name], "kwargs": [arguments]}
        assert (rewards["score"]([], good, item), rewards["score"]([], bad, item)) == (1, 0), name


def test_the_share_of_the_instructions_counts_and_silence_keeps_none(rewards: dict[str, Any]):
    item = {
        "instruction_id_list": ["punctuation:no_comma", "change_case:english_lowercase", "language:response_language"],
        "kwargs": [{}, {}, {}],
    }
    assert rewards["score"]([], "Just so.", item) == 0.5
    assert rewards["score"]([], " ", item) == 0


def test_most_real_rows_have_an_instruction_that_a_program_can_tell(rewards: dict[str, Any], shared: Path):
    rows = [json.loads(line) for line in (shared / "data/ifeval/input_data.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [any(name in rewards["CHECKS"] for name in row["instruction_id_list"]) for row in rows]
    assert sum(told) > 0.8 * len(rows) > 400
    assert all(0 <= rewards["score"]([], "an answer", row) <= 1 for row in rows)
