"""The rivals: what they answer, and that they are as strong as their reference."""

import csv
from pathlib import Path

import pytest

from luthier.evaluate.baselines import commonest, tfidf_answers, tfidf_classes

TEXTS = ["my card is lost", "the card was stolen", "how do I pay", "pay the bill"]
LABELS = ["card", "card", "payment", "payment"]


def test_the_commonest_is_the_first_by_name_among_equals():
    assert commonest(["b", "a", "b", "a"]) == "a"


def test_classes_follow_the_words():
    classes, probabilities = tfidf_classes(TEXTS, LABELS, ["stolen card", "a bill to pay"])
    assert classes == ["card", "payment"]
    assert all(0.5 < p <= 1 for p in probabilities)


def test_one_class_is_always_answered():
    assert tfidf_classes(["a", "b"], ["same", "same"], ["c"]) == (["same"], [1.0])


def test_an_answer_is_looked_up_by_the_nearest_question():
    assert tfidf_answers(["where is the bank", "when does it open"], ["there", "at nine"], ["open when?"]) == ["at nine"]


@pytest.mark.slow
def test_banking77_is_classified_as_well_as_the_reference(shared: Path):
    """.894 with all rows was measured with plain TF-IDF and logistic regression; a weaker rival would flatter the models."""
    train, test = ([(row["text"], row["category"]) for row in _rows(shared / f"data/banking77/{part}.csv")] for part in ("train", "test"))
    classes, _ = tfidf_classes([t for t, _ in train], [label for _, label in train], [t for t, _ in test])
    assert sum(c == label for c, (_, label) in zip(classes, test, strict=True)) / len(test) >= 0.894


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
