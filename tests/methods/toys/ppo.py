"""PPO as a user would write it: the reward is the share of even bytes, less a penalty for leaving the reference."""

from collections.abc import Sequence as Seq
from typing import ClassVar

import torch
from torch import Tensor

from luthier.batches.examples import Example, Lot
from luthier.batches.rows import Rows
from luthier.methods.base import Method
from luthier.spec.base import Spec


class Config(Spec):
    """Learn from rewards, with a critic."""

    clip: float = 0.2
    """How far the ratio may go in one lot."""


class State(Spec):
    kl: float = 0.1
    """How much leaving the reference costs; adapted after each lot."""


class PPO(Method[Config, State]):
    """Proximal policy optimization. Schulman et al., 2017, https://arxiv.org/abs/1707.06347

    loss = -Σ_t min(ρ_t Â_t, clip(ρ_t, 1 ± ε) Â_t) + ½ Σ_t (V_t - R_t)² - ¹⁄₁₀₀ Σ_t H_t,  Â = GAE(1, 0.95), R = Â + V_old
    """

    needs: ClassVar[frozenset[str]] = frozenset({"reference", "critic"})
    on_policy: ClassVar[bool] = True
    rows_per_prompt, prompts_per_lot = 2, 4

    def first_state(self) -> State:
        return State()

    def lot_epochs(self, epochs: int) -> int:
        return 2

    def collect(self, examples: Seq[Example], state: State, number: int) -> Lot:
        drawn = self.policy.sample([e.prompt for e in examples], self.rows_per_prompt, 6, 1.0, (number,))
        rows = tuple(e.answered(a.ids) for e, group in zip(examples, drawn, strict=True) for a in group)
        bare = Lot(rows)
        old, values = self.policy.column(bare), self.roles.critic.column(bare)
        penalty = -state.kl * (old - self.roles.reference.column(bare))
        advantages = torch.zeros_like(values)
        for row, start, end in zip(rows, bare.token_offsets, bare.token_offsets[1:], strict=False):
            penalty[end - 1] += float((row.sequences[0].ids[-(end - start) :] % 2 == 0).mean())
            after, value_after = 0.0, 0.0
            for t in range(end - 1, start - 1, -1):
                after = float(penalty[t]) + value_after - float(values[t]) + 0.95 * after
                advantages[t], value_after = after, float(values[t])
        return Lot(rows, {}, {"old": old, "advantage": advantages, "return": advantages + values})

    def weights(self, lot: Lot) -> dict[str, Tensor]:
        return dict.fromkeys(("policy", "entropy", "off"), lot.token_weight) | {"value": 2 * lot.token_weight}

    def coefficients(self) -> dict[str, float]:
        return {"entropy": -0.01, "off": 0.0}

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        scores, c = self.policy.score(rows, entropy=True), rows.columns
        ratio = (scores.logprobs - c["old"]).exp()
        gain = torch.minimum(ratio * c["advantage"], ratio.clamp(1 - self.config.clip, 1 + self.config.clip) * c["advantage"])
        error = (self.roles.critic.values(rows) - c["return"]).square()
        terms = {"policy": -gain, "value": error, "entropy": scores.entropy, "off": (ratio.detach() - 1).abs()}
        return {name: rows.per_row(term) for name, term in terms.items()}

    def update(self, state: State, lot: Lot, metrics: dict[str, float]) -> State:
        return State(kl=state.kl * (1.5 if metrics["off"] > 0.1 else 1 / 1.5))
