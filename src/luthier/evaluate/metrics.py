"""Measures of answers against what is right. Pure: names of classes and texts in, numbers out."""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE_Z = 1.959963984540054
"""Standard deviations that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class ClassScore:
    """One class. `precision`: of the rows predicted so, the share that are; `recall`: of the rows that are so, the share predicted.

    `support`: rows of this class; `predicted`: rows predicted so. A share of no rows is 0.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


@dataclass(frozen=True)
class ClassScores:
    """All classes together: `precision`, `recall`, `f1` are means over the classes (macro), each class counting once.

    `accuracy_low`, `accuracy_high`: the 95 % interval that so many rows allow (Wilson).
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    precision: float
    recall: float
    f1: float
    rows: int
    by_class: tuple[ClassScore, ...]


def class_scores(truth: Sequence[str], predicted: Sequence[str]) -> ClassScores:
    """Accuracy, precision, recall and F1 of predicted classes.

    The macro means run over every class that occurs among `truth` or `predicted`, as scikit-learn's do.
    """
    assert len(truth) == len(predicted) and truth
    right = Counter(t for t, p in zip(truth, predicted, strict=True) if t == p)
    support, answered = Counter(truth), Counter(predicted)
    classes = tuple(_class_score(label, right[label], support[label], answered[label]) for label in sorted(support | answered))
    low, high = wilson(sum(right.values()), len(truth))
    return ClassScores(
        accuracy=sum(right.values()) / len(truth),
        accuracy_low=low,
        accuracy_high=high,
        precision=_mean([c.precision for c in classes]),
        recall=_mean([c.recall for c in classes]),
        f1=_mean([c.f1 for c in classes]),
        rows=len(truth),
        by_class=classes,
    )


def _class_score(label: str, right: int, support: int, predicted: int) -> ClassScore:
    """F1 = 2 · right / (support + predicted), the harmonic mean of precision and recall."""
    precision, recall = right / predicted if predicted else 0.0, right / support if support else 0.0
    return ClassScore(label, precision, recall, 2 * right / (support + predicted), support, predicted)


def wilson(right: float, total: float) -> tuple[float, float]:
    """The 95 % interval of a share seen `right` times in `total`. Wilson, 1927, https://doi.org/10.1080/01621459.1927.10502953"""
    share, z2 = right / total, CONFIDENCE_Z**2
    middle = share + z2 / (2 * total)
    reach = CONFIDENCE_Z * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    scale = 1 + z2 / total
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def confusions(truth: Sequence[str], predicted: Sequence[str], number: int = 10) -> list[tuple[str, str, int]]:
    """(is, was taken for, how often) of the mistakes made most often."""
    wrong = Counter((t, p) for t, p in zip(truth, predicted, strict=True) if t != p)
    return [(t, p, count) for (t, p), count in sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:number]]


@dataclass(frozen=True)
class OutOfScope:
    """How well rows of no known class are told from the others.

    `recall`: share of them that were found. `precision`: share of those called so that are. `in_scope_accuracy`: of the other rows.
    `area`: the chance that a row of no class is less sure than a row of one (area under the ROC curve); None where there is one kind.
    """

    rows: int
    recall: float
    precision: float
    in_scope_accuracy: float
    area: float | None


def out_of_scope(truth: Sequence[str], predicted: Sequence[str], doubt: Sequence[float], label: str) -> OutOfScope:
    """`doubt`: higher where the row is less likely to be of a known class. `label`: what stands for none of them."""
    outside = [t == label for t in truth]
    called = [p == label for p in predicted]
    found = sum(t and p for t, p in zip(outside, called, strict=True))
    inside = [t == p for t, p in zip(truth, predicted, strict=True) if t != label]
    return OutOfScope(
        rows=sum(outside),
        recall=found / sum(outside) if any(outside) else 0.0,
        precision=found / sum(called) if any(called) else 0.0,
        in_scope_accuracy=_mean([float(x) for x in inside]),
        area=area_under_roc(doubt, outside),
    )


def area_under_roc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """P(score of a positive > score of a negative) + ½ P(equal); None where all are of one kind.

    By ranks: Mann & Whitney, 1947, https://doi.org/10.1214/aoms/1177730491
    """
    values, marks = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    num_positive, num_negative = int(marks.sum()), int((~marks).sum())
    if not num_positive or not num_negative:
        return None
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[group]  # the mean rank where values are equal
    return float((ranks[marks].sum() - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def best_threshold(truth: Sequence[str], predicted: Sequence[str], probability: Sequence[float], label: str) -> float:
    """The probability below which a row is called `label`, so that most rows are right; the lowest such where several do equally well."""
    order = np.argsort(np.asarray(probability), kind="stable")
    kept = np.array([truth[i] == predicted[i] for i in order], dtype=np.int64)
    called = np.array([truth[i] == label for i in order], dtype=np.int64)
    right = np.concatenate([[0], np.cumsum(called)]) + np.concatenate([np.cumsum(kept[::-1])[::-1], [0]])
    values = np.asarray(probability, dtype=np.float64)[order]
    possible = np.concatenate([[True], values[1:] > values[:-1], [True]])  # equal probabilities go to the same side
    cut = int(np.argmax(np.where(possible, right, -1)))
    if cut == 0:
        return 0.0
    return float(np.nextafter(values[-1], np.inf)) if cut == len(values) else float((values[cut - 1] + values[cut]) / 2)


def exact_match(answer: str, reference: str) -> bool:
    """The same words, whatever case, punctuation and articles. Rajpurkar et al., 2016, https://arxiv.org/abs/1606.05250"""
    return _words(answer) == _words(reference)


def token_f1(answer: str, reference: str) -> float:
    """F1 of the words that answer and reference share, each as often as it occurs. Rajpurkar et al., 2016, as above."""
    mine, theirs = _words(answer), _words(reference)
    if not mine or not theirs:
        return float(mine == theirs)
    shared = sum((Counter(mine) & Counter(theirs)).values())
    return 2 * shared / (len(mine) + len(theirs))


def _words(text: str) -> list[str]:
    """Lower case, without ASCII punctuation and the articles a, an, the."""
    plain = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
