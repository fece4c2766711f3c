"""Advantages, against the plainest loop there is."""

import pytest
import torch

from luthier.losses.advantages import (
    explained_variance,
    flattened,
    generalized_advantages,
    group_advantages,
    padded,
    token_rewards,
    whitened,
)

LENGTHS = [4, 1, 3]


def by_hand(rewards: list[float], values: list[float], discount: float, decay: float, after: float) -> tuple[list[float], list[float]]:
    """Â_t = Σ_k (γλ)^k δ_{t+k} of one answer, each sum written out."""
    follow = [*values[1:], after]
    deltas = [r + discount * n - v for r, n, v in zip(rewards, follow, values, strict=True)]
    advantages = [sum((discount * decay) ** k * delta for k, delta in enumerate(deltas[t:])) for t in range(len(deltas))]
    return advantages, [a + v for a, v in zip(advantages, values, strict=True)]


@pytest.mark.parametrize("after", [None, [0.7, 0.0, -2.0]])
@pytest.mark.parametrize(("discount", "decay"), [(1.0, 0.95), (0.9, 0.5), (1.0, 0.0), (0.99, 1.0)])
def test_they_are_those_of_a_plain_loop_for_answers_of_different_length(discount: float, decay: float, after: list[float] | None):
    generator = torch.Generator().manual_seed(0)
    rewards, values = (torch.randn(sum(LENGTHS), dtype=torch.float64, generator=generator) for _ in range(2))
    mask = torch.arange(4) < torch.tensor(LENGTHS)[:, None]
    behind = None if after is None else torch.tensor(after, dtype=torch.float64)
    found = generalized_advantages(padded(rewards, LENGTHS), padded(values, LENGTHS), mask, discount, decay, behind)
    for row, (r, v) in enumerate(zip(rewards.split(LENGTHS), values.split(LENGTHS), strict=True)):
        expected = by_hand(r.tolist(), v.tolist(), discount, decay, 0.0 if after is None else after[row])
        for got, wanted in zip(found, expected, strict=True):
            assert got[row, : len(r)].tolist() == pytest.approx(wanted)
            assert (got[row, len(r) :] == 0).all()


def test_what_stands_behind_an_answer_is_not_looked_at():
    """A longer answer beside it leaves room, in which anything may stand."""
    mask = torch.tensor([[True, True, False, False]])
    clean = torch.tensor([[1.0, 2.0, 0.0, 0.0]])
    dirty = torch.tensor([[1.0, 2.0, 9.0, -9.0]])
    expected = generalized_advantages(clean, clean, mask, 0.9, 0.8)
    for got, wanted in zip(generalized_advantages(dirty, dirty, mask, 0.9, 0.8), expected, strict=True):
        assert torch.equal(got, wanted)


def test_trusting_only_rewards_returns_are_what_came():
    """λ = γ = 1: R_t = Σ of the rewards from t on, whatever the critic says."""
    rewards, mask = torch.tensor([[1.0, 2.0, 4.0]]), torch.ones(1, 3, dtype=torch.bool)
    for values in (torch.zeros(1, 3), torch.tensor([[5.0, -3.0, 2.0]])):
        assert generalized_advantages(rewards, values, mask, 1.0, 1.0)[1][0].tolist() == pytest.approx([7.0, 6.0, 4.0])


def test_whitened_has_mean_0_and_deviation_1():
    found = whitened(torch.tensor([1.0, 2.0, 3.0, 10.0]))
    assert float(found.mean()) == pytest.approx(0, abs=1e-6)
    assert float(found.std()) == pytest.approx(1, abs=1e-6)


def test_whitened_without_shift_keeps_the_mean():
    values = torch.tensor([1.0, 2.0, 3.0, 10.0])
    assert float(whitened(values, shift=False).mean()) == pytest.approx(4.0)


@pytest.mark.parametrize("values", [[], [3.0], [2.0, 2.0]])
def test_what_cannot_be_whitened_is_finite(values: list[float]):
    found = whitened(torch.tensor(values))
    assert found.shape == (len(values),)
    assert (found == 0).all()


def test_group_advantages_are_divided_as_they_should():
    """Group 1: 0, 1 around ½; group 2: 2, 6 around 4. Deviations: √½, √8; of all four centered numbers √(8.5 / 3)."""
    rewards = torch.tensor([[0.0, 1.0], [2.0, 6.0]], dtype=torch.float64)
    centered = torch.tensor([[-0.5, 0.5], [-2.0, 2.0]], dtype=torch.float64)
    torch.testing.assert_close(group_advantages(rewards, "none"), centered)
    torch.testing.assert_close(group_advantages(rewards, "group"), centered / torch.tensor([[0.5**0.5 + 1e-4], [8**0.5 + 1e-4]]).double())
    torch.testing.assert_close(group_advantages(rewards, "batch"), centered / ((8.5 / 3) ** 0.5 + 1e-4))


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_rewards_teach_nothing(scale: str):
    assert (group_advantages(torch.full((2, 4), 0.3), scale).abs() < 1e-3).all()
    assert torch.isfinite(group_advantages(torch.full((1, 2), 0.3), scale)).all()


def test_padding_and_back():
    tokens = torch.arange(8.0)
    assert torch.equal(flattened(padded(tokens, LENGTHS), LENGTHS), tokens)


def test_the_reward_of_a_token_is_its_price_and_at_the_end_the_answers():
    """β = 0.5; answers of 2 and 1 tokens with log-ratios 1, 2 and 4, rewards 10 and 20: -0.5, -1 + 10; -2 + 20."""
    found = token_rewards(torch.tensor([10.0, 20.0]), torch.tensor([1.0, 2.0, 4.0]), 0.5, [2, 1])
    assert found.tolist() == [[-0.5, 9.0], [18.0, 0.0]]


def test_explained_variance():
    """1 for a critic that is right, 0 for one that says the mean, and 0 where there is nothing to explain."""
    returns = torch.tensor([1.0, 2.0, 3.0])
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(torch.full((3,), 2.0), returns) == pytest.approx(0.0)
    assert explained_variance(torch.zeros(3), torch.ones(3)) == 0.0
    assert explained_variance(torch.ones(1), torch.ones(1)) == 0.0
