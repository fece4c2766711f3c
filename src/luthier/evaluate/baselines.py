"""Simple rivals that stand beside every table: a model that does not beat them has learned little from its billions of words."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

INVERSE_REGULARIZATION = 10.0
"""Of the logistic regression; scikit-learn's default of 1 is too strong where a class has few rows."""

MOST_ITERATIONS = 1000

WORD = r"(?u)\b\w+\b"
"""Words of one letter count, too: "i" and "a" tell questions from statements, and no text is left without a word."""


def commonest(labels: Sequence[str]) -> str:
    """What occurs most often; of several the first by name."""
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))


def tfidf_classes(texts: Sequence[str], labels: Sequence[str], asked: Sequence[str]) -> tuple[list[str], list[float]]:
    """The class of each text in `asked`, and its probability: logistic regression on words weighted by TF-IDF.

    Learned from `texts` and `labels`. Where all labels are the same, that one is answered.
    """
    if len(set(labels)) < 2:
        return [labels[0]] * len(asked), [1.0] * len(asked)
    words = TfidfVectorizer(token_pattern=WORD)
    model = make_pipeline(words, LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=MOST_ITERATIONS))
    model.fit(list(texts), list(labels))
    probabilities = model.predict_proba(list(asked))
    best = probabilities.argmax(1)
    return [str(model.classes_[i]) for i in best], [float(row[i]) for row, i in zip(probabilities, best, strict=True)]


def tfidf_answers(questions: Sequence[str], answers: Sequence[str], asked: Sequence[str]) -> list[str]:
    """The answer to the question whose words are nearest to each of `asked`, by TF-IDF: what looking it up would give."""
    words = TfidfVectorizer(token_pattern=WORD)
    known = words.fit_transform(list(questions))
    nearest = np.asarray((words.transform(list(asked)) @ known.T).argmax(axis=1)).ravel()
    return [answers[i] for i in nearest]
