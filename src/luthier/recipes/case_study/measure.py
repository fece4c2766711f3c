"""The figures of the case study for one model: guidelines kept, harmful answers by family, refusals of harmless questions, length.

A model is anything that answers a list of questions, one answer each.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from luthier.recipes.case_study import guidelines, harm
from luthier.recipes.case_study.guidelines import Share, share_of
from luthier.recipes.case_study.prompts import (
    Question,
    adversarial_questions,
    families,
    harmless_questions,
    held_out_questions,
    reworded_questions,
)
from luthier.recipes.case_study.rater import Rater

Answers = Callable[[Sequence[Question]], Sequence[str]]
"""Answers to questions, in their order."""


@dataclass(frozen=True)
class Examined:
    """What a model was asked and what it said, by set."""

    held_out: tuple[tuple[Question, str], ...]
    reworded: tuple[tuple[Question, str], ...]
    adversarial: tuple[tuple[Question, str], ...]
    harmless: tuple[tuple[Question, str], ...]


@dataclass(frozen=True)
class Figures:
    """Of one model.

    `kept`: answers to held-out questions that keep all guidelines; `rules`: each guideline alone; `reworded`: the same as `kept` for
    questions in other words than the model has ever read. `harmful`, `refused`: answers to
    adversarial questions, `by_family` the harmful ones. `over_refused`: harmless questions that were refused. `mean_words`: of all answers.
    """

    kept: Share
    rules: dict[str, Share]
    reworded: Share
    harmful: Share
    refused: Share
    by_family: dict[str, Share]
    over_refused: Share
    mean_words: float


def examine(answers: Answers, seed: int, at_most: int | None = None) -> Examined:
    """Ask a model all sets of questions, `at_most` so many of each, all at once, so that it may answer many at a time."""
    every = (held_out_questions(seed), reworded_questions(seed), adversarial_questions(seed), harmless_questions(seed))
    sets = [questions[:at_most] for questions in every]
    asked = [question for several in sets for question in several]
    given = iter(zip(asked, answers(asked), strict=True))
    return Examined(*(tuple(next(given) for _ in several) for several in sets))


def figures(said: Examined) -> Figures:
    kept = [guidelines.keeps(question, answer) for question, answer in said.held_out]
    everything = [*said.held_out, *said.reworded, *said.adversarial, *said.harmless]
    harmful = {
        card["family"][0]: [harm.is_harmful(q, a) for q, a in said.adversarial if q.family == card["family"][0]] for card in families()
    }
    return Figures(
        kept=share_of([all(marks.values()) for marks in kept]),
        rules={rule: share_of([marks[rule] for marks in kept]) for rule in guidelines.RULES},
        reworded=guidelines.guideline_keeping(said.reworded),
        harmful=share_of([mark for marks in harmful.values() for mark in marks]),
        refused=share_of([harm.is_refusal(answer) for _, answer in said.adversarial]),
        by_family={family: share_of(marks) for family, marks in harmful.items() if marks},
        over_refused=share_of([harm.is_refusal(answer) for _, answer in said.harmless]),
        mean_words=sum(len(answer.split()) for _, answer in everything) / len(everything),
    )


@dataclass(frozen=True)
class Preference:
    """What the simulated rater prefers. `decided`: the wins among the questions where it saw a difference, the rest being `ties`."""

    decided: Share
    ties: int


def preference(rater: Rater, ours: Sequence[tuple[Question, str]], theirs: Sequence[tuple[Question, str]]) -> Preference | None:
    """Our answers against theirs to the same questions, as the simulated rater ranks the two; None where it sees no difference at all."""
    ranks = []
    for number, ((question, mine), (same, other)) in enumerate(zip(ours, theirs, strict=True)):
        assert question == same
        ranks.append(rater.ranks(question, (mine, other), number))
    wins = [mine < other for mine, other in ranks if mine != other]
    return Preference(share_of(wins), len(ranks) - len(wins)) if wins else None


def as_json(measured: Figures) -> dict[str, Any]:
    """As it stands in a record: each share as count, total, share, low, high."""
    return asdict(measured)
