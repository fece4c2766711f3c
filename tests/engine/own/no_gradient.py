"""A loss that moves nothing."""

from torch import Tensor

from luthier.batches.rows import Rows
from luthier.methods import sft
from luthier.spec.base import Spec


class Config(Spec):
    """Nothing to set."""


class NoGradient(sft.SFT):
    """0 · SFT, https://arxiv.org/abs/2203.02155"""

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        return {"loss": 0 * super().loss(rows)["loss"]}
