"""Training and validation never share a row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.seeded import generator
from luthier.data.split import content_key, keys_of, repeated_rows, set_aside, shared_rows, split_validation
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
    assert shared_rows(keys_of(train), keys_of(validation)) == []


def test_a_small_share_sets_one_row_aside_and_leaves_one_to_learn() -> None:
    train, validation = split_validation(documents("a", "b"), 0.01, seed=0)
    assert (len(train), len(validation)) == (1, 1)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    keys=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40).filter(lambda keys: len(set(keys)) > 1),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 3),
)
def test_whole_groups_are_drawn_until_there_are_as_many_rows_as_wanted(keys: list[tuple[int, int]], share: float, seed: int) -> None:
    """Row by row what `set_aside` does at once; keys that agree in one half only are different keys."""
    groups: dict[tuple[int, int], list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    aside: set[int] = set()
    for group in generator(seed, "validation").permutation(len(groups))[:-1]:
        if len(aside) < max(1, round(share * len(keys))):
            aside.update(list(groups.values())[group])
    assert np.flatnonzero(set_aside(np.array(keys, dtype=np.uint64), share, seed)).tolist() == sorted(aside)


def test_rows_that_are_all_the_same_cannot_be_split() -> None:
    with pytest.raises(DataError, match="at least two different rows to set one aside; there is 1"):
        split_validation(documents("a", "a", "a"), 0.5, seed=0)


def test_shared_and_repeated_rows_are_named_by_their_first_places() -> None:
    train, validation = documents("a", "b", "a"), documents("c", "b", "b", "a")
    assert shared_rows(keys_of(train), keys_of(validation)) == [(1, 1), (0, 3)]
    assert [(one.line, other.line) for one, other in repeated_rows(validation)] == [(2, 3)]


def test_a_row_is_the_same_wherever_it_stands_and_another_if_anything_differs() -> None:
    def talk(line: int, content: str = "b", weight: float = 1.0, tools: tuple[dict[str, str], ...] = ()) -> Conversation:
        return Conversation((Message("user", "a"), Message("assistant", content, weight=weight)), Origin("a", line), tools)

    assert content_key(talk(1)) == content_key(talk(2))
    assert len({content_key(row) for row in [talk(1), talk(1, "c"), talk(1, weight=0.5), talk(1, tools=({"a": "b"},))]}) == 4
