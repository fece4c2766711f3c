"""The report on a reward model that was just trained: what its record says about how far to trust it."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import asdict
from itertools import combinations, product
from typing import Any

import numpy as np

from luthier.batches.examples import Example, Lot
from luthier.data.seeded import generator
from luthier.engine.setup import REWARD, Setup
from luthier.evaluate.trust import Comparison, Verdict, examine, verdict
from luthier.models.roles import ScalarModel
from luthier.text.sequence import Sequence
from luthier.text.tokenizer import Tokenizer

MOST_COMPARISONS = 5_000
"""Comparisons that are looked at, of training and of validation; drawn by seed where there are more."""

FEWEST = 20
"""Held-out comparisons below which nothing can be said."""

Pair = tuple[tuple[int, int], tuple[int, int], str]
"""(row, sequence) of the better answer, of the worse, and the rater."""

Rate = Callable[[Example], float]
"""A rated row's one number, as the model learned it."""


def judged(setup: Setup) -> dict[str, Any]:
    """`trust` and `verdict` of the record."""
    method: Any = setup.make_method(setup.root)
    found = _pairs(setup.validation, setup.spec.train.seed, method.rating)
    if len(found) < FEWEST:
        why = (
            f"It was measured on {len(found)} held-out comparisons, and {FEWEST} are the fewest that say anything. "
            f"Give `data.validation` or `data.validation_share`."
        )
        return {"trust": None, "verdict": asdict(Verdict(False, why))}
    tokenizer = setup.renderer.tokenizer
    ends = ScalarModel(setup.root, setup.adapter.role, REWARD, setup.token_budget).ends(Lot(setup.validation)).double().numpy()
    first = np.concatenate([[0], np.cumsum([len(example.sequences) for example in setup.validation])])
    rewards = np.array([[ends[first[row] + place] for row, place in pair[:2]] for pair in found])
    train = _pairs(setup.train, setup.spec.train.seed, method.rating)
    trust = examine(_texts(setup.train, train, tokenizer), _texts(setup.validation, found, tokenizer), rewards)
    return {"trust": trust.as_dict(), "verdict": asdict(verdict(trust, method.config.least_accuracy))}


def _pairs(examples: Seq[Example], seed: int, rate: Rate) -> list[Pair]:
    """Every two answers that a judgement tells apart: in one ranking, or, of ratings, any two rows."""
    found = list(_of_rankings(examples)) or list(_of_ratings(examples, seed, rate))
    if len(found) <= MOST_COMPARISONS:
        return found
    chosen = generator(seed, "trust").choice(len(found), MOST_COMPARISONS, replace=False)
    return [found[i] for i in sorted(chosen.tolist())]


def _of_rankings(examples: Seq[Example]) -> Iterator[Pair]:
    for row, example in enumerate(examples):
        ranks = example.facts.get("ranks", ())
        for i, j in product(range(len(ranks)), repeat=2):
            if ranks[i] < ranks[j]:
                yield (row, i), (row, j), str(example.facts.get("rater", ""))


def _of_ratings(examples: Seq[Example], seed: int, rate: Rate) -> Iterator[Pair]:
    rated = [(row, rate(example)) for row, example in enumerate(examples) if "scores" in example.facts]
    order = generator(seed, "rated").permutation(len(rated))[:200]
    for a, b in combinations([rated[i] for i in order.tolist()], 2):
        if a[1] != b[1]:
            better, worse = (a, b) if a[1] > b[1] else (b, a)
            yield (better[0], 0), (worse[0], 0), ""


def _texts(examples: Seq[Example], found: Seq[Pair], tokenizer: Tokenizer) -> list[Comparison]:
    def text(row: int, place: int) -> str:
        sequence: Sequence = examples[row].sequences[place]
        return tokenizer.decode(sequence.ids[sequence.weights != 0], skip_special=True).strip()

    numbers: dict[bytes, int] = {}

    def prompt(row: int) -> int:
        return numbers.setdefault(examples[row].prompt.tobytes(), len(numbers))

    return [Comparison(text(*better), text(*worse), rater, (prompt(better[0]), prompt(worse[0]))) for better, worse, rater in found]
