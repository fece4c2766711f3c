"""KTO as a user would write it: every other answer stands under another row's prompt, and is undesirable there."""

from collections.abc import Sequence as Seq
from typing import ClassVar

import torch
from torch import Tensor

from luthier.batches.examples import Example, Lot
from luthier.batches.rows import Rows
from luthier.methods.base import Method, NoState
from luthier.spec.base import Spec


class Config(Spec):
    """Learn from answers that are good or bad, each by itself."""

    beta: float = 0.1
    """How strongly the policy is held to the reference."""


class KTO(Method[Config, NoState]):
    """Kahneman-Tversky optimization. Ethayarajh et al., 2024, https://arxiv.org/abs/2402.01306

    loss = 1 - σ(± β (log π(y|x) - log π_ref(y|x) - z)),  z = max(0, mean of log π(y'|x) - log π_ref(y'|x) over mismatched y')

    z depends on the policy and on the whole batch, so a lot is one batch.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"reference"})
    on_policy: ClassVar[bool] = True

    @property
    def prompts_per_lot(self) -> int:
        return self.order.batch_size

    def collect(self, examples: Seq[Example], state: NoState, number: int) -> Lot:
        moved = [*examples[1:], *examples[:1]]
        mismatched = [e.answered(o.sequences[0].ids[len(o.prompt) :]) for e, o in zip(examples, moved, strict=True)]
        rows = tuple(e if i % 2 == 0 else m for i, (e, m) in enumerate(zip(examples, mismatched, strict=True)))
        gained = self.policy.column(Lot(tuple(mismatched))) - self.roles.reference.column(Lot(tuple(mismatched)))
        z = (gained.sum() / len(mismatched)).clamp(min=0).expand(len(rows))
        sign = torch.tensor([1.0 if i % 2 == 0 else -1.0 for i in range(len(rows))])
        return Lot(rows, {"sign": sign, "z": z}, {"reference": self.roles.reference.column(Lot(rows))})

    def weights(self, lot: Lot) -> dict[str, Tensor]:
        return {"loss": torch.ones(len(lot), dtype=torch.float64)}

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        gained = rows.per_row(self.policy.score(rows).logprobs - rows.columns["reference"])
        return {"loss": 1 - torch.sigmoid(rows.columns["sign"] * self.config.beta * (gained - rows.columns["z"]))}
