"""Lots: tables of examples whose columns stay with them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.batches.strategies import PROPERTY, examples

from luthier.batches.examples import Example, Lot
from luthier.batches.packing import Packing
from luthier.batches.rows import Rows, rows_of
from luthier.text.sequence import Sequence


def _addresses(number: int, row: Example) -> list[int]:
    return [(number * 100 + s) * 100 + int(t) for s, x in enumerate(row.sequences) for t in np.flatnonzero(x.weights)]


def _lot(rows: list[Example]) -> Lot:
    """Each row's number as a row column; each scored token's address (row, sequence, position) as a token column."""
    addresses = [
        (r * 100 + s) * 100 + int(t) for r, row in enumerate(rows) for s, x in enumerate(row.sequences) for t in np.flatnonzero(x.weights)
    ]
    return Lot(tuple(rows), {"number": torch.arange(len(rows))}, {"address": torch.tensor(addresses, dtype=torch.long)})


@PROPERTY
@given(data=st.data(), rows=examples())
def test_columns_go_with_their_rows(data: st.DataObject, rows: list[Example]) -> None:
    """Whatever is taken, in whatever order, also twice: a token column still holds the addresses of the stream's scored tokens."""
    index = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6)), dtype=np.int64)
    part = _lot(rows).take(index)
    assert part.row_columns["number"].tolist() == index.tolist() == [rows.index(e) for e in part.examples]
    expected = [a for r in index for a in _addresses(r, rows[r])]
    assert part.token_columns["address"].tolist() == expected
    assert len(part) == len(index) and sum(e.num_trained for e in part.examples) == len(expected) == part.token_offsets[-1]


def test_a_lot_without_token_columns_is_taken_all_the_same() -> None:
    rows = [Example((Sequence(np.arange(n), np.zeros(n, dtype=np.float32)),)) for n in (2, 3, 4)]
    assert [e.num_tokens for e in Lot(tuple(rows)).take(np.array([2, 0])).examples] == [4, 2]


def test_a_column_of_another_length_is_a_programming_error() -> None:
    rows = (Example((Sequence(np.arange(2), np.zeros(2, dtype=np.float32)),)),)
    with pytest.raises(AssertionError):
        Lot(rows, {"advantage": torch.zeros(2)})


@PROPERTY
@given(rows=examples())
def test_sums_over_what_belongs_together(rows: list[Example]) -> None:
    """Sums of weights over rows and sequences, and the first scored token of each sequence."""
    batch = rows_of(_lot(rows), Packing(1), torch.device("cpu"))
    per_sequence = [float(s.weights.sum()) for row in rows for s in row.sequences]
    assert batch.per_sequence(batch.weights).tolist() == pytest.approx(per_sequence)
    assert batch.per_row(batch.weights).tolist() == pytest.approx([sum(float(s.weights.sum()) for s in row.sequences) for row in rows])
    assert _lot(rows).token_weight.tolist() == pytest.approx(batch.per_row(batch.weights).tolist())
    assert batch.branches(batch.per_sequence(batch.weights)).shape == (len(rows), len(rows[0].sequences))
    assert len(batch) == len(rows) and batch.num_sequences == len(per_sequence)
    first, scored = batch.columns["address"][batch.first_tokens].tolist(), [s for row in rows for s in row.sequences if s.num_trained]
    assert [a % 100 for a in first] == [int(np.flatnonzero(s.weights)[0]) for s in scored]


def test_rows_carry_both_kinds_of_column() -> None:
    rows = [Example((Sequence(np.arange(3), np.array([0, 1, 1], dtype=np.float32)),))]
    batch = rows_of(_lot(rows), Packing(1), torch.device("cpu"))
    assert isinstance(batch, Rows)
    assert {name: c.tolist() for name, c in batch.columns.items()} == {"number": [0], "address": [1, 2]}


def test_what_an_example_counts() -> None:
    """Two sequences of 3 and 5 tokens, of which 2 and 1 are scored; a weight of 2 counts as one token."""
    example = Example(
        (
            Sequence(np.arange(3), np.array([0, 1, 2], dtype=np.float32)),
            Sequence(np.arange(5), np.array([0, 0, 0, 0, 0.5], dtype=np.float32)),
        )
    )
    assert (example.num_tokens, example.num_trained, example.longest) == (8, 3, 5)
    assert Lot((example,)).token_weight.tolist() == [3.5]
