"""The order of one epoch over several data sets, mixed by weight: a pure function of sizes, weights, seed and epoch."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil

import numpy as np

from luthier.data.seeded import generator


def order(sizes: Sequence[int], weights: Sequence[float], seed: int, epoch: int) -> np.ndarray:
    """Which rows an epoch shows, in which order.

    Each set of n rows with weight w goes round in a fixed shuffled circle; epoch e takes places ⌈e·w·n⌉ to ⌈(e+1)·w·n⌉ of it. So weight 2
    shows each row exactly twice, 0.5 one half in even epochs and the other in odd ones; over many epochs every row is shown equally often.

    Args:
        sizes: rows of each set. weights: of each set, above 0. epoch: counted from 0.
    Returns:
        (N, 2) int64: index of the set, and of the row within it. N may be 0 where all the weights are small.
    """
    shown = [_with_set(i, _turn(size, weight, seed, i, epoch)) for i, (size, weight) in enumerate(zip(sizes, weights, strict=True))]
    rows = np.concatenate(shown) if shown else np.empty((0, 2), np.int64)
    return rows[generator(seed, "order", epoch).permutation(len(rows))]


def _turn(size: int, weight: float, seed: int, index: int, epoch: int) -> np.ndarray:
    """The rows of one set in one epoch, (n,) int64. Exact fractions: 0.29 · 100 rows are 29, and no row is lost to rounding over epochs."""
    length = Fraction(weight).limit_denominator(1_000_000) * size
    places = np.arange(ceil(epoch * length), ceil((epoch + 1) * length)) % max(size, 1)
    return places if length.denominator == 1 and length % max(size, 1) == 0 else generator(seed, "circle", index).permutation(size)[places]


def _with_set(index: int, rows: np.ndarray) -> np.ndarray:
    return np.stack([np.full_like(rows, index), rows], axis=1).astype(np.int64, copy=False)
