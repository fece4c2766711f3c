"""The table of an evaluation: what is asked about, and one column for the model and for each rival, on the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.evaluate.metrics import ClassScores, OutOfScope, best_threshold, class_scores, exact_match, out_of_scope, token_f1, wilson


@dataclass(frozen=True)
class Predicted:
    """What one model or rival says: the class of each row, and how probable it finds it."""

    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Outside:
    """Rows of none of the known classes. `label`: what the data calls them. `threshold`: the probability below which a row is called so.

    `known`: the model learned `label` as a class like the others. None for a threshold that was not needed.
    """

    label: str
    threshold: float | None = None
    known: bool = False

    def apply(self, predicted: Predicted) -> Predicted:
        if self.threshold is None:
            return predicted
        pairs = zip(predicted.classes, predicted.probabilities, strict=True)
        return Predicted(tuple(self.label if p < self.threshold else name for name, p in pairs), predicted.probabilities)

    def doubt(self, predicted: Predicted) -> list[float]:
        """Higher where the row is less likely of a known class; what was called `label` comes before everything else."""
        return [1 + p if name == self.label else 1 - p for name, p in zip(predicted.classes, predicted.probabilities, strict=True)]

    def calibrated(self, truth: Sequence[str], predicted: Predicted) -> "Outside":
        """With the threshold that makes most of these rows right."""
        return Outside(self.label, best_threshold(truth, predicted.classes, predicted.probabilities, self.label), self.known)


@dataclass(frozen=True)
class ClassColumn:
    """A model or rival on labeled rows. `threshold`: the probability below which it called a row out of scope."""

    name: str
    scores: ClassScores
    out_of_scope: OutOfScope | None = None
    threshold: float | None = None


def class_column(name: str, truth: Sequence[str], predicted: Predicted, outside: Outside | None) -> ClassColumn:
    if outside is None:
        return ClassColumn(name, class_scores(truth, predicted.classes))
    decided = outside.apply(predicted)
    scope = out_of_scope(truth, decided.classes, outside.doubt(predicted), outside.label)
    return ClassColumn(name, class_scores(truth, decided.classes), scope, outside.threshold)


@dataclass(frozen=True)
class AnswerColumn:
    """A model or rival whose answers are held against references. `low`, `high`: the 95 % interval of the exact matches."""

    name: str
    exact_match: float
    exact_match_low: float
    exact_match_high: float
    token_f1: float
    rows: int


def answer_column(name: str, answers: Sequence[str], references: Sequence[str]) -> AnswerColumn:
    pairs = list(zip(answers, references, strict=True))
    right = sum(exact_match(a, r) for a, r in pairs)
    low, high = wilson(right, len(pairs))
    return AnswerColumn(name, right / len(pairs), low, high, sum(token_f1(a, r) for a, r in pairs) / len(pairs), len(pairs))
