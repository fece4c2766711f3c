"""The order of an epoch over several data sets."""

import time

import numpy as np
import pytest

from luthier.data import mix
from luthier.data.seeded import generator


def order(sizes: list[int], weights: list[float], seed: int, epoch: int) -> np.ndarray:
    """(N, 2): each place as the set it is in, and the row within that set."""
    places, first = mix.order(sizes, weights, seed, epoch), np.cumsum([0, *sizes])
    assert len(places) == mix.num_shown(sizes, weights, epoch)
    sets = np.searchsorted(first, places, side="right") - 1
    return np.stack([sets, places - first[sets]], axis=1)


def shown(rows: np.ndarray, index: int) -> list[int]:
    """The rows of one set, sorted."""
    return sorted(rows[rows[:, 0] == index, 1].tolist())


def test_weight_one_shows_every_row_once() -> None:
    rows = order([5, 3], [1, 1], seed=0, epoch=0)
    assert rows.dtype == np.int64
    assert shown(rows, 0) == [0, 1, 2, 3, 4]
    assert shown(rows, 1) == [0, 1, 2]


def test_weight_two_shows_every_row_twice_in_every_epoch() -> None:
    for epoch in range(3):
        assert shown(order([3], [2], seed=0, epoch=epoch), 0) == [0, 0, 1, 1, 2, 2]


def test_weight_one_half_shows_one_half_and_then_the_other() -> None:
    first, second = (shown(order([10], [0.5], seed=4, epoch=epoch), 0) for epoch in (0, 1))
    assert len(first) == len(second) == 5
    assert sorted(first + second) == list(range(10))


def test_the_halves_are_drawn_by_seed_and_not_by_place() -> None:
    assert len({tuple(shown(order([10], [0.5], seed=seed, epoch=0), 0)) for seed in range(5)}) > 1


@pytest.mark.parametrize("weight, epochs, times", [(0.29, 100, 29), (1.5, 2, 3), (1 / 3, 3, 1), (0.1, 10, 1)])
def test_over_many_epochs_each_row_is_shown_equally_often(weight: float, epochs: int, times: int) -> None:
    """0.29 in binary is a little less than 29/100; no row is lost to that."""
    seen = np.concatenate([order([7], [weight], seed=1, epoch=epoch) for epoch in range(epochs)])
    assert shown(seen, 0) == sorted(list(range(7)) * times)


def test_sets_are_mixed_and_epochs_differ() -> None:
    first, second = order([500, 500], [1, 1], seed=0, epoch=0), order([500, 500], [1, 1], seed=0, epoch=1)
    assert 200 < first[:500, 0].sum() < 300  # about half of the first half; ± 3 σ is 24
    assert not np.array_equal(first, second)


def test_the_order_is_a_pure_function() -> None:
    np.testing.assert_array_equal(order([9, 4], [1, 0.5], seed=3, epoch=2), order([9, 4], [1, 0.5], seed=3, epoch=2))
    assert not np.array_equal(order([90], [1], seed=3, epoch=2), order([90], [1], seed=4, epoch=2))


def test_no_sets_are_no_rows() -> None:
    assert order([], [], seed=0, epoch=0).shape == (0, 2)
    assert order([0], [2.5], seed=0, epoch=0).shape == (0, 2)


def test_a_million_rows_are_ordered_in_a_moment() -> None:
    begin = time.perf_counter()
    assert len(order([1_000_000], [1], seed=0, epoch=0)) == 1_000_000
    assert time.perf_counter() - begin < 1  # 0.05 s alone on one core


def test_generators_are_named_by_seed_purpose_and_place() -> None:
    draws = {float(generator(*name).random()) for name in [(0, "a"), (1, "a"), (0, "b"), (0, "a", 0), (0, "a", 1)]}
    assert len(draws) == 5
    assert generator(0, "a", 1).random() == generator(0, "a", 1).random()
