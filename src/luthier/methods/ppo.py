"""Proximal policy optimization from a reward, with a critic: the RL of RLHF."""

from collections.abc import Sequence as Seq
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from luthier.batches.encode import Learns
from luthier.batches.examples import Example, Lot
from luthier.batches.rows import Rows
from luthier.losses.advantages import explained_variance, flattened, generalized_advantages, padded, token_rewards, whitened
from luthier.losses.policy import clipped_surrogate, clipped_value_error, is_clipped
from luthier.methods._imitation import refuse_none, with_demonstrations
from luthier.methods._leash import KL
from luthier.methods._rollout import Drawn, Rollout, draw, measured, only_finished, steps_by_prompt
from luthier.methods._watch import Seen, Watch
from luthier.methods.base import OLD, Measure, Method
from luthier.spec.base import Spec


class Critic(Spec):
    """The critic, which says what reward is to be expected."""

    warmup_steps: int = Field(0, ge=0)
    """Steps, rounded up to whole lots, in which it learns alone and the policy stays as it is. Where every weight learns, they share
    all but the head, and the policy moves with it."""
    clip: float | None = Field(0.2, gt=0)
    """How far a value may go in one lot; `null` to let it."""
    coefficient: float = Field(0.5, gt=0)
    """How much its error counts beside the policy's loss."""


class Config(Spec):
    """Learn from rewards, with a critic."""

    answers: int = Field(1, ge=1)
    """Answers to each prompt. With two or more a reward that leads away from the check is seen among them, long before it costs much."""
    rollout: Rollout = Rollout(passes=4)
    """How answers are drawn."""
    kl: KL = KL()
    """How the policy is held to the reference."""
    critic: Critic = Critic()
    """How the critic learns."""
    discount: float = Field(1.0, gt=0, le=1)
    """γ: what a reward is worth a token earlier."""
    gae_decay: float = Field(0.95, ge=0, le=1)
    """λ: 1 trusts only rewards, 0 only the critic."""
    clip: float = Field(0.2, gt=0, lt=1)
    """ε: how far the probability of a token may go in one lot."""
    entropy: float = Field(0.0, ge=0)
    """How much it is worth to stay undecided."""
    whiten: bool = True
    """Divide advantages by their deviation in the lot, around their mean."""
    truncated: Literal["bootstrap", "penalty", "drop"] = "bootstrap"
    """An answer cut at the length limit: the critic says what would still have come, or it gets `truncation_penalty` instead of its reward,
    or it is left out."""
    truncation_penalty: float = -1.0
    """Without effect, and refused, unless `truncated` is `penalty`."""
    ptx: float = Field(0.0, ge=0)
    """How much imitating the answers of conversations counts: SFT and RLHF in one run (InstructGPT's PPO-ptx). Rows without one are only
    asked. Without effect, and refused, where no row is a conversation."""
    watch: Watch = Watch()
    """When the run is stopped by itself."""

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.truncated != "penalty" and self.truncation_penalty != type(self).model_fields["truncation_penalty"].default:
            raise ValueError(
                f"`truncation_penalty` has no effect with `truncated: {self.truncated}`. Set `truncated: penalty`, or leave it out"
            )
        return self


class State(Spec):
    """`kl`: β now. `steps`: optimizer steps of the lots so far. `seen`: of them."""

    kl: float
    steps: int = 0
    seen: Seen = Seen()


