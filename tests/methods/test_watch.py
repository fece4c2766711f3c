"""The eye on the reward: runs that collapse are stopped in time, sound ones never. In deviations of the check over the first answers."""

import math

import numpy as np
import pytest
import torch

from luthier.methods._watch import Seen, Watch, limit, pooled, smoothed, trend, within_prompts

LOTS, ERROR = 60, 0.06
"""The mean of 256 answers is known to 1 / √256 of their deviation."""

SEEDS = range(5)


def lot(reward: float, check: float, error: float = ERROR, kl: float = 0.0) -> dict[str, float]:
    return {
        "reward": reward, "reward_std": 1.0, "reward_error": error,
        "check": check, "check_std": 1.0, "check_error": error, "kl": kl,
    }  # fmt: skip


def alarmed(reward: np.ndarray, check: np.ndarray, seed: int) -> int | None:
    """After how many lots of these true means, seen with noise, the alarm rings."""
    noise = np.random.default_rng(seed).normal(0, ERROR, (2, len(check)))
    seen = Seen()
    for number, (r, c) in enumerate(zip(reward + noise[0], check + noise[1], strict=True), start=1):
        seen = seen.with_lot(lot(r, c))
        if seen.alarm(Watch()):
            return number
    return None


def saturating(height: float) -> np.ndarray:
    return height * (1 - np.exp(-np.arange(LOTS) / 15))


SOUND = {
    "both-rise": (saturating(3.0), saturating(0.6)),
    "the-check-stays": (saturating(3.0), np.zeros(LOTS)),
    "nothing-moves": (np.zeros(LOTS), np.zeros(LOTS)),
    "both-fall": (-saturating(1.0), -saturating(0.5)),
}

RISING = 0.04 * np.arange(LOTS)
COLLAPSING = {
    "from-the-start": (RISING, -0.02 * np.arange(LOTS)),
    "slowly": (RISING, -0.01 * np.arange(LOTS)),
    "after-it-was-sound": (RISING, np.minimum(0.02 * np.arange(LOTS), 0.3 - 0.02 * (np.arange(LOTS) - 15))),
    "after-a-long-time": (RISING, np.where(np.arange(LOTS) < 40, saturating(0.4), saturating(0.4)[40] - 0.02 * (np.arange(LOTS) - 40))),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SOUND)
def test_a_sound_reward_raises_no_alarm(name: str, seed: int):
    assert alarmed(*SOUND[name], seed) is None


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", COLLAPSING)
def test_a_collapse_is_caught_by_its_trend_before_a_third_of_a_deviation_is_lost(name: str, seed: int):
    """Of what the check truly is, not of what was seen; with one answer to a prompt, so that nothing else tells."""
    reward, check = COLLAPSING[name]
    number = alarmed(reward, check, seed)
    assert number is not None
    assert check[:number].max() - check[number - 1] < 1 / 3


# -- among answers to one prompt -------------------------------------------------------------------------------------------

PROMPTS, ANSWERS = 8, 4


def drawn(draws: np.random.Generator, gained: float, lost: float, correlation: float) -> dict[str, float]:
    """32 answers, of which prompts decide as much as what is written; reward and check go together within prompts as `correlation` says."""
    by_prompt = draws.normal(size=(2, PROMPTS, 1))
    reward, rest = draws.normal(size=(2, PROMPTS, ANSWERS))
    check = correlation * reward + math.sqrt(1 - correlation**2) * rest
    reward, check = reward + by_prompt[0] + gained, check + by_prompt[1] - lost
    found = within_prompts(torch.from_numpy(reward), torch.from_numpy(check))
    error = {name: float(values.mean(1).std(ddof=1)) / math.sqrt(PROMPTS) for name, values in (("reward", reward), ("check", check))}
    means = lot(float(reward.mean()), float(check.mean()))
    return {
        **means,
        **{f"{name}_error": value for name, value in error.items()},
        "check_correlation": found[0],
        "check_correlation_error": found[1],
    }


def first_alarm(lots: int, seed: int, correlation: float, step: float, lost_a_step: float) -> int | None:
    """The lot after which the alarm rings, where each lot moves the reward by `step` deviations, and the check down by so many."""
    draws, seen = np.random.default_rng(seed), Seen()
    for number in range(lots):
        seen = seen.with_lot(drawn(draws, step * number, lost_a_step * number, correlation))
        if seen.alarm(Watch()):
            return number
    return None


@pytest.mark.parametrize("correlation", [-0.9, -0.7, -0.5])
def test_32_answers_a_lot_are_enough_where_the_reward_leads_away_from_the_check(correlation: float):
    """A policy that moves a tenth of a deviation a lot: of 20 runs nearly all are stopped before a quarter of the check's is lost.

    Its deviation is √2: that within prompts and that between them.
    """
    alarms = [first_alarm(20, seed, correlation, 0.1, -0.1 * correlation) for seed in range(20)]
    lost = [-0.1 * correlation * n / math.sqrt(2) if n is not None else 9.0 for n in alarms]
    assert sum(value < 0.25 for value in lost) >= 18


def test_a_reward_that_goes_with_the_check_never_rings():
    assert [first_alarm(40, seed, 0.5, 0.1, -0.05) for seed in range(20)] == [None] * 20


def test_chance_rings_once_in_hundreds_of_runs():
    """The reward rises, has nothing to do with the check, and the check stays: 100 runs of 40 lots."""
    assert sum(first_alarm(40, seed, 0.0, 0.1, 0.0) is not None for seed in range(100)) <= 3


