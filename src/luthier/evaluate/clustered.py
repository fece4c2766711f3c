"""Intervals of shares whose cases hang together: pairs of one ranking are not as many independent ones. Pure."""

import numpy as np
from scipy.stats import t

from luthier.evaluate.metrics import CONFIDENCE_Z, wilson


def clustered_wilson(right: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a mean share, where cases that have a group in common may depend on each other.

    Wilson's interval for so many independent cases as would vary as much: n* = p (1 - p) / V, at most n, and fewer where there are few
    groups, (z / t)² of it. Dean & Pagano, 2015, https://doi.org/10.1093/jssam/smv024; Korn & Graubard, 1998. V is the variance of the mean
    that is robust to groups, for cases that stand in two groups (two answers to different prompts) the dyadic one of Aronow, Samii &
    Assenova, 2015, https://doi.org/10.1093/pan/mpv018:

        V = K / (K - 1) · Σ over cases i, j with a group in common of (y_i - p)(y_j - p) / n²

    Args:
        right: (n,), 1, 0, or ½ for a tie. groups: (n, 2) of int, both the same where a case stands in one.
    """
    number, names = len(right), np.unique(groups)
    share = float(right.mean())
    if len(names) < 2:
        return 0.0, 1.0
    if share in (0.0, 1.0):  # nothing varies, within groups or between: as many as there are groups
        effective = float(len(names))
    else:
        variance = _variance(right - share, np.searchsorted(names, groups), len(names))
        effective = min(float(number), share * (1 - share) / variance) if variance > 0 else float(number)
    effective *= (CONFIDENCE_Z / float(t.ppf(0.975, len(names) - 1))) ** 2
    return wilson(share * effective, effective)


def _variance(off: np.ndarray, groups: np.ndarray, count: int) -> float:
    """off: (n,), distances from the mean. Each pair of cases counts once, however many groups they share."""
    first, second = groups[:, 0], groups[:, 1]
    two = first != second
    sums = np.bincount(first, off, count) + np.bincount(second[two], off[two], count)
    low, high = np.minimum(first, second)[two], np.maximum(first, second)[two]
    shared_both = np.bincount(np.unique(low * count + high, return_inverse=True)[1], off[two]) if two.any() else np.zeros(0)
    return float((np.square(sums).sum() - np.square(shared_both).sum()) * count / (count - 1) / len(off) ** 2)