class PPO(Method[Config, State]):
    """Proximal policy optimization. Schulman et al., 2017, https://arxiv.org/abs/1707.06347; on language, https://arxiv.org/abs/2203.02155

    loss = -Σ_t min(ρ_t Â_t, clip(ρ_t, 1 ± ε) Â_t) + c_V ½ Σ_t (V_t - R_t)² - c_H Σ_t H_t - c_ptx Σ_t log π(y*_t)
    r_t = -β (log π_old(y_t) - log π_ref(y_t)), and the reward besides at the last token;  Â = GAE(γ, λ),  R = Â + V_old

    V_t is read at the position that predicts token t. Each sum is divided by the tokens it counts. y* are demonstrations.
    """

    rows: ClassVar[tuple[str, ...]] = ("Task", "Conversation", "Preference", "Ranking", "Thumb", "Rating")
    learns: ClassVar[Learns] = "prompts"
    needs: ClassVar[frozenset[str]] = frozenset({"reference", "critic", "judge"})
    on_policy: ClassVar[bool] = True

    @classmethod
    def learns_of(cls, config: Config) -> Learns:
        return "prompts and answers" if config.ptx else "prompts"

    def look(self, examples: Seq[Example]) -> None:
        if self.config.ptx:
            refuse_none(examples)

    @property
    def rows_per_prompt(self) -> int:  # type: ignore[override]
        return self.config.answers + (self.config.ptx > 0)

    @property
    def prompts_per_lot(self) -> int:  # type: ignore[override]
        return self.config.rollout.prompts

    def first_state(self) -> State:
        return State(kl=self.config.kl.coefficient)

    def lot_epochs(self, epochs: int) -> int:
        return self.config.rollout.passes

    def collect(self, examples: Seq[Example], state: State, number: int) -> Lot:
        assert self.roles.critic is not None
        drawn = draw(self.roles, examples, number, self.config.answers, self.config.rollout)
        values, ends = self.roles.critic.column_and_ends(drawn.lot)
        advantages, returns = self._advantages(drawn, values, ends, state.kl)
        lot = drawn.lot.with_tokens(values=values, advantage=advantages, returns=returns)
        lot.metrics.update(kl_coefficient=state.kl, explained_variance=explained_variance(values, returns))
        learns = torch.full((len(lot),), float(state.steps >= self.config.critic.warmup_steps or number < 0))
        lot = lot.with_rows(learns=learns, ptx=torch.zeros(len(lot)))
        if number >= 0 and self.config.truncated == "drop":
            lot = only_finished(lot, drawn.unfinished, self.config.rollout.max_new_tokens)
        return with_demonstrations(lot, examples, self.policy, self.config.rollout.temperature) if self.config.ptx else lot

    def _advantages(self, drawn: Drawn, values: Tensor, ends: Tensor, kl: float) -> tuple[Tensor, Tensor]:
        """Advantages and returns, (N,). `ends`: what the critic expects behind each answer."""
        assert drawn.reference is not None
        config, lengths, given, after = self.config, drawn.lengths, drawn.rewards.total, torch.zeros(len(drawn.answers))
        if config.truncated == "penalty":
            given = torch.where(drawn.unfinished, config.truncation_penalty, given)
        elif config.truncated == "bootstrap" and drawn.unfinished.any():
            after = torch.where(drawn.unfinished, ends, after)
            given = torch.where(drawn.unfinished, 0.0, given)
        rewards = token_rewards(given, drawn.lot.token_columns[OLD] - drawn.reference, kl, lengths)
        mask = padded(torch.ones_like(values), lengths) > 0
        advantages, returns = generalized_advantages(rewards, padded(values, lengths), mask, config.discount, config.gae_decay, after)
        flat = flattened(advantages, lengths)
        if config.whiten:
            counted = (~drawn.unfinished | (config.truncated != "drop")).repeat_interleave(torch.tensor(lengths))
            flat[counted] = whitened(flat[counted])
        return flat, flattened(returns, lengths)

    def batches(self, lot: Lot, epoch: int) -> list[np.ndarray]:
        return steps_by_prompt(lot, self.order, epoch)

    def weights(self, lot: Lot) -> dict[str, Tensor]:
        ptx, learns = lot.row_columns["ptx"].double(), lot.row_columns["learns"].double()
        drawn = lot.token_weight * (1 - ptx)
        terms = {"policy": drawn * learns, "value": drawn, "entropy": drawn * learns, "clip_fraction": drawn, "ratio_off": drawn}
        return {**terms, "ptx": lot.token_weight * ptx * learns} if self.config.ptx else terms

    def coefficients(self) -> dict[str, float]:
        ptx = {"ptx": self.config.ptx} if self.config.ptx else {}
        return {"value": self.config.critic.coefficient, "entropy": -self.config.entropy, "clip_fraction": 0.0, "ratio_off": 0.0, **ptx}

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        assert self.roles.critic is not None
        config, columns = self.config, rows.columns
        with torch.set_grad_enabled(torch.is_grad_enabled() and bool(columns["learns"].any())):  # none at all, or weight decay moves it
            scores = self.policy.score(rows, config.rollout.temperature, entropy=True)
        assert scores.entropy is not None
        is_ptx = rows.per_token(columns["ptx"])
        drawn, learned = 1 - is_ptx, (1 - is_ptx) * rows.per_token(columns["learns"])
        ratio = torch.where(is_ptx > 0, 0.0, scores.logprobs - columns[OLD]).exp()
        value_error = clipped_value_error(self.roles.critic.values(rows), columns["values"], columns["returns"], config.critic.clip)
        terms = {
            "policy": learned * clipped_surrogate(ratio, columns["advantage"], config.clip, config.clip),
            "value": drawn * value_error,
            "entropy": drawn * (scores.entropy if config.entropy else scores.entropy.detach()),
            "clip_fraction": drawn * is_clipped(ratio.detach(), columns["advantage"], config.clip, config.clip),
            "ratio_off": drawn * (ratio.detach() - 1).abs(),
        }
        if config.ptx:
            terms["ptx"] = -is_ptx * scores.logprobs
        return {name: rows.per_row(term) for name, term in terms.items()}

    @torch.no_grad()
    def measure(self, rows: Rows, weights: dict[str, Tensor]) -> dict[str, Measure]:
        return measured(rows)

    def update(self, state: State, lot: Lot, metrics: dict[str, float]) -> State:
        steps = state.steps + self.config.rollout.passes * len(self.batches(lot, 0))
        kl = self.config.kl.steered(state.kl, lot.metrics["kl"], lot.metrics["answers"])
        return State(kl=kl, steps=steps, seen=state.seen.with_lot(lot.metrics))

    def alarm(self, state: State) -> str | None:
        return state.seen.alarm(self.config.watch)

    def worth(self, state: State, lot: Lot) -> float | None:
        return state.seen.worth(lot.metrics)
