"""An eye on the reward: what is learned from goes up, but does what was wanted? What PPO and GRPO share.

Two things tell. The check's mean over lots, which is what counts, and is noisy: of 32 answers it is known to a sixth of a deviation. And,
within each lot, whether of several answers to one prompt those that the reward likes are those that the check dislikes. That is seen before
anything is lost, because it is where learning leads: a policy tilted by a reward, π' ∝ π exp(η r), has dE[c]/dη = Cov(r, c) at η = 0.
"""

import math
import sys
from typing import Self

from pydantic import Field
from torch import Tensor

from luthier.spec.base import Spec

FEWEST = 3
"""Lots before a trend can be seen."""

STRETCHES = (6, 12, 24, 48)
"""Newest lots in which a trend is looked for, besides all of them: a reward is often sound at first, and what it gained then would hide
what it loses later."""

MANY_LOOKS = 0.75
"""Standard errors more than `sigmas` that a trend must be sure of, because it is looked for after every lot and in each stretch: so a check
that stays where it is looks like falling in 1 of 100 runs of 60 lots, and without in 15 (by simulation, `tests/methods/test_watch.py`)."""

STILL_RISES = 2.0
"""How sure it must be that the reward rises, in standard errors. That it does is what training is for: the check is what is in doubt."""

TOLERATED = 0.05
"""How far below 0 the correlation of reward and check within prompts may be: a reward that rises by its deviation costs the check so many
of its own."""

ALLOWANCE = 0.5
"""Standard errors taken off the evidence of each lot, so that chance does not add up: half of what is to be found in a lot. Page, 1954,
https://doi.org/10.1093/biomet/41.1-2.100"""

SPEAKS_AGAINST = 1.0
"""Standard errors by which the trends over the lots in which reward and check disagree may go the other way. More is not asked of them: of
32 answers a lot it takes 15 lots to see half a deviation."""


class Watch(Spec):
    """When a run is stopped because its reward no longer means what it should."""

    sigmas: float = Field(3.0, gt=0)
    """How sure it must be that the check falls while the reward rises, in standard errors. With two or more answers to a prompt it is seen
    among those, within a few lots of 32 answers; with one, by the check's trend alone: of 250 answers a lot, when a third of its deviation
    is lost."""
    kl_budget: float | None = Field(None, gt=0)
    """Largest mean KL divergence of an answer from the reference, in nats; beyond it the run stops. Default: none."""


class Seen(Spec):
    """Of every lot: mean reward and check with their standard errors, and the KL divergence. `spread`: of the check at the start.

    `against`: evidence that the reward leads away from the check, a sum that begins anew at 0 (CUSUM). `since`: lots since it last was 0.
    `correlation`: of reward and check within the prompts of the newest lot.
    """

    reward: tuple[float, ...] = ()
    reward_error: tuple[float, ...] = ()
    check: tuple[float, ...] = ()
    check_error: tuple[float, ...] = ()
    kl: float = 0.0
    spread: float = 0.0
    against: float = 0.0
    since: int = 0
    correlation: float = 0.0

    def with_lot(self, metrics: dict[str, float]) -> Self:
        """After another lot."""
        kl = metrics.get("kl", 0.0)
        if "check" not in metrics:
            return self.model_copy(update={"kl": kl})
        against = max(0.0, self.against + evidence(metrics))
        return type(self)(
            reward=(*self.reward, metrics["reward"]),
            reward_error=(*self.reward_error, metrics["reward_error"]),
            check=(*self.check, metrics["check"]),
            check_error=(*self.check_error, metrics["check_error"]),
            kl=kl,
            spread=self.spread or metrics["check_std"],
            against=against,
            since=self.since + 1 if against else 0,
            correlation=metrics.get("check_correlation", 0.0),
        )

    def worth(self, metrics: dict[str, float]) -> float | None:
        """Of the weights that drew a new lot: the check, smoothed over the lots so far; None where there is none."""
        return smoothed((*self.check, metrics["check"]))[-1] if "check" in metrics else None

    def alarm(self, watch: Watch) -> str | None:
        """Why to stop, as a sentence."""
        if watch.kl_budget is not None and self.kl > watch.kl_budget:
            return (
                f"The policy's answers are {self.kl:.1f} nats from the reference's, beyond `method.watch.kl_budget` ({watch.kl_budget:g}): "
                f"it was stopped before it forgets what it knew."
            )
        if self._leads_away(watch.sigmas):
            return (
                f"Of the answers to one prompt the reward likes those that the check dislikes (correlation {self.correlation:.2f} in the "
                f"newest of {self.since} lots): where the reward rises, the check falls. {self._told(self.since)}"
            )
        stretch = self._parted(watch.sigmas)
        return None if stretch is None else f"The reward rises while the check falls. {self._told(stretch)}"

    def _told(self, stretch: int) -> str:
        """What was seen, and what to do."""
        lost = (max(smoothed(self.check)) - smoothed(self.check)[-1]) / self.spread if self.spread else math.inf
        return (
            f"In the last {stretch} lots the reward went from {self.reward[-stretch]:.3g} to {self.reward[-1]:.3g}, the check from "
            f"{self.check[-stretch]:.3g} to {self.check[-1]:.3g} ({lost:.2f} of its deviation at the start are lost): the policy has found "
            f"what the reward likes, which is not what was meant. Look at the newest lot's answers, and mend the reward."
        )

    def _leads_away(self, sigmas: float) -> bool:
        """Within prompts the reward is against the check, surely, or as surely as with the check's fall over those lots it need be.

        The two are independent: what differs within prompts says nothing of their means. So their evidence adds up, as in Fisher's method,
        and neither trend may speak against it.
        """
        if self.since < 2:
            return False
        rises, falls = self._trends(self.since)
        alone = self.against >= limit(sigmas)
        together = self.against + limit(falls) >= limit(sigmas + MANY_LOOKS)
        return (alone or together) and rises > -SPEAKS_AGAINST and falls > -SPEAKS_AGAINST

    def _parted(self, sigmas: float) -> int | None:
        """The newest lots in which reward and check go apart: how many; None where they do not."""
        number = len(self.check)
        for stretch in (*(n for n in STRETCHES if n < number), *([number] if number >= FEWEST else [])):
            rises, falls = self._trends(stretch)
            if falls >= sigmas + MANY_LOOKS and rises >= STILL_RISES:
                return stretch
        return None

    def _trends(self, stretch: int) -> tuple[float, float]:
        """How surely the reward rises and the check falls in the newest lots, in standard errors."""
        return trend(self.reward[-stretch:], pooled(self.reward_error)), -trend(self.check[-stretch:], pooled(self.check_error))


