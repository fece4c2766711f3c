"""Rows that stand in for those of a run: as many tokens, as many answers, nothing said."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from luthier.batches.examples import Example
from luthier.text.sequence import Sequence as Tokens

PIECES = 6
"""Rows that stand for a stream at most: what is held depends on its tokens, hardly on how many rows they belong to."""


@dataclass(frozen=True)
class RowShape:
    """What a row consists of: `branches` sequences, which share so much of each as their beginning (`shared`), and a real row's `facts`."""

    branches: int = 1
    shared: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sequences(self) -> float:
        """Whole sequences that a row computes: 1 and a part of the others."""
        return self.shared + self.branches * (1 - self.shared)

    def row(self, number: int, length: int, num_scored: int) -> Example:
        """A row that computes `length` tokens. Each number begins another way, so that no two rows share a beginning."""
        if self.branches == 1:
            return Example((_sequence(number, length, 0, 0, num_scored),), facts=self.facts)
        whole = max(2, round(length / self.sequences))
        prompt = round(self.shared * whole)
        scored = max(1, num_scored // self.branches)
        sequences = (_sequence(number, whole, prompt, branch + 1, scored) for branch in range(self.branches))
        return Example(tuple(sequences), facts=self.facts)


def _sequence(number: int, length: int, prompt: int, branch: int, num_scored: int) -> Tokens:
    """A sequence whose last tokens are scored, none of them of its prompt."""
    weights = np.zeros(length, np.float32)
    weights[-max(1, min(num_scored, length - max(1, prompt))) :] = 1
    ids = np.full(length, number * 100 + branch, np.int64)
    ids[:prompt] = number * 100
    return Tokens(ids, weights)


@dataclass(frozen=True)
class Drawing:
    """What a policy draws: `answers` of `length` tokens to each of `prompts` prompts, `at_once` sequences together at most.

    `shown`: tokens of the longest demonstration that is learned beside them; 0 for none.
    """

    answers: int
    length: int
    prompts: int
    at_once: int
    shown: int = 0


@dataclass(frozen=True)
class Load:
    """What the largest stream of a step computes: tokens in all, scored, and of its longest sequence; and how many streams a step has.

    `certified`: tokens of the longest sequence of each row of the certificate. `drawing`: where the policy draws the answers; `longest` and
    `certified` are then of prompts.
    """

    num_tokens: int
    num_scored: int
    longest: int
    num_streams: int
    certified: tuple[int, ...]
    validates: bool = True
    shape: RowShape = RowShape()
    drawing: Drawing | None = None

    @property
    def row_tokens(self) -> int:
        """That the largest row computes."""
        return self.longest + self.drawing.length if self.drawing else round(self.longest * self.shape.sequences)

    def rows(self) -> tuple[Example, ...]:
        """Rows that make a stream of this size; of what is drawn, the prompts."""
        if self.drawing is not None:
            a_prompt = self.longest + self.drawing.answers * self.drawing.length
            return tuple(
                prompt(i, self.longest, self.drawing.shown)
                for i in range(min(self.drawing.prompts, max(1, -(-self.num_tokens // a_prompt))))
            )
        piece = max(self.row_tokens, -(-self.num_tokens // PIECES))
        lengths = [min(piece, self.num_tokens - start) for start in range(0, self.num_tokens, piece)]
        share = self.num_scored / max(1, self.num_tokens)
        least = 2 * self.shape.branches
        return tuple(self.shape.row(i, n, max(1, round(share * n))) for i, n in enumerate(lengths) if n >= least)

    def certificate(self) -> tuple[Example, ...]:
        """Rows as the certificate takes them. Of what is drawn no more than make two streams."""
        if self.drawing is not None:
            drawn = self.drawing.answers * self.drawing.length
            enough = max(1, -(-2 * self.num_tokens // (self.longest + drawn)))
            return tuple(prompt(i, n, self.drawing.shown) for i, n in enumerate(self.certified[:enough]))

        sizes = [round(n * self.shape.sequences) for n in self.certified]
        share = self.num_scored / max(1, self.num_tokens)
        return tuple(self.shape.row(i, n, max(1, round(share * n))) for i, n in enumerate(sizes))


def prompt(number: int, length: int, shown: int = 0) -> Example:
    """A prompt to be answered. `shown`: tokens of the demonstration that goes with it, prompt included; 0 for none."""
    asked = Tokens(np.full(length, number * 100, np.int64), np.zeros(length, np.float32))
    return Example((asked, _sequence(number, shown, length, 0, shown)) if shown > length else (asked,))