def test_a_small_price_is_tolerated():
    """A correlation of -0.05 that costs a twentieth of what is gained is no collapse."""
    assert sum(first_alarm(40, seed, -0.05, 0.05, 0.0025) is not None for seed in range(40)) <= 2


def test_a_check_that_does_not_fall_speaks_against_the_evidence():
    """Within prompts the reward is against the check, and yet the check rises by half a deviation a lot: what is learned is something else.
    By that evidence alone all 20 runs would be stopped."""
    assert sum(first_alarm(30, seed, -0.5, 0.1, -0.5) is not None for seed in range(20)) <= 5


def test_the_correlation_is_that_within_prompts():
    """Of two prompts, three answers each: T = 2 - 1 = 1, SS(r) = 2 + 2, SS(c) = 2 + 2."""
    reward = torch.tensor([[1.0, 2.0, 3.0], [7.0, 8.0, 9.0]])
    check = torch.tensor([[4.0, 5.0, 6.0], [1.0, 2.0, 0.0]])
    correlation, error = within_prompts(reward, check)
    assert correlation == pytest.approx((2 - 1) / 4)
    by_chance, seen = (2 * 2 + 2 * 2) / 2, 2 * ((2 - 0.5) ** 2 + (-1 - 0.5) ** 2)
    assert error == pytest.approx(math.sqrt(max(by_chance, seen)) / 4)


def test_the_error_is_what_chance_makes():
    """Over 2,000 lots without any correlation, T / error has deviation 1."""
    draws = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 2000, PROMPTS, ANSWERS, generator=draws)
    values = [c / e for c, e in (within_prompts(r, c) for r, c in zip(*scores, strict=True))]
    assert 0.8 < float(np.std(values)) < 1.05
    assert abs(float(np.mean(values))) < 0.1


@pytest.mark.parametrize("reward", [torch.ones(4, 1), torch.ones(4, 3), torch.zeros(1, 2)])
def test_where_nothing_varies_nothing_is_said(reward: torch.Tensor):
    assert within_prompts(reward, torch.rand(reward.shape)) == (0.0, 0.0)
    seen = Seen().with_lot({**lot(0.0, 0.0), "check_correlation": 0.0, "check_correlation_error": 0.0})
    assert seen.against == 0.0


def test_the_limit_is_that_of_the_sigmas():
    """P(Z ≥ 3) is 0.00135, -log of which is 6.6: on average 740 lots at least until chance rings."""
    assert limit(3.0) == pytest.approx(6.61, abs=0.01)
    assert limit(4.0) > limit(3.0) > limit(2.0)


def test_the_sentence_says_what_was_seen():
    seen = Seen()
    for number in range(8):
        seen = seen.with_lot(lot(0.1 * number, -0.1 * number))
    why = seen.alarm(Watch())
    assert why is not None
    assert "The reward rises while the check falls." in why and why.endswith("mend the reward.")


def test_a_kl_budget_is_kept():
    watch = Watch(kl_budget=5.0)
    assert Seen().with_lot({"kl": 4.9}).alarm(watch) is None
    assert "5.1 nats" in (Seen().with_lot({"kl": 5.1}).alarm(watch) or "")
    assert Seen().with_lot({"kl": 500.0}).alarm(Watch()) is None


def test_without_a_check_nothing_can_fall():
    seen = Seen()
    for number in range(20):
        seen = seen.with_lot({"reward": float(number), "reward_std": 1.0, "reward_error": 0.1, "kl": 0.0})
    assert seen.alarm(Watch()) is None


def test_a_trend_is_the_slope_in_its_own_errors():
    """Values 0, 1, 2 with error 1: slope 1, variance 1 / Σ (x - 1)² = ½."""
    assert trend((0.0, 1.0, 2.0), 1.0) == pytest.approx(math.sqrt(2))
    assert trend((2.0, 1.0, 0.0), 0.5) == pytest.approx(-2 * math.sqrt(2))
    assert trend((0.3, 0.3, 0.3), 0.0) == 0.0


def test_errors_are_pooled():
    assert pooled((3.0, 4.0)) == pytest.approx(math.sqrt(12.5))
    assert pooled(()) == 0.0


def test_a_check_that_stays_looks_like_falling_in_1_of_100_runs():
    """The reward rises, the check stays: 400 runs of 60 lots, seen with noise."""
    assert sum(alarmed(RISING, np.zeros(LOTS), seed) is not None for seed in range(400)) <= 8


def test_smoothed():
    assert smoothed((0.0, 1.0, 1.0)) == pytest.approx([0.0, 0.5, 0.75])


def test_evidence_within_prompts_and_of_the_trend_adds_up():
    """4.5 of the one, and a fall of 3 standard errors, 6.6: together more than 9.3, of which neither is enough."""
    falling = tuple(-0.0805 * n for n in range(5))  # 3 errors of 0.0848: √10 · 0.0805 / 0.0848 = 3
    seen = Seen(reward=(0.0, 0.1, 0.2, 0.3, 0.4), reward_error=(0.1,) * 5, check=falling, check_error=(0.0848,) * 5, spread=1.0)
    assert seen.alarm(Watch()) is None
    assert seen.model_copy(update={"against": 2.0, "since": 5}).alarm(Watch()) is None
    both = seen.model_copy(update={"against": 4.5, "since": 5, "correlation": -0.4})
    assert "the reward likes those that the check dislikes (correlation -0.40 in the newest of 5 lots)" in (both.alarm(Watch()) or "")
    steady = both.model_copy(update={"check": (0.0,) * 5})
    assert steady.alarm(Watch()) is None


def test_no_evidence_is_beyond_counting():
    assert limit(60.0) > limit(20.0)
