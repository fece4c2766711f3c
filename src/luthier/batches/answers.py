"""`Answer`: what a policy drew."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Answer:
    """Token ids, the stop token included, and the log-probability under which each was drawn, both (n,)."""

    ids: np.ndarray
    logprobs: np.ndarray
    finished: bool
    """It ended with a stop token, not at the length limit."""
