"""Kahneman-Tversky optimization: single answers with a thumb up or down."""

from collections.abc import Sequence as Seq
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from luthier.batches.examples import Example, Lot
from luthier.batches.rows import Rows
from luthier.errors import TrainingFailed
from luthier.methods.base import Method, NoState
from luthier.spec.base import Spec


class Config(Spec):
    """Learn from answers that people found good or not, each by itself."""

    beta: float = Field(0.1, gt=0)
    """How strongly the policy is held to the reference."""
    good_weight: float = Field(1.0, gt=0)
    """How much an answer with a thumb up counts. With n_good and n_bad of each, the paper wants good_weight · n_good / (bad_weight · n_bad)
    between 1 and 4/3."""
    bad_weight: float = Field(1.0, gt=0)
    """How much an answer with a thumb down counts."""


class KTO(Method[Config, NoState]):
    """Kahneman-Tversky optimization. Ethayarajh et al., 2024, https://arxiv.org/abs/2402.01306

    loss = λ (1 - σ(± β (log π(y|x) - log π_ref(y|x) - z))),  z = max(0, mean of log π(y'|x) - log π_ref(y'|x) over other answers y')

    + and λ_good where the answer is good, - and λ_bad where it is not. z, taken without gradient over the rows of a step, is how far the
    policy is from the reference on answers to other prompts: y' is the next row's answer.
    """

    rows: ClassVar[tuple[str, ...]] = ("Thumb",)
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def look(self, examples: Seq[Example]) -> None:
        """Raises `TrainingFailed` where all thumbs point the same way."""
        good = sum(bool(example.facts["good"]) for example in examples)
        if good in (0, len(examples)):
            remedy = "or imitate them with `method: sft`" if good else "or use pairs with `method: dpo`"
            raise TrainingFailed(
                f"All {len(examples):,} answers have a thumb {'up' if good else 'down'}: KTO learns from what sets good ones apart from "
                f"bad ones. Add some with a thumb {'down' if good else 'up'}, {remedy}."
            )

    def collect(self, examples: Seq[Example], state: NoState, number: int) -> Lot:
        """Each row twice: its own answer, and the next row's, of which as much as makes it no longer than the longest row."""
        assert self.roles.reference is not None
        longest = max(example.longest for example in examples)
        answers = [answer_of(examples[(i + 1) % len(examples)]) for i in range(len(examples))]
        others = [example.answered(ids[: longest - len(example.prompt)]) for example, ids in zip(examples, answers, strict=True)]
        both = tuple(
            Example((*example.sequences, *other.sequences), example.dataset, example.origin)
            for example, other in zip(examples, others, strict=True)
        )
        sign = torch.tensor([1.0 if example.facts["good"] else -1.0 for example in examples])
        lot = Lot(both, {"sign": sign})
        return lot.with_tokens(reference=self.roles.reference.column(lot))

    def refresh(self, lot: Lot) -> Lot:
        """The rows' own answers, with z as the policy is now."""
        own, other = (part(lot, place) for place in (0, 1))
        gained = float((self.policy.column(other) - other.token_columns["reference"]).sum()) / len(lot)
        return own.with_rows(z=torch.full((len(lot),), max(0.0, gained)))

    def weights(self, lot: Lot) -> dict[str, Tensor]:
        ones = torch.ones(len(lot), dtype=torch.float64)
        good = (lot.row_columns["sign"] > 0).double()
        return {"loss": ones, "z": ones, "rewards/good": good, "rewards/bad": 1 - good}

    def coefficients(self) -> dict[str, float]:
        return {"z": 0.0, "rewards/good": 0.0, "rewards/bad": 0.0}

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        sign, z = rows.columns["sign"], rows.columns["z"]
        gained = rows.per_row(self.policy.score(rows).logprobs - rows.columns["reference"])
        factor = torch.where(sign > 0, self.config.good_weight, self.config.bad_weight)
        loss = factor * (1 - torch.sigmoid(sign * self.config.beta * (gained - z)))
        reward = self.config.beta * gained.detach()
        return {"loss": loss, "z": z, "rewards/good": reward * (sign > 0), "rewards/bad": reward * (sign < 0)}


def answer_of(example: Example) -> np.ndarray:
    """(n,): what follows the prompt."""
    return example.sequences[0].ids[len(example.prompt) :]


def part(lot: Lot, place: int) -> Lot:
    """One of the two sequences of every row, with its part of the columns."""
    lengths = np.array([[sequence.num_trained for sequence in example.sequences] for example in lot.examples])
    ends = np.cumsum(lengths).reshape(lengths.shape)
    kept = torch.from_numpy(np.concatenate([np.arange(end - n, end) for end, n in zip(ends[:, place], lengths[:, place], strict=True)]))
    examples = tuple(Example((example.sequences[place],), example.dataset, example.origin) for example in lot.examples)
    return Lot(examples, lot.row_columns, {name: column.index_select(0, kept) for name, column in lot.token_columns.items()})
