"""Ways to end green and be wrong, and the sentences with which a run ends `failed` instead."""

import math

import torch

from luthier.engine.certificate import Finding
from luthier.errors import TrainingFailed

MOST_GAP = 1e-2
"""Of one token in fp32. Sound models were off by 2e-5 at most; a router that decides otherwise in a tie is off by more."""

MOST_GAP_COARSE = 1.0
"""The same in types with fewer digits, where 0.18 was measured."""


def refuse_infinite(step: int, loss: float, norm: float, rate: float) -> None:
    """Of the step that is being made: its loss and the norm of its gradient."""
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise TrainingFailed(
            f"Step {step}: the loss is {loss:g} and the gradient's norm {norm:g}. The weights are as they were before this step. "
            f"Try a lower `optimizer.learning_rate` (now {rate:g}), or `train.dtype=float32`."
        )


def refuse_infinite_validation(step: int, loss: float, rate: float) -> None:
    if not math.isfinite(loss):
        raise TrainingFailed(
            f"Step {step}: the validation loss is {loss:g}. The last checkpoint is from before it. "
            f"Try a lower `optimizer.learning_rate` (now {rate:g}), or `train.dtype=float32`."
        )


def refuse_no_gradient(norm: float) -> None:
    """Of the first step."""
    if norm == 0:
        raise TrainingFailed("Step 1: every gradient is zero, so nothing would be learned. Check `adapter` and the rows' weights.")


def refuse_other_sampler(lot: int, gap: float, dtype: torch.dtype) -> None:
    """`gap`: the largest difference, over the tokens of a lot, of log-probabilities as they were drawn and as training computes them."""
    allowed = MOST_GAP if dtype in (torch.float32, torch.float64) else MOST_GAP_COARSE
    if not gap <= allowed:
        raise TrainingFailed(
            f"Lot {lot}: answers were drawn under log-probabilities that are off training's by up to {gap:.1e} (allowed {allowed:g}). What "
            f"draws is not the policy that learns, so every ratio would be wrong. Draw and score with the same weights, adapter and "
            f"temperature, without dropout; if they are the same, please report this with the run folder."
        )


def refuse_inexact(finding: Finding, tolerance: float) -> None:
    if not finding.passed:
        raise TrainingFailed(
            f"The certificate failed at step {finding.step}: the fast gradient differs from the naive one by {finding.fp32} in fp32 "
            f"(allowed {tolerance:g}), by {finding.run_dtype} in the run's type (allowed twice {finding.noise}). "
            f"The weights must not be used. Please report this with the run folder."
        )


def refuse_no_gain(best_step: int, rate: float, alarm: str | None = None) -> None:
    """Of a run that stopped early."""
    if best_step == 0 and alarm:
        raise TrainingFailed(f"{alarm} The weights it began with were the best, so nothing is gained by this run.")
    if best_step == 0:
        raise TrainingFailed(
            "No validation was better than the one before training, so nothing is gained by this run. "
            f"Try a lower `optimizer.learning_rate` (now {rate:g}), or more `evaluation.patience`."
        )


def refuse_unmoved(steps: int, moved: bool, rate: float) -> None:
    if not steps:
        raise TrainingFailed(
            "No step was made: in every lot all answers were left out, because those to one prompt had equal rewards, or were cut at the "
            "length limit. Look at the lots in metrics.jsonl; mend the reward, or ask prompts that are neither too easy nor too hard."
        )
    if not moved:
        raise TrainingFailed(
            f"After {steps} steps every weight is what it was before them: nothing was learned. "
            f"Try a higher `optimizer.learning_rate` (now {rate:g}), or `train.dtype=float32`."
        )
