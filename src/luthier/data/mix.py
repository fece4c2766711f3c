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
        (N,) int64: places in all sets laid end to end. N may be 0 where all the weights are small.
    """
    shown = [_turn(size, weight, seed, i, epoch) for i, (size, weight) in enumerate(zip(sizes, weights, strict=True))]
    first = np.cumsum([0, *sizes])
    places = np.concatenate([np.empty(0, np.int64), *(rows + start for rows, start in zip(shown, first, strict=False))])
    return places[generator(seed, "order", epoch).permutation(len(places))]


def num_shown(sizes: Sequence[int], weights: Sequence[float], epoch: int) -> int:
    """How many rows `order` returns."""
    return sum(len(_places(size, weight, epoch)) for size, weight in zip(sizes, weights, strict=True))


def _places(size: int, weight: float, epoch: int) -> range:
    """Places in a set's endless circle. Exact fractions: 0.29 · 100 rows are 29, and no row is lost to rounding over epochs."""
    length = _length(size, weight)
    return range(ceil(epoch * length), ceil((epoch + 1) * length))


def _length(size: int, weight: float) -> Fraction:
    return Fraction(weight).limit_denominator(1_000_000) * size


def _turn(size: int, weight: float, seed: int, index: int, epoch: int) -> np.ndarray:
    """The rows of one set in one epoch, (n,) int64."""
    length, places = _length(size, weight), _places(size, weight, epoch)
    rows = np.arange(places.start, places.stop) % max(size, 1)
    return rows if length.denominator == 1 and length % max(size, 1) == 0 else generator(seed, "circle", index).permutation(size)[rows]
