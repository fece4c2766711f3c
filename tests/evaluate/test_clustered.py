"""Intervals of shares whose cases hang together."""

from itertools import combinations

import numpy as np
import pytest

from luthier.evaluate.clustered import clustered_wilson
from luthier.evaluate.metrics import wilson
from luthier.evaluate.trust import accuracy


def alone(number: int) -> np.ndarray:
    return np.stack([np.arange(number)] * 2, 1)


def width(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]


def rankings(number: int, answers: int, sense: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Margins of every pair of answers in rankings whose scores follow the places with noise; and the ranking of each."""
    draws = np.random.default_rng(seed)
    places = np.arange(answers)[::-1] / max(1, answers - 1)
    scores = sense * places + draws.normal(size=(number, answers))
    pairs = list(combinations(range(answers), 2))
    margins = np.array([row[i] - row[j] for row in scores for i, j in pairs])
    return margins, np.repeat(np.arange(number), len(pairs))


def test_independent_cases_have_wilsons_interval():
    """Of 1,000 of them t is z but for a thousandth, and V is p (1 - p) / n but for one in 1,000."""
    right = (np.random.default_rng(0).random(1000) < 0.7).astype(float)
    assert clustered_wilson(right, alone(1000)) == pytest.approx(wilson(right.sum(), 1000), abs=2e-4)


def test_cases_that_say_the_same_count_once():
    """40 prompts, each 5 times: as of 40 cases, and t for 40 groups."""
    right = np.tile((np.arange(40) % 4 > 0).astype(float), 5)
    groups = np.tile(alone(40), (5, 1))
    assert width(clustered_wilson(right, groups)) == pytest.approx(width(wilson(30, 40)), rel=0.05)


def test_the_pairs_of_rankings_say_less_than_as_many_of_different_prompts():
    """50 rankings of 6 are 750 pairs: their interval is wider than that of 750 independent ones, and narrower than that of 50."""
    margins, of = rankings(50, 6, 1.0, seed=1)
    right = (margins > 0).astype(float)
    found = width(clustered_wilson(right, np.stack([of, of], 1)))
    assert 1.2 * width(wilson(right.sum(), 750)) < found < width(wilson(50 * right.mean(), 50))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Of 300 draws of 30 rankings of 8, that by prompts misses the truth in about 1 of 20; one of independent pairs far oftener."""
    truth = float((rankings(20_000, 8, 2.0, seed=0)[0] > 0).mean())
    missed = {"by prompts": 0, "independent": 0}
    for seed in range(1, 301):
        margins, of = rankings(30, 8, 2.0, seed)
        right = (margins > 0).astype(float)
        intervals = {"by prompts": clustered_wilson(right, np.stack([of, of], 1)), "independent": wilson(right.sum(), len(right))}
        for name, (low, high) in intervals.items():
            missed[name] += not low <= truth <= high
    assert missed["by prompts"] <= 24, "8 %"
    assert missed["independent"] >= 30, "10 %"


def test_every_two_of_rated_answers_are_far_from_independent():
    """40 answers, each in 39 of 780 pairs: two groups a pair. As if there were few more than 40."""
    draws = np.random.default_rng(2)
    rated, scores = draws.normal(size=40), draws.normal(size=40)
    scores = scores + rated
    pairs = [(i, j) if rated[i] > rated[j] else (j, i) for i, j in combinations(range(40), 2)]
    right = np.array([float(scores[i] > scores[j]) for i, j in pairs])
    found = width(clustered_wilson(right, np.array(pairs)))
    assert found > 2 * width(wilson(right.sum(), len(right)))


def test_all_right_is_as_sure_as_there_are_prompts():
    """90 pairs of 9 prompts, none wrong: the interval of 9 cases and less, because of few groups."""
    low, high = clustered_wilson(np.ones(90), np.tile(alone(9), (10, 1)))
    assert high == pytest.approx(1.0)
    assert low < wilson(9, 9)[0] < wilson(90, 90)[0]


def test_one_prompt_says_nothing():
    assert clustered_wilson(np.ones(15), np.zeros((15, 2), dtype=np.int64)) == (0.0, 1.0)


def test_the_report_says_how_many_prompts_there_were():
    margins, of = rankings(20, 4, 3.0, seed=3)
    found = accuracy(margins, np.stack([of, of], 1))
    assert (found.number, found.prompts) == (120, 20)
