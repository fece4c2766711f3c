"""`Sequence`: token ids and how much each is to be learned; the only thing that text hands on to training."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Sequence:
    """One string as token ids.

    `ids` (n,) int64. `weights` (n,) float32: the weight of predicting `ids[t]` from what precedes it; 0 where it is only read.
    `weights[0]` is always 0: nothing precedes the first token.
    """

    ids: np.ndarray
    weights: np.ndarray

    def __post_init__(self) -> None:
        assert self.ids.shape == self.weights.shape and self.ids.ndim == 1
        assert not len(self.weights) or self.weights[0] == 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_trained(self) -> int:
        return int((self.weights != 0).sum())
