"""A step's rows are cut into streams: all of them once, none over the budget unless it is alone, and only rows that may meet."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.batches.strategies import PROPERTY, examples

from luthier.batches import streams
from luthier.batches.examples import Example
from luthier.batches.packing import Packing
from luthier.batches.plan import cut, shares
from luthier.batches.streams import build_stream
from luthier.text.sequence import Sequence

PACKINGS = [
    Packing(1),
    Packing(2),
    Packing(3),
    Packing(1, thresholds=(6,)),
    Packing(1, apart_beyond=6),
    Packing(2, (4, 8), 10),
    Packing(2, max_tokens=9),
]


def _row(*lengths: int, first: int = 0) -> Example:
    return Example(tuple(Sequence(np.full(n, first), np.r_[0, np.ones(n - 1)].astype(np.float32)) for n in lengths))


@PROPERTY
@given(rows=examples(), budget=st.integers(1, 40), processes=st.integers(1, 4))
@pytest.mark.parametrize("packing", PACKINGS)
def test_sharing_between_processes(packing: Packing, rows: list[Example], budget: int, processes: int) -> None:
    """Each row is somebody's once, all have as many streams, and none is over the budget but a row that is so alone."""
    found = shares(rows, budget, packing, processes)
    micros = [micro for share in found for micro in share if not micro.idle]
    assert len({len(share) for share in found}) == 1
    assert sorted(i for micro in micros for i in micro.index) == list(range(len(rows)))
    assert len(found[0]) <= -(-len(cut(rows, budget, packing)) // processes)
    assert all(len(micro.index) == 1 for micro in micros if micro.num_tokens > min(budget, packing.max_tokens or budget))
    assert all(len(micro.index) == 1 for share in found for micro in share if micro.idle)


def test_one_stream_becomes_one_for_each_process() -> None:
    """8 rows of 10 tokens would be one stream of 80: two processes compute 40 each, three 30, 30 and 20."""
    rows = [_row(10, first=i) for i in range(8)]
    for processes, sizes in ((1, [80]), (2, [40, 40]), (3, [30, 30, 20])):
        found = shares(rows, 1000, Packing(1), processes)
        assert [sum(micro.num_tokens for micro in share) for share in found] == sizes


def test_who_has_nothing_left_idles_on_the_smallest_row() -> None:
    """Two rows for three processes."""
    *busy, idle = shares([_row(9), _row(5)], 1000, Packing(1), 3)
    assert [[(micro.index.tolist(), micro.idle) for micro in share] for share in (*busy, idle)] == [
        [([0], False)],
        [([1], False)],
        [([1], True)],
    ]


@PROPERTY
@given(rows=examples(), budget=st.integers(1, 40))
@pytest.mark.parametrize("packing", PACKINGS)
def test_cutting(packing: Packing, rows: list[Example], budget: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "MIN_SHARED", 2)
        batches = cut(rows, budget, packing)
        assert sorted(i for batch in batches for i in batch.index) == list(range(len(rows)))
        for batch in batches:
            inside = [rows[i] for i in batch.index]
            computed = build_stream(inside, packing).num_tokens
            assert computed == batch.num_tokens
            assert batch.over_budget == (computed > min(budget, packing.max_tokens or budget))
            assert packing.max_tokens is None or computed <= packing.max_tokens or packing.apart(inside[0])
            assert len(inside) == 1 or not batch.over_budget
            assert len({packing.apart(row) for row in inside}) == 1
            if not packing.apart(inside[0]):
                assert len({packing.side(len(s)) for row in inside for s in row.sequences}) == 1
        again = cut(rows, budget, packing)
        assert [b.index.tolist() for b in again] == [b.index.tolist() for b in batches]


@PROPERTY
@given(ones=examples(most_sequences=1), others=examples(), budget=st.integers(1, 40))
def test_rows_of_different_kinds_in_one_step(ones: list[Example], others: list[Example], budget: int) -> None:
    """The count may then be too careful, never too hopeful."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "MIN_SHARED", 2)
        rows = [*ones, *others]
        for batch in cut(rows, budget, Packing(1)):
            computed = build_stream([rows[i] for i in batch.index]).num_tokens
            assert computed <= batch.num_tokens and (batch.num_tokens <= budget or len(batch.index) == 1)


def test_rows_with_one_prompt_stay_together() -> None:
    """Four rows of two prompts of 40, in turns: 43 + 3 tokens a pair, so a budget of 50 holds each pair, and not a third row."""
    prompts = np.arange(40), np.arange(100, 140)
    ids = [np.r_[prompts[i % 2], [200 + i] * 3] for i in range(4)]
    rows = [Example((Sequence(x, np.r_[0, np.ones(42)].astype(np.float32)),)) for x in ids]
    assert [(b.index.tolist(), b.num_tokens) for b in cut(rows, 50, Packing(1))] == [([0, 2], 46), ([1, 3], 46)]
    assert [b.num_tokens for b in cut(rows, 50, Packing(2))] == [43, 43, 43, 43]


def test_a_row_over_the_budget_goes_alone_and_is_marked() -> None:
    batches = cut([_row(5, first=1), _row(30, first=2), _row(5, first=3)], 12, Packing(1))
    assert [(b.index.tolist(), b.over_budget) for b in batches] == [([0], False), ([1], True), ([2], False)]


def test_rows_on_different_sides_of_a_threshold_never_meet() -> None:
    rows = [_row(10, first=1), _row(64, first=2), _row(65, first=3), _row(90, first=4)]
    assert [b.index.tolist() for b in cut(rows, 1000, Packing(1, thresholds=(64,)))] == [[0, 1], [2, 3]]


def test_a_pair_with_an_answer_on_each_side_is_computed_apart() -> None:
    pair, short = _row(60, 70, first=1), _row(60, first=2)
    packing = Packing(1, thresholds=(64,))
    batches = cut([pair, short], 1000, packing)
    assert sorted(b.index.tolist() for b in batches) == [[0], [1]]
    assert packing.apart(pair) and not packing.apart(short)
    assert build_stream([pair], packing).apart and build_stream([pair], packing).num_tokens == 130


@pytest.mark.parametrize(
    ("packing", "lengths", "apart"),
    [
        (Packing(1), (10, 90), False),
        (Packing(2), (10, 90), False),
        (Packing(3), (10,), True),
        (Packing(1, apart_beyond=64), (64, 10), False),
        (Packing(1, apart_beyond=64), (65, 10), True),
        (Packing(2, max_tokens=64), (32, 32), False),
        (Packing(2, max_tokens=64), (32, 33), True),
        (Packing(1, thresholds=(16, 64)), (17, 64), False),
        (Packing(1, thresholds=(16, 64)), (16, 17), True),
    ],
)
def test_who_goes_apart(packing: Packing, lengths: tuple[int, ...], apart: bool) -> None:
    assert packing.apart(_row(*lengths)) == apart
    assert packing.share(apart) == (packing.tier == 1 and not apart)


def test_sides_count_the_thresholds_a_row_is_beyond() -> None:
    assert [Packing(1, thresholds=(16, 64)).side(n) for n in (1, 16, 17, 64, 65)] == [0, 0, 1, 1, 2]


def test_no_rows_make_no_streams() -> None:
    assert cut([], 100, Packing(1)) == []
