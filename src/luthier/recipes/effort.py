"""Time, energy and money of a run: its arithmetic over a measured speed."""

import os
from dataclasses import dataclass

from luthier.recipes.workload import Workload

SHARE_OF_LIMIT = 0.5
"""Of the speed of a bare matrix product that whole steps reach, where no step was measured; on two cores 0.55 to 0.6 were."""

SHARE_OF_DRAWING = 0.15
"""The same of tokens that are drawn, where memory is read for few rows at a time; on two cores 0.12 (15M parameters, 64 sequences) to 0.18
(125M, 32) were."""

CHECKPOINTING = 4 / 3
"""Gradient checkpointing computes each layer's forward pass again."""

VALIDATION_SHARE = 1 / 3
"""Of a training token's time, for a token that is only measured."""

WATTS_A_CORE = 12.0
"""Of a busy core, memory and power supply with it: 8 to 15 W are usual. An accelerator's watts are not among them."""


@dataclass(frozen=True)
class Share:
    """What real steps reached: tokens a second, and what the machine drew meanwhile where that is known.

    `lot_seconds`: what it took to draw, judge and score the answers of a lot, of so many `lot_tokens`; 0 where nothing is drawn.
    """

    tokens_per_second: float
    watts: float | None = None
    lot_seconds: float = 0.0
    lot_tokens: float = 0.0


@dataclass(frozen=True)
class Work:
    """Operations of all matrix products of a run: of its steps, of what is scored without gradient, and of what is drawn."""

    steps: float
    scoring: float = 0.0
    drawing: float = 0.0

    @property
    def total(self) -> float:
        return self.steps + self.scoring + self.drawing

    def seconds(self, gflops: float, checkpointing: bool) -> float:
        """At `gflops` GFLOP/s of a bare product."""
        whole = (CHECKPOINTING if checkpointing else 1.0) * self.steps + self.scoring
        return (whole / SHARE_OF_LIMIT + self.drawing / SHARE_OF_DRAWING) / (gflops * 1e9)


@dataclass(frozen=True)
class Effort:
    """`seconds` of the training steps and validations together, with what is drawn and scored. `source`: `measured`, `estimated`, or
    `unknown` speed.

    `watts` times time is the energy: an estimate in any case.
    """

    flops: float
    seconds: float | None
    tokens_per_second: float | None
    source: str
    watts: float
    energy_wh: float | None
    price_an_hour: float | None
    cost: float | None


def effort_of(
    work: Work, workload: Workload, gflops: float | None, checkpointing: bool, price: float | None, share: Share | None
) -> Effort:
    """Of a run, on a machine that does `gflops` GFLOP/s in matrix products of this type."""
    tokens = workload.num_tokens * workload.passes
    if share is not None:
        seconds, source = tokens / share.tokens_per_second, "measured"
        if share.lot_tokens:
            seconds += workload.drawn / share.lot_tokens * share.lot_seconds
        elif workload.scored_apart:  # scored before the steps, whose speed was measured
            seconds += workload.scored_apart / share.tokens_per_second * VALIDATION_SHARE
    elif gflops:
        seconds, source = work.seconds(gflops, checkpointing), "estimated"
    else:
        return Effort(work.total, None, None, "unknown", _watts(None), None, price, None)
    speed = tokens / seconds if seconds else None
    a_row = seconds / max(1.0, workload.num_rows * workload.passes)
    seconds += workload.num_validations * workload.validation_rows * a_row * VALIDATION_SHARE
    watts = _watts(share)
    return Effort(
        work.total, seconds, speed, source, watts, watts * seconds / 3600, price, None if price is None else price * seconds / 3600
    )


def _watts(share: Share | None) -> float:
    if share is not None and share.watts is not None:
        return share.watts
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return WATTS_A_CORE * cores
