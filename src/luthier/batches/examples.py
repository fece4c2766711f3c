"""`Example`, the smallest set of answers whose loss cannot be split, and `Lot`, a table of them with columns."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from torch import Tensor

from luthier.text.sequence import Sequence


@dataclass(frozen=True, eq=False)
class Example:
    """A row as token ids: one sequence for SFT, two for a pair, k for a ranking. Beginnings that sequences share are computed once."""

    sequences: tuple[Sequence, ...]
    dataset: int = 0
    origin: str = ""
    num_bytes: int = 0
    """UTF-8 bytes that the scored tokens spell; counted for validation, 0 elsewhere."""

    @property
    def prompt(self) -> np.ndarray:
        """(n,) ids before the first scored token: what an answer is drawn to."""
        sequence = self.sequences[0]
        return sequence.ids[: int(np.flatnonzero(sequence.weights)[0])]

    def answered(self, ids: np.ndarray) -> "Example":
        """The prompt with another answer, each token of which is scored."""
        prompt = self.prompt
        weights = np.concatenate([np.zeros(len(prompt)), np.ones(len(ids))]).astype(np.float32)
        return Example((Sequence(np.concatenate([prompt, ids]), weights),), self.dataset, self.origin)

    @property
    def num_tokens(self) -> int:
        """Tokens that one-by-one computation would take."""
        return sum(len(s) for s in self.sequences)

    @property
    def num_trained(self) -> int:
        return sum(s.num_trained for s in self.sequences)

    @property
    def longest(self) -> int:
        return max(len(s) for s in self.sequences)


@dataclass(frozen=True, eq=False)
class Lot:
    """What a method collected: examples, and CPU columns that go with them.

    `row_columns[name]` is (R, …), one entry an example. `token_columns[name]` is (N,), one entry a trained token: by example, then
    sequence, then position. The engine writes a lot with columns to the run folder before its first step.
    """

    examples: tuple[Example, ...]
    row_columns: dict[str, Tensor] = field(default_factory=dict)
    token_columns: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert all(len(c) == len(self.examples) for c in self.row_columns.values())

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def token_weight(self) -> Tensor:
        """(R,) fp64: the data's weights of each row's scored tokens, summed."""
        return torch.tensor([sum(float(s.weights.sum(dtype=np.float64)) for s in e.sequences) for e in self.examples], dtype=torch.float64)

    @property
    def token_offsets(self) -> np.ndarray:
        """(R + 1,): where each example's trained tokens begin in a token column."""
        return np.concatenate([[0], np.cumsum([e.num_trained for e in self.examples], dtype=np.int64)])

    def take(self, index: np.ndarray) -> Self:
        """The examples at `index`, in that order, with their part of each column."""
        rows = torch.from_numpy(np.asarray(index, dtype=np.int64))
        tokens = rows
        if self.token_columns:
            offsets = self.token_offsets
            tokens = torch.from_numpy(np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in index] or [np.zeros(0, np.int64)]))
        return type(self)(
            tuple(self.examples[i] for i in index),
            {name: column.index_select(0, rows) for name, column in self.row_columns.items()},
            {name: column.index_select(0, tokens) for name, column in self.token_columns.items()},
        )
