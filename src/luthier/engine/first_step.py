"""What must hold before the first step: the policy is the reference it is held to, and the policy that the answers were drawn from."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.batches.examples import Lot
from luthier.batches.packing import Packing
from luthier.batches.plan import cut
from luthier.batches.rows import Rows, rows_of
from luthier.errors import TrainingFailed
from luthier.losses.logprobs import Scores
from luthier.methods.base import OLD, Method, Policy
from luthier.spec.base import Spec

ALLOWED = {torch.float32: (1e-5, 1e-4)}
"""Type → largest |log π - log π_ref|, and largest |ratio - 1|, of one token."""

ALLOWED_COARSE = (0.1, 0.1)
"""The same in types with fewer digits: a token's log-probability is off by some hundredths there."""


def check_first_step(method: Method[Spec, Spec], lot: Lot, token_budget: int, packing: Packing, device: torch.device) -> None:
    """Compare on the first micro-batch of `lot`, before any update.

    Raises:
        TrainingFailed: the reference is not what the policy starts from, or π_old not the policy that is trained.
    """
    first = next(iter(cut(lot.examples, token_budget, packing)))
    part = lot.take(np.asarray(first.index))
    if method.roles.reference is not None:
        _check_reference(method.policy.column(part), method.roles.reference.column(part), _type_of(method))
    if OLD in part.token_columns:
        rows = rows_of(part, packing, device)
        _check_ratio(_scored_in_loss(method, rows), rows.columns[OLD], _type_of(method))


def _check_reference(policy: Tensor, reference: Tensor, dtype: torch.dtype) -> None:
    largest = float((policy - reference).abs().max())
    if not largest <= ALLOWED.get(dtype, ALLOWED_COARSE)[0]:
        raise TrainingFailed(
            f"Before the first step log π and log π_ref differ by {largest:.1e}: the reference is not what the policy starts from, so the "
            f"policy would be held to another model. Take one model for both."
        )


def _check_ratio(scored: list[Tensor], old: Tensor, dtype: torch.dtype) -> None:
    same = [logprobs for logprobs in scored if logprobs.shape == old.shape]
    if not same:
        return
    largest = float(((same[0] - old).exp() - 1).abs().max())
    if not largest <= ALLOWED.get(dtype, ALLOWED_COARSE)[1]:
        raise TrainingFailed(
            f"Before the first step the ratio π / π_old is off 1 by {largest:.1e}: answers are scored otherwise than they were drawn. "
            f"Score them at one temperature, without dropout, and take π_old before top-k and top-p."
        )


def _scored_in_loss(method: Method[Spec, Spec], rows: Rows) -> list[Tensor]:
    """The log-probabilities that the method's loss asks for, at the temperature it asks for them."""
    policy = method.policy
    recording = _Recording(policy)
    method.policy = recording
    try:
        with torch.no_grad():
            method.loss(rows)
    finally:
        method.policy = policy
    return recording.scored


class _Recording:
    """A policy that remembers what it was asked."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.scored = policy, list[Tensor]()

    def score(self, rows: Rows, temperature: float = 1.0, entropy: bool = False, correct: bool = False) -> Scores:
        scores = self.policy.score(rows, temperature, entropy, correct)
        self.scored.append(scores.logprobs)
        return scores

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)


def _type_of(method: Method[Spec, Spec]) -> torch.dtype:
    """Of the computation."""
    root: Any = getattr(method.policy, "root", None)
    return torch.float32 if root is None else next(root.parameters()).dtype
