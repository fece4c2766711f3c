"""Columns of a million rows: what is repeated, shared, and told differently."""

import msgspec
import numpy as np
import pytest

from luthier.data.split import content
from luthier.data.survey.columns import disputed, repeated, runs, shared
from luthier.data.survey.contents import key, size, texts
from luthier.data.survey.places import Places, at, named, stretches
from luthier.spec.rows import Conversation, Document, Labeled, Message, Origin, Preference, Ranking, Rating, Row, Thumb

USER, ANSWER, OTHER = (Message("user", "hello"),), (Message("assistant", "good day"),), (Message("assistant", "<b> no"),)
CALL = Message("assistant", tool_calls=({"id": "1", "function": {"name": "fee", "arguments": "{}"}},))
TOOL = {"type": "function", "function": {"name": "fee"}}


def at_line(line: int) -> list[Row]:
    """A row of every kind."""
    origin = Origin("x", line)
    return [
        Conversation((*USER, *ANSWER), origin),
        Conversation((*USER, CALL), origin, (TOOL,)),
        Document("good day", origin),
        Labeled("good day", "kind", origin),
        Preference(USER, ANSWER, OTHER, origin),
        Ranking(USER, (ANSWER, OTHER), (1, 2), origin, "ann"),
        Thumb(USER, ANSWER, True, origin),
        Rating(USER, ANSWER, {"kind": 4.0, "true": 5.0}, origin),
    ]


def u64(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def test_a_key_depends_on_the_content_alone():
    first, again = ([key(content(row)) for row in at_line(line)] for line in (1, 2))
    assert first == again and len(set(first)) == len(first)
    assert all(0 <= one < 2**64 for one in first)


@pytest.mark.parametrize("row", at_line(1), ids=lambda row: type(row).__name__)
def test_a_key_changes_with_every_field(row: Row):
    for field in msgspec.structs.fields(row):
        value = getattr(row, field.name)
        other = {str: "other", tuple: (*USER, *USER), bool: False, dict: {"kind": 1.0}}.get(type(value))
        if field.name != "origin" and value and other is not None:
            assert key(content(msgspec.structs.replace(row, **{field.name: other}))) != key(content(row)), field.name


def test_scores_in_another_order_are_the_same():
    one = Rating(USER, ANSWER, {"kind": 4.0, "true": 5.0}, Origin("x", 1))
    other = Rating(USER, ANSWER, {"true": 5.0, "kind": 4.0}, Origin("x", 1))
    assert key(content(one)) == key(content(other))


def test_sizes_are_characters_of_the_row_and_its_longest_answer():
    """`hello` 5, `good day` 8, `<b> no` 6; of answers the longest counts."""
    sizes = [tuple(size(row)) for row in at_line(1)]
    assert sizes[0] == (13, 8, False) and sizes[2] == sizes[3] == (8, 8, False) and sizes[4] == sizes[5] == (13, 8, True)
    assert sizes[1][1] > 30  # a tool call is text, too


def test_texts_are_all_that_a_row_says():
    assert [texts(row) for row in at_line(1)][4:6] == [["hello", "good day", "<b> no"]] * 2


def test_repeated_entries_and_their_first():
    later, earlier = repeated(u64(5, 7, 5, 9, 7, 5))
    assert (later.tolist(), earlier.tolist()) == ([2, 4, 5], [0, 1, 0])
    assert [len(part) for part in repeated(u64())] == [0, 0]


def test_shared_entries():
    found, there = shared(u64(1, 2, 3, 2), u64(9, 2, 2, 1))
    assert (found.tolist(), there.tolist()) == ([0, 1, 3], [3, 1, 1])
    assert [len(part) for part in shared(u64(1), u64())] == [0, 0]


def test_runs():
    assert [part.tolist() for part in runs(u64(1, 1, 2, 5, 5))] == [[0, 2, 3], [2, 3, 5]]
    assert [part.tolist() for part in runs(u64())] == [[], []]


def test_disputed_entries_ask_the_same_and_say_different_things():
    assert [rows.tolist() for rows in disputed(u64(1, 2, 1, 2, 3, 1), u64(10, 20, 11, 20, 30, 10))] == [[0, 2, 5]]


def test_places_over_several_files():
    places = Places()
    for path, lines in (("a.jsonl", (1, 3)), ("empty.jsonl", ()), ("b.jsonl", (2,))):
        places.begin(path)
        places.lines.extend(lines)
    assert places.shown([0, 1, 2]) == ("a.jsonl:1", "a.jsonl:3", "b.jsonl:2")


def test_places_in_sentences():
    assert at((), 0) == ""
    assert at(("a:1",), 1) == " (a:1)"
    assert at(("a:1", "a:4", "b:4", "b:9", "b:11"), 40) == " (a:1, 4, b:4 and 37 more)"
    assert stretches([3, 4, 5, 9]) == [(3, 5), (9, 9)]
    assert named([7]) == "line 7"
    assert named([3, 4, 5, 9]) == "lines 3–5, 9"
    assert named(range(1, 40, 2), most=3) == "lines 1, 3, 5, …"
