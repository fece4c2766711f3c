"""SFT on a device on which only so many scored tokens fit."""

import torch
from torch import Tensor

from luthier.batches.rows import Rows
from luthier.methods import sft
from luthier.spec.base import Spec


class Config(Spec):
    fits: int
    """Scored tokens that fit."""


class TightMemory(sft.SFT):
    """As SFT, https://arxiv.org/abs/2203.02155"""

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        if len(rows.weights) > self.config.fits:
            raise torch.OutOfMemoryError(f"{len(rows.weights)} tokens do not fit")
        return super().loss(rows)
