"""Rankings that contradict themselves: of the answers to one prompt, a is better than b, b than c, and c than a."""

from array import array
from collections.abc import Hashable
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import numpy as np

from luthier.data.survey import agreement, contents
from luthier.data.survey.columns import runs, view
from luthier.data.survey.places import Places, at
from luthier.spec.finding import Finding
from luthier.spec.rows import Preference, Ranking, Rating

ODD, TOGETHER = 0.0, 0.2
"""A rater whose α with the others is at most the one, while that of the others is at least the other, disagrees with all."""
SHARED = 10
"""Units that a rater must share with others before anything is said."""


class Rankings:
    """Who was said to be better than whom: one edge a pair of answers that stand next to each other in a ranking, in columns."""

    def __init__(self) -> None:
        self.who = array("Q")  # the prompt and the rater
        self.better = array("Q")
        self.worse = array("Q")
        self.rows = array("I")

    def prefer(self, row: Preference, number: int) -> None:
        self._edge(contents.key((row.prompt, None)), contents.key(row.chosen), contents.key(row.rejected), number)

    def rank(self, row: Ranking, number: int) -> None:
        who = contents.key((row.prompt, row.rater))
        places: dict[int, list[int]] = {}
        for rank, answer in zip(row.ranks, row.answers, strict=True):
            places.setdefault(rank, []).append(contents.key(answer))
        for rank, following in pairwise(sorted(places)):
            for better in places[rank]:
                for worse in places[following]:
                    self._edge(who, better, worse, number)

    def _edge(self, who: int, better: int, worse: int, row: int) -> None:
        if better != worse:
            self.who.append(who)
            self.better.append(better)
            self.worse.append(worse)
            self.rows.append(row)

    def cycles(self) -> list[list[int]]:
        """For each prompt (and rater) whose rankings can't all be true, the rows that contradict each other."""
        order = np.argsort(view(self.who), kind="stable")
        starts, ends = runs(view(self.who)[order])
        return [rows for start, end in zip(starts, ends, strict=True) if end - start > 1 and (rows := self._cycle(order[start:end]))]

    def _cycle(self, edges: np.ndarray) -> list[int]:
        better_than: dict[int, dict[int, int]] = {}
        for edge in edges.tolist():
            better_than.setdefault(self.worse[edge], {}).setdefault(self.better[edge], self.rows[edge])
        try:
            TopologicalSorter(better_than).prepare()
        except CycleError as error:
            nodes: list[int] = error.args[1]
            return sorted({better_than[worse][better] for better, worse in pairwise(nodes)})
        return []

    def findings(self, places: Places) -> list[Finding]:
        cycles = self.cycles()
        if not cycles:
            return []
        where = tuple(places.place(row) for row in cycles[0])
        rows = sorted({row for cycle in cycles for row in cycle})
        number = (
            "1 prompt has judgements that contradict" if len(cycles) == 1 else f"{len(cycles):,} prompts have judgements that contradict"
        )
        text = f"{number} each other{at(where, len(where))}. They can't all be true: ask again, or leave out what is wrong."
        return [Finding("warning", "contradicting-rankings", text, len(rows), places.shown(rows))]


class Raters:
    """What several people said about the same: pairs of answers (1: the first is better, 0: a tie, -1), or ratings by criterion."""

    def __init__(self) -> None:
        self.pairs: dict[Hashable, dict[str, float]] = {}
        self.ratings: dict[Hashable, dict[str, float]] = {}

    def rank(self, row: Ranking) -> None:
        if row.rater is None:
            return
        prompt = contents.key(row.prompt)
        answers = sorted(zip(map(contents.key, row.answers), row.ranks, strict=True))
        for i, (first, rank) in enumerate(answers):
            for second, other in answers[i + 1 :]:
                self.pairs.setdefault((prompt, first, second), {})[row.rater] = float((rank < other) - (rank > other))

    def rate(self, row: Rating) -> None:
        if row.rater is not None:
            answer = contents.key((row.prompt, row.answer))
            for criterion, score in row.scores.items():
                self.ratings.setdefault((answer, criterion), {})[row.rater] = score

    def agreements(self) -> list[tuple[str, agreement.Units, agreement.Distance]]:
        """(what was judged, by whom, how values differ)"""
        found: list[tuple[str, agreement.Units, agreement.Distance]] = []
        if self.pairs:
            found.append(("which answer is better", self.pairs, agreement.nominal))
        for criterion in sorted({unit[1] for unit in self.ratings}):  # type: ignore[index]
            units = {unit: values for unit, values in self.ratings.items() if unit[1] == criterion}  # type: ignore[index]
            found.append((f"`{criterion}`", units, agreement.interval))
        return found

    def findings(self) -> list[Finding]:
        found = []
        for what, units, distance in self.agreements():
            for rater, (own, number) in agreement.by_rater(units, distance).items():
                rest = agreement.alpha(agreement.without(units, rater), distance)
                if number >= SHARED and own <= ODD and rest is not None and rest >= TOGETHER:
                    text = (
                        f'The rater "{rater}" disagrees with all the others about {what}: α = {own:.2f} on {number:,} common judgements, '
                        f"while the others agree with α = {rest:.2f}. Ask whether the instructions were understood, or leave these out."
                    )
                    found.append(Finding("warning", "rater-disagrees", text, number))
        return found
