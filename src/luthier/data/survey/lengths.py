"""How long rows are: quantiles, and a histogram with round limits."""

import math

import msgspec
import numpy as np

BINS = 14
"""At most so many, the last of which is open."""


class Bin(msgspec.Struct, frozen=True):
    """Rows of at least `low` and less than `high`; `high` None: and all above."""

    low: int
    high: int | None
    count: int


class Distribution(msgspec.Struct, frozen=True):
    """Lengths of rows in `unit`. `quantiles`: by percent."""

    unit: str
    count: int
    total: int
    mean: float
    quantiles: dict[int, int]
    bins: tuple[Bin, ...]
    longest_at: str = ""
    """Where the longest row stands."""


def span(part: Bin) -> str:
    """`0–99`, `1,400 and more`"""
    if part.high is None:
        return f"{part.low:,} and more"
    return f"{part.low:,}" if part.high == part.low + 1 else f"{part.low:,}–{part.high - 1:,}"


def distribution(lengths: np.ndarray, unit: str, longest_at: str = "") -> Distribution | None:
    """None where there is no row. `lengths`: (n,) integers."""
    if not len(lengths):
        return None
    percents = (0, 5, 50, 95, 99, 100)
    values = np.percentile(lengths, percents, method="lower")
    quantiles = {percent: int(value) for percent, value in zip(percents, values, strict=True)}
    total = int(lengths.sum(dtype=np.int64))
    return Distribution(unit, len(lengths), total, total / len(lengths), quantiles, tuple(_bins(lengths, quantiles)), longest_at)


def _bins(lengths: np.ndarray, quantiles: dict[int, int]) -> list[Bin]:
    """Equal bins up to the 99th percentile, so that one long row does not press all others into one."""
    low, high = quantiles[0], quantiles[99]
    step = _round_step((high - low + 1) / (BINS - 1))
    first = low // step * step
    edges = list(range(first, high + step + 1, step)) or [first, first + step]
    inside, _ = np.histogram(lengths, bins=edges)
    bins = [Bin(a, b, int(count)) for a, b, count in zip(edges[:-1], edges[1:], inside, strict=True)]
    above = len(lengths) - int(inside.sum()) + int((lengths == edges[-1]).sum())  # numpy's last bin holds its upper limit
    if above:
        bins[-1] = Bin(bins[-1].low, bins[-1].high, bins[-1].count - int((lengths == edges[-1]).sum()))
        bins.append(Bin(edges[-1], None, above))
    return bins


def _round_step(step: float) -> int:
    """1, 2 or 5 times a power of ten, at least `step`."""
    size = int(10 ** max(0, math.floor(math.log10(max(step, 1)))))
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= step)
