"""A stream computes every beginning once, and each scored token sees its own row and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.batches.strategies import PROPERTY, TOKENS, examples

from luthier.batches import streams
from luthier.batches.examples import Example
from luthier.batches.packing import Packing
from luthier.batches.streams import MIN_SHARED, Segment, Stream, build_stream, lexical_order, num_computed
from luthier.text.sequence import Sequence


@contextmanager
def shared_from(number: int) -> Iterator[None]:
    """Beginnings of `number` tokens are shared, so that a dozen tokens make a tree."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "MIN_SHARED", number)
        yield


def _row(*ids: np.ndarray | list[int]) -> Example:
    return Example(tuple(Sequence(np.array(x), np.r_[0, np.ones(len(x) - 1)].astype(np.float32)) for x in ids))


def _seen(stream: Stream, at: int) -> tuple[list[int], list[int]]:
    """Ids and positions that attention shows to the token at `at`, itself included."""
    (segment,) = [s for s in stream.segments if s.start <= at < s.start + s.length]
    where = [t for start, n in segment.reads for t in range(start, start + n)] + list(range(segment.start, at + 1))
    return stream.input_ids[0, where].tolist(), stream.position_ids[0, where].tolist()


def _assert_each_token_sees_its_own_row(rows: list[Example], stream: Stream) -> None:
    all_sequences = [(r, s) for r, row in enumerate(rows) for s in row.sequences]
    n = 0
    for number, (r, sequence) in enumerate(all_sequences):
        assert _seen(stream, int(stream.last_at[number])) == (sequence.ids.tolist(), list(range(len(sequence))))
        assert stream.sequence_row[number] == r
        for t in np.flatnonzero(sequence.weights):
            assert _seen(stream, int(stream.read_at[n])) == (sequence.ids[:t].tolist(), list(range(t)))
            assert stream.targets[n] == sequence.ids[t] and stream.weights[n] == sequence.weights[t]
            assert stream.token_row[n] == r and stream.token_sequence[n] == number
            n += 1
    assert n == len(stream.targets) == len(stream.read_at) == len(stream.weights)
    assert stream.num_rows == len(rows) and stream.weights.dtype == torch.float32


@PROPERTY
@given(rows=examples())
@pytest.mark.parametrize(("tier", "min_shared"), [(1, 1), (1, 3), (2, 1), (3, 1)])
def test_each_scored_token_sees_its_own_beginning(tier: int, min_shared: int, rows: list[Example]) -> None:
    """Targets by row, sequence and position; positions go on from what is shared; tiers 2 and 3 share nothing."""
    with shared_from(min_shared):
        stream = build_stream(rows, Packing(tier))
    _assert_each_token_sees_its_own_row(rows, stream)
    assert [s.start for s in stream.segments] == np.cumsum([0, *(s.length for s in stream.segments[:-1])]).tolist()
    if tier > 1:
        assert stream.num_tokens == sum(r.num_tokens for r in rows)
        assert all(not s.reads for s in stream.segments)
    assert stream.apart == (tier == 3)


@PROPERTY
@given(rows=examples())
def test_every_beginning_is_computed_once(rows: list[Example]) -> None:
    """With beginnings of one token shared, a stream has as many tokens as there are different beginnings: the nodes of a trie."""
    with shared_from(1):
        ids = [s.ids.tolist() for row in rows for s in row.sequences]
        nodes = {tuple(x[:n]) for x in ids for n in range(1, len(x) + 1)}
        assert build_stream(rows).num_tokens == len(nodes)


@PROPERTY
@given(rows=examples())
@pytest.mark.parametrize("share", [True, False])
def test_the_count_foretells_the_stream(share: bool, rows: list[Example]) -> None:
    ids = [s.ids for row in rows for s in row.sequences]
    with shared_from(3):
        assert num_computed(ids, share) == build_stream(rows, Packing(1 if share else 2)).num_tokens


@PROPERTY
@given(ids=st.lists(st.lists(TOKENS | st.integers(0, 2**40), max_size=5), max_size=6))
def test_lexical_order_is_the_order_of_the_numbers(ids: list[list[int]]) -> None:
    order = lexical_order([np.array(x, dtype=np.int64) for x in ids])
    assert [ids[i] for i in order] == sorted(ids)


def test_a_tree_of_beginnings() -> None:
    """Lines share a prompt of 40; two of them go on alike for 35 more. 40 + 35 + 3 + 4 + 5 tokens instead of 78 + 79 + 45."""
    prompt, answer = np.arange(100, 140), np.arange(200, 235)
    a, b, c = np.r_[prompt, answer, [1, 1, 1]], np.r_[prompt, answer, [2, 2, 2, 2]], np.r_[prompt, [300] * 5]
    stream = build_stream([_row(c), _row(a, b)])
    assert stream.num_tokens == 40 + 35 + 3 + 4 + 5
    assert stream.segments == (Segment(0, 78), Segment(78, 4, ((0, 75),)), Segment(82, 5, ((0, 40),)))
    assert stream.position_ids[0, [0, 77, 78, 82]].tolist() == [0, 77, 75, 40]
    _assert_each_token_sees_its_own_row([_row(c), _row(a, b)], stream)


def test_a_branch_of_a_branch_reads_both_stretches() -> None:
    prompt = np.arange(100, 140)
    a, b = np.r_[prompt, [1] * 40], np.r_[prompt, [2] * 40]
    c = np.r_[b, [3] * 10]
    stream = build_stream([_row(a), _row(b), _row(c)])
    assert stream.segments[-1] == Segment(120, 10, ((0, 40), (80, 40)))
    assert stream.segments[-1].num_read == 80


@pytest.mark.parametrize(("common", "computed"), [(MIN_SHARED - 1, 2 * MIN_SHARED + 2), (MIN_SHARED, MIN_SHARED + 4)])
def test_a_short_beginning_is_computed_again(common: int, computed: int) -> None:
    """31 + 2 and 31 + 2 are 66 tokens; 32 + 2 and 32 + 2 are 36."""
    rows = [_row(np.r_[np.zeros(common), [1, 2]].astype(np.int64)), _row(np.r_[np.zeros(common), [2, 1]].astype(np.int64))]
    assert build_stream(rows).num_tokens == computed


def test_a_sequence_that_comes_again_costs_nothing() -> None:
    """Three times the same 40 tokens, and once their first 35: 40 tokens, and every row's own targets."""
    ids = np.arange(40)
    rows = [_row(ids), _row(ids[:35]), _row(ids, ids)]
    stream = build_stream(rows)
    assert stream.num_tokens == 40 and stream.segments == (Segment(0, 35), Segment(35, 5, ((0, 35),)))
    assert len(stream.targets) == 39 + 34 + 39 + 39
    assert stream.last_at.tolist() == [39, 34, 39, 39] and stream.sequence_row.tolist() == [0, 1, 2, 2]


def test_a_row_without_scored_tokens_is_still_read() -> None:
    """A reward model reads its end."""
    example = Example((Sequence(np.arange(5), np.zeros(5, dtype=np.float32)),))
    stream = build_stream([example])
    assert len(stream.targets) == 0 and stream.last_at.tolist() == [4]


def test_moving_a_stream_keeps_what_it_says() -> None:
    stream = build_stream([_row(np.arange(40)), _row(np.arange(35))])
    moved = stream.to(torch.device("cpu"))
    assert moved.segments == stream.segments and torch.equal(moved.read_at, stream.read_at) and moved.num_rows == 2