def limit(sigmas: float) -> float:
    """So many standard errors as evidence, -log P(Z ≥ sigmas): 6.6 for 3.

    Where nothing is wrong, it takes 1 / P lots at least on average until chance alone adds up to so much, 740 for 3. Lorden, 1971,
    https://doi.org/10.1214/aoms/1177693055
    """
    return -math.log(max(math.erfc(sigmas / math.sqrt(2)) / 2, sys.float_info.min))


def evidence(metrics: dict[str, float]) -> float:
    """What one lot adds: how far below the tolerated its correlation lies, in standard errors, less the allowance."""
    error = metrics.get("check_correlation_error", 0.0)
    return -(metrics["check_correlation"] + TOLERATED) / error - ALLOWANCE if error else 0.0


def within_prompts(reward: Tensor, check: Tensor) -> tuple[float, float]:
    """The correlation of two scores among answers to one prompt, and its standard error; both 0 where nothing varies.

    T = Σ_p Σ_g (r - r̄_p)(c - c̄_p),  Var T = Σ_p SS_p(r) SS_p(c) / (G - 1),

    which is exact where each prompt's check scores are in an order of chance (Pitman, 1937, https://doi.org/10.2307/2983647); or the
    spread of the prompts' own sums, where that is larger: both may depend on each other without one rising with the other.

    Args:
        reward, check: (P, G), G answers to each of P prompts.
    """
    groups, answers = reward.shape
    r, c = (values.double() - values.double().mean(1, keepdim=True) for values in (reward, check))
    scale = float((r.square().sum() * c.square().sum()).sqrt())
    if answers < 2 or not scale > 0:
        return 0.0, 0.0
    sums = (r * c).sum(1)
    by_chance = float((r.square().sum(1) * c.square().sum(1)).sum()) / (answers - 1)
    seen = float(sums.var()) * groups if groups > 1 else 0.0
    return float(sums.sum()) / scale, math.sqrt(max(by_chance, seen)) / scale


def pooled(errors: tuple[float, ...]) -> float:
    """One error for all lots, √(mean of squares): a lot's own is known too badly to be divided by, from 8 prompts to a quarter."""
    return math.sqrt(sum(error**2 for error in errors) / len(errors)) if errors else 0.0


def trend(values: tuple[float, ...], error: float) -> float:
    """The slope of a line through values with a known error, in its own standard errors; 0 where nothing varies.

    b = Σ (x - x̄) y / Σ (x - x̄)², of variance error² / Σ (x - x̄)²
    """
    middle = (len(values) - 1) / 2
    wide = sum((x - middle) ** 2 for x in range(len(values)))
    return sum((x - middle) * y for x, y in enumerate(values)) / (error * math.sqrt(wide)) if error and wide else 0.0


def smoothed(values: tuple[float, ...], keep: float = 0.5) -> list[float]:
    """Exponential averages, each of the values so far."""
    found: list[float] = []
    for value in values:
        found.append(keep * found[-1] + (1 - keep) * value if found else value)
    return found
