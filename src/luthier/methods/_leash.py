"""How a policy is held to the reference: a price a nat, as it stands or steered towards a target."""

from typing import Self

from pydantic import Field, model_validator

from luthier.spec.base import Spec

MOST = 0.2
"""How much of an error of the divergence counts at once."""


class KL(Spec):
    """What it costs to leave the reference, taken off the reward of each token."""

    coefficient: float = Field(0.05, ge=0)
    """β: so much reward a nat. The first value, where there is a target."""
    target: float | None = Field(None, gt=0)
    """KL divergence of an answer, in nats, that β is steered towards. Default: β stays as it is. https://arxiv.org/abs/1909.08593"""
    horizon: int = Field(10_000, ge=1)
    """How slowly β moves: in five times so many answers it can become e times as large. Without effect, and refused, without a target."""

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.target is None and self.horizon != type(self).model_fields["horizon"].default:
            raise ValueError("`horizon` has no effect without `target`: the coefficient stays as it is. Give a target, or leave it out")
        return self

    def steered(self, now: float, divergence: float, answers: float) -> float:
        """β after a lot: up where the policy is further from the reference than the target, down where it is nearer.

        β ← β (1 + clip(KL / target - 1, ±0.2) · answers / horizon). Ziegler et al., 2019, https://arxiv.org/abs/1909.08593, section 2.2

        Args:
            now: β. divergence: KL of the lot's answers, in nats an answer.
        """
        if self.target is None:
            return now
        return now * (1 + min(MOST, max(-MOST, divergence / self.target - 1)) * answers / self.horizon)
