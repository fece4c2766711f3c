"""Metrics against scikit-learn's own, and sums done by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score

from luthier.evaluate.metrics import (
    area_under_roc,
    best_threshold,
    class_scores,
    confusions,
    exact_match,
    out_of_scope,
    token_f1,
    wilson,
)

CLASSES = st.sampled_from(["apple", "pear", "plum", "quince"])


@given(st.lists(st.tuples(CLASSES, CLASSES), min_size=1, max_size=60))
def test_class_scores_are_those_of_scikit_learn(pairs: list[tuple[str, str]]):
    truth, predicted = [t for t, _ in pairs], [p for _, p in pairs]
    mine = class_scores(truth, predicted)
    labels = sorted({*truth, *predicted})
    theirs = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    assert mine.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert [c.label for c in mine.by_class] == labels
    for number, c in enumerate(mine.by_class):
        assert (c.precision, c.recall, c.f1, c.support) == pytest.approx(tuple(column[number] for column in theirs))
    assert (mine.precision, mine.recall, mine.f1) == pytest.approx(tuple(np.mean(column) for column in theirs[:3]))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60))
def test_the_area_is_that_of_scikit_learn(pairs: list[tuple[int, bool]]):
    """Few different scores, so that many are equal."""
    scores, marks = [float(s) for s, _ in pairs], [m for _, m in pairs]
    if len(set(marks)) < 2:
        assert area_under_roc(scores, marks) is None
    else:
        assert area_under_roc(scores, marks) == pytest.approx(roc_auc_score(marks, scores))


def test_scores_of_a_small_table():
    """Of a a b b c, a b b b a is said: a 1 of 2 right, b 2 of 2, c 0 of 1."""
    scores = class_scores(["a", "a", "b", "b", "c"], ["a", "b", "b", "b", "a"])
    assert scores.accuracy == 3 / 5
    assert [(c.precision, c.recall) for c in scores.by_class] == [(1 / 2, 1 / 2), (2 / 3, 1), (0, 0)]
    assert scores.f1 == pytest.approx((1 / 2 + 4 / 5 + 0) / 3)
    assert [(c.support, c.predicted) for c in scores.by_class] == [(2, 2), (2, 3), (1, 0)]


def test_an_interval_is_narrower_with_more_rows():
    """Of 10 rows, 5 right: 23.7 % to 76.3 % (Wilson). None right still leaves room above 0."""
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    low, high = wilson(500, 1000)
    assert high - low < 0.07


def test_what_is_mistaken_most_often_comes_first():
    assert confusions(["a", "a", "b", "c"], ["b", "b", "a", "c"]) == [("a", "b", 2), ("b", "a", 1)]


def test_out_of_scope_is_told_by_doubt():
    """Two rows of none, one found; one row of a class is called so; of the 3 within scope 2 are right."""
    scope = out_of_scope(["a", "a", "b", "none", "none"], ["a", "none", "b", "none", "a"], [0.1, 0.8, 0.2, 0.9, 0.3], "none")
    assert (scope.rows, scope.recall, scope.precision) == (2, 1 / 2, 1 / 2)
    assert scope.in_scope_accuracy == 2 / 3
    assert scope.area == pytest.approx(5 / 6)  # of 2 × 3 pairs, only (0.3, 0.8) stands the wrong way


def test_the_threshold_makes_most_rows_right():
    """Below 0.5 lie both rows of none and a mistake; above it, what is right."""
    truth, predicted = ["none", "none", "a", "a", "b"], ["a", "b", "b", "a", "b"]
    assert 0.3 < best_threshold(truth, predicted, [0.1, 0.3, 0.2, 0.7, 0.9], "none") < 0.7
    assert best_threshold(["a"], ["a"], [0.4], "none") == 0.0
    assert best_threshold(["none"], ["a"], [0.4], "none") > 0.4


@given(st.lists(st.tuples(CLASSES, CLASSES, st.integers(0, 6)), min_size=1, max_size=40))
def test_no_threshold_is_better(rows: list[tuple[str, str, int]]):
    truth, predicted, probability = [r[0] for r in rows], [r[1] for r in rows], [r[2] / 6 for r in rows]

    def right(threshold: float) -> int:
        said = ["plum" if p < threshold else name for name, p in zip(predicted, probability, strict=True)]
        return sum(t == s for t, s in zip(truth, said, strict=True))

    found = best_threshold(truth, predicted, probability, "plum")
    assert right(found) == max(right(t / 12) for t in range(14))


@pytest.mark.parametrize(
    "answer, reference, exact, f1",
    [
        ("The Eiffel Tower.", "eiffel tower", True, 1.0),
        ("the tower", "Eiffel Tower", False, 2 / 3),
        ("Rome", "Paris", False, 0.0),
        ("", "Paris", False, 0.0),
        ("the", "a", True, 1.0),
        ("42 42", "42", False, 2 / 3),
    ],
)
def test_answers_are_compared_by_their_words(answer: str, reference: str, exact: bool, f1: float):
    assert exact_match(answer, reference) is exact
    assert token_f1(answer, reference) == pytest.approx(f1)
