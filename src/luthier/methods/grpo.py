"""Group relative policy optimization: several answers to each prompt, each learned from by how it compares with the others."""

from collections.abc import Sequence as Seq
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from luthier.batches.encode import Learns
from luthier.batches.examples import Example, Lot
from luthier.batches.rows import Rows
from luthier.losses.advantages import group_advantages
from luthier.losses.policy import clipped_surrogate, is_clipped, kl_estimate
from luthier.methods._rollout import Rollout, draw, measured, steps_by_prompt
from luthier.methods._watch import Seen, Watch
from luthier.methods.base import OLD, VALIDATION, Measure, Method
from luthier.spec.base import Spec


class Config(Spec):
    """Learn from rewards, by comparing answers to one prompt."""

    group: int = Field(8, ge=2)
    """Answers to each prompt. One cannot be compared."""
    rollout: Rollout = Rollout()
    """How answers are drawn."""
    validation_answers: int | None = Field(None, ge=1)
    """Answers to each prompt in validation. Default: as many as in training."""
    clip: float = Field(0.2, gt=0, lt=1)
    """How far down the probability of a token may go in one lot, and up, too, where `clip_high` is not given."""
    clip_high: float | None = Field(None, gt=0)
    """How far up. DAPO takes 0.28, so that unlikely tokens can become likely."""
    scale: Literal["group", "batch", "none"] = "group"
    """What rewards are divided by: the deviation in their group (GRPO), in the lot, or nothing (Dr. GRPO)."""
    average: Literal["answer", "token", "constant"] = "token"
    """Each answer counts alike (GRPO, where a token of a long answer counts less), each token does (DAPO), or tokens count alike and are
    divided by `rollout.max_new_tokens` (Dr. GRPO)."""
    kl: float = Field(0.0, ge=0)
    """How strongly the policy is held to the reference. 0 needs none. GRPO's paper takes 0.04, DAPO and Dr. GRPO 0."""
    drop_equal: bool = True
    """Leave out groups whose answers all have the same reward, from which nothing can be learned (DAPO)."""
    unfinished: Literal["keep", "drop"] = "keep"
    """Answers that were cut at the length limit: learned from as they were rewarded, or left out (DAPO)."""
    watch: Watch = Watch()
    """When the run is stopped by itself."""


class State(Spec):
    """What was seen of the lots so far."""

    seen: Seen = Seen()


class GRPO(Method[Config, State]):
    """Group relative policy optimization. Shao et al., 2024, https://arxiv.org/abs/2402.03300

    loss = -Σ_t min(ρ_t Â, clip(ρ_t, 1 - ε, 1 + ε_high) Â) / n + β KL(π ‖ π_ref),  ρ_t = π(y_t) / π_old(y_t),  Â = (r - mean r) / std r

    n is a number of tokens, see `average`. DAPO: https://arxiv.org/abs/2503.14476. Dr. GRPO: https://arxiv.org/abs/2503.20783.
    """

    rows: ClassVar[tuple[str, ...]] = ("Task", "Conversation", "Preference", "Ranking", "Thumb", "Rating")
    learns: ClassVar[Learns] = "prompts"
    on_policy: ClassVar[bool] = True

    @classmethod
    def needs_of(cls, config: Config) -> frozenset[str]:
        return frozenset({"judge", "reference"} if config.kl or config.watch.kl_budget else {"judge"})

    @property
    def rows_per_prompt(self) -> int:  # type: ignore[override]
        return self.config.group

    @property
    def prompts_per_lot(self) -> int:  # type: ignore[override]
        return self.config.rollout.prompts

    def first_state(self) -> State:
        return State()

    def lot_epochs(self, epochs: int) -> int:
        return self.config.rollout.passes

    def collect(self, examples: Seq[Example], state: State, number: int) -> Lot:
        config = self.config
        if number == VALIDATION and config.validation_answers is not None:
            return draw(self.roles, examples, number, config.validation_answers, config.rollout).lot
        drawn = draw(self.roles, examples, number, config.group, config.rollout)
        rewards = drawn.rewards.total.view(-1, config.group)
        advantages = group_advantages(rewards, config.scale).flatten()
        equal = (rewards == rewards[:, :1]).all(1).repeat_interleave(config.group)
        lot = drawn.lot.with_rows(advantage=advantages)
        lot.metrics["equal_groups"] = float(equal.double().mean())
        if number < 0:
            return lot
        kept = ~(equal & config.drop_equal) & ~(drawn.unfinished & (config.unfinished == "drop"))
        return lot.take(kept.nonzero()[:, 0].numpy())

    def batches(self, lot: Lot, epoch: int) -> list[np.ndarray]:
        return steps_by_prompt(lot, self.order, epoch)

    def weights(self, lot: Lot) -> dict[str, Tensor]:
        ones = torch.ones(len(lot), dtype=torch.float64)
        of_loss = lot.token_weight if self.config.average == "token" else ones
        tokens = dict.fromkeys(("entropy", "clip_fraction", "ratio_off"), lot.token_weight)
        return {"policy": of_loss, **({"kl": of_loss} if self.config.kl else {}), **tokens}

    def coefficients(self) -> dict[str, float]:
        seen = dict.fromkeys(("entropy", "clip_fraction", "ratio_off"), 0.0)
        return {"kl": self.config.kl, **seen} if self.config.kl else seen

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        config, columns = self.config, rows.columns
        scores = self.policy.score(rows, config.rollout.temperature, entropy=True)
        assert scores.entropy is not None
        advantage = rows.per_token(columns["advantage"])
        ratio = (scores.logprobs - columns[OLD]).exp()
        clip = config.clip, config.clip_high or config.clip
        terms = {"policy": self._averaged(clipped_surrogate(ratio, advantage, *clip), rows)}
        if config.kl:
            terms["kl"] = self._averaged(kl_estimate(scores.logprobs, columns["reference"]), rows)
        seen = {
            "entropy": scores.entropy.detach(),
            "clip_fraction": is_clipped(ratio.detach(), advantage, *clip),
            "ratio_off": (ratio.detach() - 1).abs(),
        }
        return terms | {name: rows.per_row(value) for name, value in seen.items()}

    def _averaged(self, per_token: Tensor, rows: Rows) -> Tensor:
        """(N,) → (R,), as `average` says."""
        per_row = rows.per_row(per_token)
        if self.config.average == "answer":
            return per_row / rows.per_row(torch.ones_like(per_token))
        return per_row / self.config.rollout.max_new_tokens if self.config.average == "constant" else per_row

    @torch.no_grad()
    def measure(self, rows: Rows, weights: dict[str, Tensor]) -> dict[str, Measure]:
        return measured(rows)

    def update(self, state: State, lot: Lot, metrics: dict[str, float]) -> State:
        return State(seen=state.seen.with_lot(lot.metrics))

    def alarm(self, state: State) -> str | None:
        return state.seen.alarm(self.config.watch)

    def worth(self, state: State, lot: Lot) -> float | None:
        return state.seen.worth(lot.metrics)
