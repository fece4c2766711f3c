"""Whether a reward model is worth trusting: what it does on judgements it has not seen, beside guessing by length and by words. Pure.

A comparison is two answers to one prompt of which people found the first better. A margin is what the model gives the first more than the
second; above 0 it agrees.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from luthier.evaluate.baselines import MOST_ITERATIONS, WORD
from luthier.evaluate.clustered import clustered_wilson

BINS = 10
"""Of the reliability curve."""

QUARTERS = 4

MOST_LIKE_LENGTH = 0.8
"""Correlation with length beyond which a reward is a length."""


@dataclass(frozen=True)
class Comparison:
    """Two answers as texts, the better one first. `rater`: who said so, where that is known.

    `prompts`: the numbers of the prompts that they answer, which may be one. Comparisons that share one are not independent; one without
    stands alone.
    """

    better: str
    worse: str
    rater: str = ""
    prompts: tuple[int, int] | None = None


@dataclass(frozen=True)
class Accuracy:
    """Share of `number` comparisons that are told right, a tie counting half, with its 95 % interval (Wilson's, by prompts).

    `prompts`: how many these are. Of a ranking of 6 come 15 comparisons, which say less than 15 of different prompts would.
    """

    value: float
    low: float
    high: float
    number: int
    prompts: int


@dataclass(frozen=True)
class Bin:
    """Of the comparisons that the model is about as sure of: how sure it is, which share it is right about, and how many they are."""

    confidence: float
    accuracy: float
    number: int


@dataclass(frozen=True)
class Trust:
    """What was found on held-out comparisons.

    `calibration_error`: mean distance of confidence and accuracy (ECE, https://arxiv.org/abs/1706.04599). `by_margin`: from
    the comparisons that the model hardly tells apart to those it is sure of. `length_correlation`: of reward and length in words, over all
    answers. `by_length`, `by_words`: what guessing by length and by words (TF-IDF, logistic regression), both learned from the training
    comparisons, is right about.
    """

    accuracy: Accuracy
    calibration_error: float
    reliability: tuple[Bin, ...]
    by_margin: tuple[Bin, ...]
    by_rater: dict[str, Accuracy]
    length_correlation: float
    by_length: Accuracy
    by_words: Accuracy

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(train: Sequence[Comparison], held_out: Sequence[Comparison], rewards: np.ndarray) -> Trust:
    """How far to trust a model.

    Args:
        train: what it learned from; the baselines learn from it, too. rewards: (n, 2), of the better and the worse answer of `held_out`.
    """
    margins = rewards[:, 0] - rewards[:, 1]
    texts = [text for comparison in held_out for text in (comparison.better, comparison.worse)]
    raters = sorted({comparison.rater for comparison in held_out} - {""})
    prompts = prompts_of(held_out)
    of_rater = {name: np.array([comparison.rater == name for comparison in held_out]) for name in raters}
    return Trust(
        accuracy=accuracy(margins, prompts),
        calibration_error=calibration_error(margins),
        reliability=tuple(binned(margins, np.linspace(0.5, 1, BINS + 1))),
        by_margin=tuple(by_quarter(margins)),
        by_rater={name: accuracy(margins[chosen], prompts[chosen]) for name, chosen in of_rater.items()},
        length_correlation=correlation(rewards.ravel(), np.array([float(words(text)) for text in texts])),
        by_length=accuracy(length_margins(train, held_out), prompts),
        by_words=accuracy(word_margins(train, held_out), prompts),
    )


def prompts_of(comparisons: Sequence[Comparison]) -> np.ndarray:
    """(n, 2): the prompts of each, as `clustered_wilson` takes them; those that name none get numbers of their own."""
    return np.array([c.prompts or (-1 - i, -1 - i) for i, c in enumerate(comparisons)], dtype=np.int64).reshape(-1, 2)


def accuracy(margins: np.ndarray, prompts: np.ndarray) -> Accuracy:
    """margins: (n,). prompts: (n, 2), as of `prompts_of`."""
    if not len(margins):
        return Accuracy(0.0, 0.0, 1.0, 0, 0)
    right = told_right(margins)
    return Accuracy(float(right.mean()), *clustered_wilson(right, prompts), len(margins), len(np.unique(prompts)))


def told_right(margins: np.ndarray) -> np.ndarray:
    """(n,): 1, 0, or ½ for a tie."""
    right: np.ndarray = (margins > 0) + 0.5 * (margins == 0)
    return right


def confidence(margins: np.ndarray) -> np.ndarray:
    """(n,) from 0.5 to 1: how sure the model is of what it says, σ(|margin|), as its loss means it."""
    sure: np.ndarray = 1 / (1 + np.exp(-np.abs(margins)))
    return sure


def calibration_error(margins: np.ndarray) -> float:
    """Σ over bins of share · |accuracy - confidence|."""
    bins = binned(margins, np.linspace(0.5, 1, BINS + 1))
    return sum(b.number * abs(b.accuracy - b.confidence) for b in bins) / max(1, len(margins))


def binned(margins: np.ndarray, edges: np.ndarray) -> list[Bin]:
    """By confidence; bins without a comparison are left out."""
    sure = confidence(margins)
    place = np.clip(np.searchsorted(edges, sure, side="right") - 1, 0, len(edges) - 2)
    return [_bin(margins[place == i], sure[place == i]) for i in range(len(edges) - 1) if (place == i).any()]


def by_quarter(margins: np.ndarray) -> list[Bin]:
    """Four parts of about the same size, by the size of the margin."""
    order = np.argsort(np.abs(margins), kind="stable")
    return [_bin(margins[part], confidence(margins[part])) for part in np.array_split(order, QUARTERS) if len(part)]


def _bin(margins: np.ndarray, sure: np.ndarray) -> Bin:
    return Bin(float(sure.mean()), float(told_right(margins).mean()), len(margins))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; 0 where one of them does not vary. a, b: (n,)."""
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 and a.std() > 0 and b.std() > 0 else 0.0


def words(text: str) -> int:
    return len(text.split())


def length_margins(train: Sequence[Comparison], held_out: Sequence[Comparison]) -> np.ndarray:
    """(n,): the difference in words, turned round where the shorter answer is mostly the better one in training."""
    longer = sum(np.sign(words(c.better) - words(c.worse)) for c in train)
    return (1.0 if longer >= 0 else -1.0) * np.array([float(words(c.better) - words(c.worse)) for c in held_out])


def word_margins(train: Sequence[Comparison], held_out: Sequence[Comparison]) -> np.ndarray:
    """(n,): logistic regression on the difference of two answers' words. 0 where there is no word to learn from."""
    texts = [text for c in train for text in (c.better, c.worse)]
    vectors = TfidfVectorizer(token_pattern=WORD, sublinear_tf=True)
    try:
        vectors.fit(texts)
    except ValueError:  # there is no word in any answer
        return np.zeros(len(held_out))
    difference = vectors.transform([c.better for c in train]) - vectors.transform([c.worse for c in train])
    sign = np.where(np.arange(len(train)) % 2 == 0, 1, -1)
    if len(train) < 2:
        return np.zeros(len(held_out))
    model = LogisticRegression(fit_intercept=False, max_iter=MOST_ITERATIONS)
    model.fit(difference.multiply(sign[:, None]).tocsr(), sign)
    asked = vectors.transform([c.better for c in held_out]) - vectors.transform([c.worse for c in held_out])
    margins: np.ndarray = np.asarray(model.decision_function(asked)).ravel()
    return margins


@dataclass(frozen=True)
class Verdict:
    """Whether to train on it. `why` is a sentence."""

    good: bool
    why: str


def verdict(found: Trust, least: float) -> Verdict:
    """Good where it is right about at least the share `least`, more than by chance, no worse than length alone, and no length itself."""
    several = found.accuracy.prompts < found.accuracy.number
    of_prompts = f" of {found.accuracy.prompts:,} prompts" if several else ""
    told = f"{found.accuracy.value:.1%} of {found.accuracy.number:,} held-out comparisons{of_prompts}"
    if found.accuracy.low <= 0.5:
        return Verdict(False, f"It is right about {told} (95 % interval from {found.accuracy.low:.1%}), which may be chance.")
    if found.accuracy.value < least:
        return Verdict(False, f"It is right about {told}, fewer than `method.least_accuracy` asks for ({least:.0%}).")
    if found.accuracy.value < found.by_length.value:
        return Verdict(False, f"It is right about {told}; guessing by length alone is right about {found.by_length.value:.1%}.")
    if abs(found.length_correlation) > MOST_LIKE_LENGTH:
        what = "longer" if found.length_correlation > 0 else "shorter"
        return Verdict(
            False, f"It is right about {told}, but it is a length: the {what}, the better (correlation {found.length_correlation:.2f})."
        )
    beside = f"guessing by length {found.by_length.value:.1%}, by words {found.by_words.value:.1%}"
    return Verdict(True, f"It is right about {told} (95 % interval {found.accuracy.low:.1%} to {found.accuracy.high:.1%}; {beside}).")
