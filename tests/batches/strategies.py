"""Rows for properties: few different tokens, so that beginnings are often shared, also by chance and in trees."""

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from luthier.batches.examples import Example
from luthier.text.sequence import Sequence

PROPERTY = settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
"""The same cases on every machine, however slow."""

TOKENS = st.sampled_from([0, 1, 255, 256])
"""Ids on both sides of a byte: an order by bytes must still be the order of numbers."""


@st.composite
def sequences(draw: st.DrawFn, stems: list[list[int]], longest: int = 12) -> Sequence:
    """Begins with a piece of one of `stems`; weights 0, 0.5 or 1."""
    stem = draw(st.sampled_from(stems))
    begins = stem[: draw(st.integers(0, len(stem)))]
    ids = [*begins, *draw(st.lists(TOKENS, max_size=longest - len(begins)))] or [0]
    weights = [0.0, *draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=len(ids) - 1, max_size=len(ids) - 1))]
    return Sequence(np.array(ids, dtype=np.int64), np.array(weights, dtype=np.float32))


@st.composite
def examples(draw: st.DrawFn, most_sequences: int = 3, most_rows: int = 8) -> list[Example]:
    """Rows of 1 to `most_sequences` sequences each, all with the same two stems to begin with."""
    stems = draw(st.lists(st.lists(TOKENS, min_size=2, max_size=8), min_size=1, max_size=2))
    number = draw(st.integers(1, most_sequences))
    rows = draw(st.lists(st.lists(sequences(stems), min_size=number, max_size=number), min_size=1, max_size=most_rows))
    return [Example(tuple(row)) for row in rows]
