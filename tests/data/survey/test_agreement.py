"""Krippendorff's alpha, against the worked example of its author."""

from collections.abc import Hashable

import pytest

from luthier.data.survey.agreement import alpha, by_rater, interval, nominal, without

OBSERVERS = {
    "A": (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    "B": (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    "C": (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    "D": (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
}
"""Krippendorff 2011, section C: four observers, twelve units, values missing."""


def units(values: dict[str, tuple[int | None, ...]]) -> dict[Hashable, dict[str, float]]:
    number = len(next(iter(values.values())))
    return {i: {name: float(row[i]) for name, row in values.items() if row[i] is not None} for i in range(number)}


@pytest.mark.parametrize("distance, expected", [(nominal, 0.743), (interval, 0.849)])
def test_the_published_example(distance, expected: float):
    assert alpha(units(OBSERVERS), distance) == pytest.approx(expected, abs=5e-4)


def test_full_agreement_is_one():
    assert alpha(units({"a": (1, 2, 1), "b": (1, 2, 1)})) == 1


def test_two_who_always_say_the_opposite():
    """Two units, values 1 and 2: D_o = 1; of 4 values 2 are of each kind, so D_e = 2·2·2 / (4·3) = 2/3; α = 1 - 3/2."""
    assert alpha(units({"a": (1, 2), "b": (2, 1)})) == pytest.approx(-0.5)


@pytest.mark.parametrize("values", [{"a": (1, 2)}, {"a": (1, 1), "b": (1, 1)}])
def test_there_is_no_alpha_without_common_units_or_without_different_values(values):
    assert alpha(units(values)) is None


def test_the_rater_who_disagrees_with_all_is_found():
    values = {"a": (1, 2) * 10, "b": (1, 2) * 10, "c": (1, 2) * 9 + (1, 1), "odd": (2, 1) * 10}
    found = by_rater(units(values))
    assert min(found, key=lambda rater: found[rater]) == "odd"
    assert found["odd"][0] < 0 < found["a"][0]
    assert alpha(without(units(values), "odd")) == pytest.approx(0.93, abs=0.01)
