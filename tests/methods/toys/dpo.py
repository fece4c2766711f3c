"""DPO as a user would write it: a pair is an answer and the next row's answer to the same prompt."""

from collections.abc import Sequence as Seq
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from luthier.batches.examples import Example, Lot
from luthier.batches.rows import Rows
from luthier.methods.base import Method, NoState
from luthier.spec.base import Spec


class Config(Spec):
    """Learn which of two answers is better."""

    beta: float = 0.1
    """How strongly the policy is held to the reference."""


class DPO(Method[Config, NoState]):
    """Direct preference optimization. Rafailov et al., 2023, https://arxiv.org/abs/2305.18290

    loss = -log σ(β [(log π(y_c|x) - log π_ref(y_c|x)) - (log π(y_r|x) - log π_ref(y_r|x))])
    """

    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def collect(self, examples: Seq[Example], state: NoState, number: int) -> Lot:
        others = [*examples[1:], *examples[:1]]
        pairs = tuple(pair(example, other) for example, other in zip(examples, others, strict=True))
        return Lot(pairs, {}, {"reference": self.roles.reference.column(Lot(pairs))})

    def weights(self, lot: Lot) -> dict[str, Tensor]:
        ones = torch.ones(len(lot), dtype=torch.float64)
        return {"loss": ones, "margin": ones}

    def coefficients(self) -> dict[str, float]:
        return {"margin": 0.0}

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        gained = rows.per_sequence(self.policy.score(rows).logprobs - rows.columns["reference"])
        chosen, rejected = rows.branches(gained).unbind(1)
        margin = self.config.beta * (chosen - rejected)
        return {"loss": -logsigmoid(margin), "margin": margin.detach()}


def pair(example: Example, other: Example) -> Example:
    """The example's own answer, and the other's under the same prompt."""
    rejected = example.answered(other.sequences[0].ids[len(other.prompt) :])
    return Example((*example.sequences, *rejected.sequences), example.dataset)
