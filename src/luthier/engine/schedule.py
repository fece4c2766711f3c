"""`Schedule`: after which steps a run measures itself and saves its state."""

import math
from collections.abc import Container
from dataclasses import dataclass

from luthier.engine.lots import LotPlan
from luthier.spec.run import RunSpec

SHARE_BETWEEN = 10
"""Validations and checkpoints a run, where nothing is said."""


@dataclass(frozen=True)
class Schedule:
    """Steps in which something is done besides. At the end of a run everything is done anyway.

    `epochs_kept`: ends of epochs whose weights are kept.
    """

    total: int
    validated: Container[int]
    glanced: Container[int]
    saved: Container[int]
    epochs_kept: tuple[int, ...]

    @classmethod
    def of(cls, plan: LotPlan, spec: RunSpec) -> "Schedule":
        total, usual = plan.total_steps, max(1, math.ceil(plan.total_steps / SHARE_BETWEEN))
        validate, glance, keep = spec.evaluation.every or usual, spec.evaluation.glance_every, spec.checkpoints.keep_epochs
        kept = plan.epoch_ends[-keep:] if keep else ()
        save = spec.checkpoints.every or usual
        return cls(
            total,
            frozenset(plan.epoch_ends) if validate == "epoch" else range(validate, total, validate),
            {*range(glance, total, glance), total} if glance else (),
            {*range(save, total, save), *kept},
            kept,
        )
