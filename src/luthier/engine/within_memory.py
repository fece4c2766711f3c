"""Computing in smaller pieces where memory ends: the token budget is halved, which changes nothing but time."""

from collections.abc import Callable
from typing import TypeVar

from luthier.engine.checkpoint import Progress
from luthier.errors import OutOfMemory
from luthier.models.device import is_out_of_memory

T = TypeVar("T")

SMALLEST_BUDGET = 8


def within_memory(compute: Callable[[int], T], progress: Progress, halved: Callable[[], None]) -> T:
    """`compute` at the token budget of `progress`; out of memory: again at half of it, which stays.

    Args:
        halved: told each time, after the budget was made smaller and before it is tried again.
    Raises:
        OutOfMemory: a single row does not fit.
    """
    while True:
        budget = progress.token_budget
        try:
            return compute(budget)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if budget <= SMALLEST_BUDGET:
                raise OutOfMemory(
                    "Out of memory with one row at a time. Set `train.gradient_checkpointing=true`, `train.dtype=bfloat16` or a "
                    "smaller `data.max_length`, or take a smaller model."
                ) from error
        progress.token_budget = budget // 2
        halved()
