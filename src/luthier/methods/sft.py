"""Supervised fine-tuning on the assistant's tokens."""

import torch
from torch import Tensor

from luthier.batches.rows import Rows
from luthier.methods.base import Measure, Method, NoState
from luthier.spec.base import Spec


class Config(Spec):
    """Learn to answer as the demonstrations do."""


class SFT(Method[Config, NoState]):
    """Supervised fine-tuning: the cross-entropy of the answers' tokens. Ouyang et al., 2022, https://arxiv.org/abs/2203.02155, section 3.5

    loss = -Σ_t w_t log π(y_t | x, y_<t) / Σ_t w_t

    w_t is 1, or the weight of the message that the token belongs to. The sums run over a whole optimizer step.
    """

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        return {"loss": -rows.per_row(rows.weights * self.policy.score(rows).logprobs)}

    @torch.no_grad()
    def measure(self, rows: Rows, weights: dict[str, Tensor]) -> dict[str, Measure]:
        scores = self.policy.score(rows, correct=True)
        assert scores.correct is not None
        ones = rows.per_row(torch.ones_like(rows.weights))
        return {
            "loss": Measure(-rows.per_row(rows.weights * scores.logprobs), weights["loss"]),
            "token_accuracy": Measure(rows.per_row(scores.correct.float()), ones),
        }
