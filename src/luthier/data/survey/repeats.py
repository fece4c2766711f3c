"""Rows that stand there twice: in the training rows, in training and validation, and nearly so."""

import numpy as np

from luthier.data.survey import near
from luthier.data.survey.columns import repeated, shared, view
from luthier.data.survey.counted import Counted
from luthier.spec.finding import Finding

ALIKE = f"shares {near.SIMILAR:.0%} or more of its words with"


class Repeats:
    """Numbers of training rows, ascending: `later` repeat an earlier one, `shared` stand in validation, `near` nearly repeat one."""

    def __init__(self, train: Counted, validation: Counted) -> None:
        self._places, self._validation_places = train.columns.places, validation.columns.places
        self._keys, self._validation_keys = view(train.columns.keys), view(validation.columns.keys)
        self.later, self._earlier = repeated(self._keys)
        self.shared, self._shared_with = shared(self._keys, self._validation_keys)
        self.near = self._near_to = self._leaking = self._leaked = np.zeros(0, dtype=np.int64)
        if train.signatures is not None and validation.signatures is not None:
            self._compare(train.signatures, validation.signatures)

    def _compare(self, train: near.Signatures, validation: near.Signatures) -> None:
        """Near duplicates, training rows first, so that a validation row is compared with those."""
        number = len(self._keys)
        signatures, compared = train.matrix()
        compared[self.later] = False
        lines = view(self._places.lines)
        compared[1:] &= lines[1:] != lines[:-1]  # several people's judgements of one thing stand in one line
        if len(self._validation_keys):
            own, long_enough = validation.matrix()
            long_enough &= ~np.isin(self._validation_keys, self._keys)
            signatures, compared = np.concatenate([signatures, own]), np.concatenate([compared, long_enough])
        later, earlier = near.similar(signatures, compared)
        inside, leaks = later < number, (later >= number) & (earlier < number)
        self.near, self._near_to = later[inside], earlier[inside]
        self._leaking, self._leaked = later[leaks] - number, earlier[leaks]

    def findings(self) -> list[Finding]:
        return [*self._repeated(), *self._shared(), *self._nearly_repeated(), *self._nearly_shared()]

    def _repeated(self) -> list[Finding]:
        if not len(self.later):
            return []
        number = "1 row repeats an earlier one" if len(self.later) == 1 else f"{len(self.later):,} rows repeat earlier ones"
        first = f"{self._place(self.later)} is {self._place(self._earlier)} again{_and_more(self.later)}"
        text = f"{number}: {first}. What is repeated counts more in training; `--fix OUT` keeps the first of each."
        return [Finding("warning", "duplicate-rows", text, len(self.later), self._places.shown(self.later))]

    def _shared(self) -> list[Finding]:
        if not len(self.shared):
            return []
        there = self._validation_places.place(int(self._shared_with[0]))
        one = len(self.shared) == 1
        number = "1 training row is a validation row" if one else f"{len(self.shared):,} training rows are validation rows"
        text = (
            f"{number}, too: {self._place(self.shared)} is {there}{_and_more(self.shared)}. What is measured on rows that were learned "
            f"says nothing about others, so a run refuses them. `--fix OUT` takes them out of the training rows."
        )
        return [Finding("error", "shared-rows", text, len(self.shared), self._places.shown(self.shared))]

    def _nearly_repeated(self) -> list[Finding]:
        if not len(self.near):
            return []
        number = "1 row is nearly an earlier one" if len(self.near) == 1 else f"{len(self.near):,} rows are nearly earlier ones"
        first = f"{self._place(self.near)} {ALIKE} {self._place(self._near_to)}{_and_more(self.near)}"
        text = f"{number}: {first}. `--fix OUT --near-duplicates` keeps the first of each."
        return [Finding("advice", "near-duplicates", text, len(self.near), self._places.shown(self.near))]

    def _nearly_shared(self) -> list[Finding]:
        if not len(self._leaking):
            return []
        rows, places = self._leaking, self._validation_places
        number = (
            "1 validation row is nearly a training row" if len(rows) == 1 else f"{len(rows):,} validation rows nearly are training ones"
        )
        first = f"{places.place(int(rows[0]))} {ALIKE} {self._place(self._leaked)}{_and_more(rows)}"
        text = f"{number}: {first}. What is measured on them is too good: take them out of one side."
        return [Finding("warning", "nearly-shared-rows", text, len(rows), places.shown(rows))]

    def _place(self, rows: np.ndarray) -> str:
        """Of the first of some training rows."""
        return self._places.place(int(rows[0]))


def _and_more(rows: np.ndarray) -> str:
    return f", and {len(rows) - 1:,} more" if len(rows) > 1 else ""
