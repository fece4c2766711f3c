"""`WholeRows`: examples of which the prompts are scored, too."""

from collections.abc import Sequence as Seq
from dataclasses import replace
from typing import overload

import numpy as np

from luthier.batches.example import Column, Example, Examples, column
from luthier.text.sequence import Sequence


class WholeRows(Examples):
    """The same examples; each token that had no weight has `weight`, but for the first of a sequence, which nothing precedes."""

    def __init__(self, examples: Seq[Example], weight: float) -> None:
        self._examples, self._weight = examples, weight

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> "WholeRows": ...
    def __getitem__(self, index: int | slice) -> "Example | WholeRows":
        if isinstance(index, slice):
            return WholeRows(self._examples[index], self._weight)
        example = self._examples[index]
        return replace(example, sequences=tuple(self._whole(sequence) for sequence in example.sequences), num_bytes=0)

    def column(self, name: Column) -> np.ndarray:
        if name == "num_trained":
            return np.array([example.num_trained for example in self], dtype=np.int64)
        return np.zeros(len(self), dtype=np.int64) if name == "num_bytes" else column(self._examples, name)

    def _whole(self, sequence: Sequence) -> Sequence:
        weights = np.where(sequence.weights == 0, np.float32(self._weight), sequence.weights)
        weights[:1] = 0
        return Sequence(sequence.ids, weights)
