"""Which rows make each step: a pure function of sizes, weights, seed and epoch."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.batches.strategies import PROPERTY

from luthier.batches.order import steps
from luthier.batches.randomness import key, torch_generator


@PROPERTY
@given(datasets=st.lists(st.integers(0, 2), max_size=30), batch_size=st.integers(1, 7), seed=st.integers(0, 5), epoch=st.integers(0, 3))
def test_an_epoch_shows_every_row_once(datasets: list[int], batch_size: int, seed: int, epoch: int) -> None:
    found = steps(datasets, [1.0] * 3, batch_size, seed, epoch)
    assert sorted(i for step in found for i in step) == list(range(len(datasets)))
    assert all(len(step) == batch_size for step in found[:-1])
    again = steps(datasets, [1.0] * 3, batch_size, seed, epoch)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


def test_another_epoch_and_another_seed_have_another_order() -> None:
    orders = {tuple(np.concatenate(steps([0] * 20, [1.0], 4, seed, epoch))) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_weights_mix_data_sets_whose_rows_lie_in_any_order() -> None:
    """Rows 0, 2, 4 are of set 0 with weight 2, rows 1 and 3 of set 1 with weight 1: 6 + 2 places."""
    found = np.concatenate(steps([0, 1, 0, 1, 0], [2.0, 1.0], 3, 0, 0))
    assert Counter(found.tolist()) == {0: 2, 2: 2, 4: 2, 1: 1, 3: 1}


def test_half_a_weight_shows_the_other_half_in_the_next_epoch() -> None:
    first, second = (set(np.concatenate(steps([0] * 10, [0.5], 5, 0, epoch)).tolist()) for epoch in (0, 1))
    assert len(first) == len(second) == 5 and first | second == set(range(10))


def test_the_last_step_takes_what_is_left() -> None:
    assert [len(step) for step in steps([0] * 10, [1.0], 4, 0, 0)] == [4, 4, 2]


def test_draws_are_addressed() -> None:
    """The same address gives the same numbers whatever was drawn before; purpose and every part of the address count."""
    first = torch_generator(0, "dropout", 1, 2).initial_seed()
    torch_generator(0, "dropout", 1, 3)
    assert torch_generator(0, "dropout", 1, 2).initial_seed() == first == key(0, "dropout", 1, 2)
    assert (
        len({key(0, "dropout", 1, 2), key(1, "dropout", 1, 2), key(0, "sample", 1, 2), key(0, "dropout", 12), key(0, "dropout", 2, 1)}) == 5
    )
