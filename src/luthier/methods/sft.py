"""Supervised fine-tuning on the assistant's tokens."""

from collections.abc import Sequence as Seq
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from luthier.batches.examples import Example, Lot, column
from luthier.batches.rows import Rows
from luthier.batches.whole import WholeRows
from luthier.methods.base import TEXT_LOSS, VALIDATION, Measure, Method, NoState
from luthier.spec.base import Spec


class Config(Spec):
    """Learn to answer as the demonstrations do."""

    prompt_weight: float = Field(0.0, ge=0, le=1)
    """How much a token that is no answer (a user's, a tool's, the template's) counts in training; one of an answer counts 1. Above 0 helps
    where rows are few or answers short, and costs time. Answers with `weight: 0` are then learned as prompts are."""
    token_accuracy: bool = False
    """Also say of each step which share of its scored tokens the model found likeliest, as validation always does. Costs a little time."""


class SFT(Method[Config, NoState]):
    """Supervised fine-tuning: the cross-entropy of the answers' tokens. Ouyang et al., 2022, https://arxiv.org/abs/2203.02155, section 3.5

    loss = -Σ_t w_t log π(y_t | x, y_<t) / Σ_t w_t

    w_t is 1, or the weight of the message that the token belongs to. The sums run over a whole optimizer step. With `prompt_weight` all
    other tokens count, too, by that: "instruction modelling", Shi et al., 2024, https://arxiv.org/abs/2405.14394. What is measured in
    validation are the answers alone.
    """

    rows: ClassVar[tuple[str, ...]] = ("Conversation", "Labeled")

    def collect(self, examples: Seq[Example], state: NoState, number: int) -> Lot:
        weight = getattr(self.config, "prompt_weight", 0.0)  # a method of a user's own that builds on this one has settings of its own
        return Lot(WholeRows(examples, weight) if weight and number != VALIDATION else examples)

    @property
    def _accuracy(self) -> bool:
        return bool(getattr(self.config, "token_accuracy", False))  # as in `collect`

    def weights(self, lot: Lot) -> dict[str, Tensor]:
        scored = {"token_accuracy": torch.from_numpy(column(lot.examples, "num_trained")).double()} if self._accuracy else {}
        return {"loss": lot.token_weight, **scored}

    def coefficients(self) -> dict[str, float]:
        return {"token_accuracy": 0.0} if self._accuracy else {}

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        scores = self.policy.score(rows, correct=self._accuracy)
        found = {} if scores.correct is None else {"token_accuracy": rows.per_row(scores.correct.float())}
        return {"loss": -rows.per_row(rows.weights * scores.logprobs)} | (found if self._accuracy else {})

    @torch.no_grad()
    def measure(self, rows: Rows, weights: dict[str, Tensor]) -> dict[str, Measure]:
        scores = self.policy.score(rows, correct=True)
        assert scores.correct is not None
        ones = rows.per_row(torch.ones_like(rows.weights))
        return {
            "loss": Measure(-rows.per_row(rows.weights * scores.logprobs), weights["loss"]),
            "token_accuracy": Measure(rows.per_row(scores.correct.float()), ones),
            TEXT_LOSS: Measure(-rows.per_row(rows.is_text * scores.logprobs), rows.per_row(rows.is_text)),
        }
