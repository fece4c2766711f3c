"""Pairs that say nothing, or too little, about what is better."""

import pytest

from luthier.data.survey.pairs import Pairs, difference
from luthier.data.survey.places import Places
from luthier.spec.rows import Message, Origin, Preference


@pytest.mark.parametrize(
    "chosen, rejected, expected",
    [
        ("The fee is 3 euros.", "The fee is 3 euros.", "none"),
        ("The fee is 3 euros.", "The  fee is 3 euros.\n", "none"),
        ("", " ", "both empty"),
        ("The fee is 3 euros.", "The fee is 4 euros.", "one word"),
        ("The fee is 3 euros.", "The yearly fee is 3 euros.", "one word"),
        ("Yes, the fee is 3 euros.", "Yes, the fee is 3 euros. Ask me anything else.", "length"),
        ("I am sorry, but the fee is 3 euros.", "the fee is 3 euros.", "length"),
        ("yes", "no", None),
        ("Nothing.", "", None),
        ("The fee is 3 euros.", "It costs you nothing at all.", None),
        ("a b a b a b", "a b a b", "length"),
    ],
)
def test_how_little_two_answers_differ(chosen: str, rejected: str, expected: str | None):
    assert difference(chosen, rejected) == expected


def answer(text: str) -> tuple[Message, ...]:
    return (Message("assistant", text),)


def counted(*answers: tuple[str, str]) -> tuple[Pairs, Places]:
    pairs, places = Pairs(), Places()
    places.begin("pairs.jsonl")
    for number, (chosen, rejected) in enumerate(answers):
        places.lines.append(number + 1)
        row = Preference((Message("user", "?"),), answer(chosen), answer(rejected), Origin("pairs.jsonl", number + 1))
        pairs.add(row, number)
    return pairs, places


def test_equal_pairs_are_named_by_line():
    pairs, places = counted(("a b c d", "e f g h"), ("same", "same"), ("this", "this"))
    (finding,) = pairs.findings(places)
    assert (finding.severity, finding.code, finding.count, finding.places) == (
        "warning",
        "equal-pair",
        2,
        ("pairs.jsonl:2", "pairs.jsonl:3"),
    )
    assert finding.message.startswith("2 pairs have the same answer twice (pairs.jsonl:2, 3). Nothing can be learned from them")


def test_a_few_pairs_of_one_word_are_advice_and_many_a_warning():
    near, far = ("the fee is high", "the fee is low"), ("the fee is high", "I can't say that at all")
    few, many = counted(near, *[far] * 30), counted(near, near, far)
    assert [(f.severity, f.code) for f in few[0].findings(few[1])] == [("advice", "pairs-differ-by-one-word")]
    assert [(f.severity, f.code) for f in many[0].findings(many[1])] == [("warning", "pairs-differ-by-one-word")]


def test_a_preference_for_length_is_told():
    """40 of 60 pairs, 67 %, prefer the longer answer: above 65 %."""
    pairs, places = counted(*[("a long answer here", "short one")] * 40, *[("short one", "quite a long answer")] * 20)
    assert pairs.longer_preferred == pytest.approx(2 / 3)
    (finding,) = pairs.findings(places)
    assert finding.code == "length-bias" and "In 67% of the pairs the longer answer" in finding.message
    even, places = counted(*[("a long answer here", "short one")] * 30, *[("short one", "quite a long answer")] * 30)
    assert even.findings(places) == []


def test_tool_calls_make_answers_differ():
    call = (Message("assistant", tool_calls=({"function": {"name": "rate"}},)),)
    other = (Message("assistant", tool_calls=({"function": {"name": "fee"}},)),)
    pairs = Pairs()
    pairs.add(Preference((Message("user", "?"),), call, other, Origin("p", 1)), 0)
    pairs.add(Preference((Message("user", "?"),), call, call, Origin("p", 2)), 1)
    assert {kind: list(rows) for kind, rows in pairs.alike.items()} == {"none": [1]}
