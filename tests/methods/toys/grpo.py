"""GRPO as a user would write it: the reward is the share of even bytes."""

from collections.abc import Sequence as Seq
from typing import ClassVar

import torch
from torch import Tensor

from luthier.batches.examples import Example, Lot
from luthier.batches.rows import Rows
from luthier.methods.base import Method, NoState
from luthier.spec.base import Spec


class Config(Spec):
    """Learn from rewards of several answers to one prompt."""

    group: int = 4
    """Answers to each prompt."""
    clip: float = 0.2
    """How far the ratio may go in one lot."""


class GRPO(Method[Config, NoState]):
    """Group relative policy optimization. Shao et al., 2024, https://arxiv.org/abs/2402.03300

    Â = (r - mean r) / std r,  loss = -Σ_t min(ρ_t Â, clip(ρ_t, 1 ± ε) Â) / |y|,  ρ_t = π(y_t) / π_old(y_t)
    """

    on_policy: ClassVar[bool] = True
    prompts_per_lot = 4

    @property
    def rows_per_prompt(self) -> int:
        return self.config.group

    def lot_epochs(self, epochs: int) -> int:
        return 2

    def collect(self, examples: Seq[Example], state: NoState, number: int) -> Lot:
        drawn = self.policy.sample([e.prompt for e in examples], self.config.group, 6, 1.0, (number,))
        answers = [answer for group in drawn for answer in group]
        rows = tuple(examples[i // self.config.group].answered(a.ids) for i, a in enumerate(answers))
        rewards = torch.tensor([float((a.ids % 2 == 0).mean()) for a in answers]).view(-1, self.config.group)
        advantages = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
        columns = {"advantage": advantages.flatten(), "reward": rewards.flatten()}
        return Lot(rows, columns, {"old": self.policy.column(Lot(rows))})

    def weights(self, lot: Lot) -> dict[str, Tensor]:
        ones = torch.ones(len(lot), dtype=torch.float64)
        return {"loss": ones, "reward": ones, "off": lot.token_weight}

    def coefficients(self) -> dict[str, float]:
        return {"reward": 0.0, "off": 0.0}

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        advantage = rows.per_token(rows.columns["advantage"])
        ratio = (self.policy.score(rows).logprobs - rows.columns["old"]).exp()
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - self.config.clip, 1 + self.config.clip) * advantage)
        per_row = -rows.per_row(gain) / rows.per_row(torch.ones_like(gain))
        return {"loss": per_row, "reward": rows.columns["reward"], "off": rows.per_row((ratio.detach() - 1).abs())}
