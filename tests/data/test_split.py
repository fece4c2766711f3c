"""Training and validation never share a row."""

import pytest

from luthier.data.split import content_key, repeated_rows, shared_rows, split_validation
from luthier.errors import DataError
from luthier.spec.rows import Conversation, Document, Message, Origin, Row


def documents(*texts: str) -> list[Row]:
    return [Document(text, Origin("a.jsonl", line)) for line, text in enumerate(texts, start=1)]


def test_the_share_is_set_aside_and_order_kept() -> None:
    rows = documents(*(f"row {i}" for i in range(40)))
    train, validation = split_validation(rows, 0.25, seed=0)
    assert (len(train), len(validation)) == (30, 10)
    assert sorted(train + validation, key=lambda row: row.origin.line) == rows
    assert [row.origin.line for row in train] == sorted(row.origin.line for row in train)


def test_the_split_follows_from_the_seed() -> None:
    rows = documents(*(f"row {i}" for i in range(40)))
    assert split_validation(rows, 0.25, seed=0) == split_validation(rows, 0.25, seed=0)
    assert split_validation(rows, 0.25, seed=0) != split_validation(rows, 0.25, seed=1)


def test_repeated_rows_go_to_the_same_side() -> None:
    rows = documents(*(f"row {i % 10}" for i in range(100)))
    train, validation = split_validation(rows, 0.3, seed=2)
    assert len(validation) == 30
    assert shared_rows(train, validation) == []


def test_a_small_share_sets_one_row_aside_and_leaves_one_to_learn() -> None:
    train, validation = split_validation(documents("a", "b"), 0.01, seed=0)
    assert (len(train), len(validation)) == (1, 1)


def test_rows_that_are_all_the_same_cannot_be_split() -> None:
    with pytest.raises(DataError, match="at least two different rows to set one aside; there is 1"):
        split_validation(documents("a", "a", "a"), 0.5, seed=0)


def test_shared_and_repeated_rows_are_named_by_their_first_places() -> None:
    train, validation = documents("a", "b", "a"), documents("c", "b", "b", "a")
    assert [(one.line, other.line) for one, other in shared_rows(train, validation)] == [(2, 2), (1, 4)]
    assert [(one.line, other.line) for one, other in repeated_rows(validation)] == [(2, 3)]


def test_a_row_is_the_same_wherever_it_stands_and_another_if_anything_differs() -> None:
    def talk(line: int, content: str = "b", weight: float = 1.0, tools: tuple[dict[str, str], ...] = ()) -> Conversation:
        return Conversation((Message("user", "a"), Message("assistant", content, weight=weight)), Origin("a", line), tools)

    assert content_key(talk(1)) == content_key(talk(2))
    assert len({content_key(row) for row in [talk(1), talk(1, "c"), talk(1, weight=0.5), talk(1, tools=({"a": "b"},))]}) == 4
