"""Krippendorff's alpha: how far raters agree beyond chance, and who disagrees with all the others.

α = 1 - D_o / D_e: the disagreement observed within units over the one expected if values fell to units by chance. 1 is full agreement,
0 chance, below 0 worse than chance. Any number of raters, missing values allowed. (K. Krippendorff, Computing Krippendorff's
Alpha-Reliability, University of Pennsylvania, 2011.)
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping

Distance = Callable[[float, float], float]
Units = Mapping[Hashable, Mapping[str, float]]
"""Unit → rater → value. A unit is what was judged: a pair of answers, or an answer by one criterion."""


def nominal(a: float, b: float) -> float:
    """δ² for values that are names: different or not."""
    return float(a != b)


def interval(a: float, b: float) -> float:
    """δ² for values whose differences mean something."""
    return (a - b) ** 2


def alpha(units: Units, distance: Distance = nominal) -> float | None:
    """α over all units with two values or more; None where there is none, or no two values differ by chance either."""
    observed, expected = disagreement(units.values(), distance), expected_disagreement(units, distance)
    return None if observed is None or not expected else 1 - observed / expected


def disagreement(units: Iterable[Mapping[str, float]], distance: Distance, rater: str | None = None) -> float | None:
    """D_o = 1/n Σ_u Σ_{i≠j} δ²(v_i, v_j) / (m_u - 1); with `rater` over that rater's pairs alone, n being its values."""
    total, number = 0.0, 0
    for values in units:
        if len(values) < 2 or (rater is not None and rater not in values):
            continue
        whose = values if rater is None else (rater,)
        total += sum(distance(values[a], values[b]) for a in whose for b in values if a != b) / (len(values) - 1)
        number += len(whose)
    return total / number if number else None


def expected_disagreement(units: Units, distance: Distance) -> float:
    """D_e = 1/(n(n-1)) Σ_{c,k} n_c n_k δ²(c, k) over all values of units with two or more."""
    counts = Counter(value for values in units.values() if len(values) > 1 for value in values.values())
    number = sum(counts.values())
    total = sum(counts[a] * counts[b] * distance(a, b) for a in counts for b in counts)
    return total / (number * (number - 1)) if number > 1 else 0.0


def by_rater(units: Units, distance: Distance = nominal) -> dict[str, tuple[float, int]]:
    """Rater → (α of its values against those of the others, units it shares with any). D_e is that of all values."""
    expected = expected_disagreement(units, distance)
    shared = Counter(rater for values in units.values() if len(values) > 1 for rater in values)
    found = {}
    for rater, number in shared.items():
        observed = disagreement(units.values(), distance, rater)
        if observed is not None and expected:
            found[rater] = (1 - observed / expected, number)
    return found


def without(units: Units, rater: str) -> dict[Hashable, dict[str, float]]:
    """The units as if this rater had not judged."""
    return {unit: {other: value for other, value in values.items() if other != rater} for unit, values in units.items()}
