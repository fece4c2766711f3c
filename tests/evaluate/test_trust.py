"""Whether a reward model is worth trusting, on judgements whose truth is known."""

import math

import numpy as np
import pytest

from luthier.evaluate.trust import (
    Comparison,
    accuracy,
    binned,
    by_quarter,
    calibration_error,
    confidence,
    correlation,
    examine,
    verdict,
)

LEAST = 0.55


def comparisons(number: int, seed: int, raters: tuple[str, ...] = ("",)) -> list[Comparison]:
    """Answers of 3 to 12 words, of which those with `please` are better; how long they are says nothing."""
    draws = np.random.default_rng(seed)
    words = ["one", "two", "three", "four", "five"]

    def text(polite: bool) -> str:
        chosen = [words[i] for i in draws.integers(0, 5, size=draws.integers(3, 12))]
        return " ".join([*chosen, "please" if polite else "now"])

    return [Comparison(text(True), text(False), raters[i % len(raters)]) for i in range(number)]


def alone(number: int) -> np.ndarray:
    """Comparisons of different prompts."""
    return np.stack([np.arange(number)] * 2, 1)


def rewards_of(found: list[Comparison], of) -> np.ndarray:
    return np.array([[of(c.better), of(c.worse)] for c in found], dtype=np.float64)


def test_accuracy_counts_a_tie_as_half():
    found = accuracy(np.array([1.0, 2.0, -1.0, 0.0]), alone(4))
    assert (found.value, found.number) == (2.5 / 4, 4)
    assert found.low < found.value < found.high


def test_accuracy_of_nothing_says_nothing():
    found = accuracy(np.zeros(0), alone(0))
    assert found.number == 0
    assert (found.low, found.high) == (0.0, 1.0)


def test_a_model_that_is_as_sure_as_it_is_right_is_calibrated():
    """Margins m of which a share σ(m) is the right way round."""
    draws = np.random.default_rng(0)
    size = np.abs(draws.normal(0, 2, 20_000))
    right = draws.random(20_000) < 1 / (1 + np.exp(-size))
    assert calibration_error(np.where(right, size, -size)) < 0.02


def test_a_model_that_is_surer_than_right_is_not():
    """σ(3) = 95 % sure, half of the time right: 0.45 off."""
    margins = np.array([3.0, -3.0] * 50)
    assert calibration_error(margins) == pytest.approx(1 / (1 + math.exp(-3)) - 0.5)
    assert confidence(margins)[0] == pytest.approx(0.9526, abs=1e-4)


def test_bins_and_quarters_hold_every_comparison():
    margins = np.random.default_rng(1).normal(0, 3, 203)
    assert sum(b.number for b in binned(margins, np.linspace(0.5, 1, 11))) == sum(b.number for b in by_quarter(margins)) == 203
    quarters = by_quarter(margins)
    assert [b.confidence for b in quarters] == sorted(b.confidence for b in quarters)


def test_correlation_of_what_does_not_vary_is_0():
    assert correlation(np.ones(5), np.arange(5.0)) == 0
    assert correlation(np.arange(5.0), -np.arange(5.0)) == pytest.approx(-1)


def test_a_model_that_knows_what_is_better_is_trusted():
    train, held_out = comparisons(200, 0), comparisons(200, 1)
    found = examine(train, held_out, rewards_of(held_out, lambda text: float("please" in text)))
    assert found.accuracy.value == 1
    assert found.by_words.value > 0.95
    assert 0.35 < found.by_length.value < 0.65
    assert abs(found.length_correlation) < 0.2
    assert verdict(found, LEAST).good


def test_a_model_that_loves_length_is_not():
    """Where longer answers are preferred it is right, and yet it is a length."""
    held_out = [Comparison("a " * (n + 3), "a " * n) for n in range(2, 202)]
    found = examine(held_out, held_out, rewards_of(held_out, lambda text: float(len(text.split()))))
    assert found.accuracy.value == 1
    said = verdict(found, LEAST)
    assert not said.good
    assert "it is a length: the longer, the better" in said.why


def test_a_model_that_guesses_is_not():
    held_out = comparisons(200, 1)
    draws = np.random.default_rng(0)
    found = examine(comparisons(200, 0), held_out, rewards_of(held_out, lambda _: draws.normal()))
    said = verdict(found, LEAST)
    assert not said.good
    assert "which may be chance" in said.why


def test_a_model_that_is_worse_than_length_is_not():
    """Right about three of five, where counting words is always right."""
    held_out = [Comparison("a " * 12, "a " * n) for n in range(1, 11)] * 40
    margins = np.array([1.0, 1.0, 1.0, -1.0, -1.0] * 80)
    said = verdict(examine(held_out, held_out, np.stack([margins / 2, -margins / 2], 1)), LEAST)
    assert not said.good
    assert "guessing by length alone is right about 100.0%" in said.why


def test_fewer_than_asked_for_is_not_enough():
    """Surely better than chance on 2,000, and below 0.9."""
    held_out = comparisons(2000, 1)
    margins = np.where(np.arange(2000) % 10 < 7, 1.0, -1.0)
    found = examine(comparisons(200, 0), held_out, np.stack([margins, np.zeros(2000)], 1))
    assert verdict(found, LEAST).good
    assert "fewer than `method.least_accuracy` asks for (90%)" in verdict(found, 0.9).why


def test_raters_are_told_apart():
    held_out = comparisons(100, 1, ("ann", "bob"))
    margins = np.array([1.0, -1.0] * 50)
    found = examine(comparisons(100, 0), held_out, np.stack([margins, np.zeros(100)], 1))
    assert {name: (a.value, a.number) for name, a in found.by_rater.items()} == {"ann": (1.0, 50), "bob": (0.0, 50)}
