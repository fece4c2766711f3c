"""The contract of a reward: a file with `Config` and exactly one subclass of `Reward`; and what it looks at."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from luthier.spec.base import Spec
from luthier.spec.rows import Message


@dataclass(frozen=True, eq=False)
class Judged:
    """One answer and what it answers.

    `item`: the row's other fields. `finished`: it ended by itself, not at the length limit. `num_tokens`: of the answer. `ids` (n,):
    prompt and answer as the policy saw them. `tool_calls`: in the shape of chat completions.
    """

    prompt: tuple[Message, ...]
    answer: str
    item: Mapping[str, Any] = field(default_factory=dict)
    finished: bool = True
    num_tokens: int = 0
    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    tool_calls: tuple[dict[str, Any], ...] = ()


C = TypeVar("C", bound=Spec)


class Reward(ABC, Generic[C]):
    """Scores answers by its settings."""

    def __init__(self, config: C) -> None:
        """Raises UserError: it cannot be used with these settings, or on this machine."""
        self.config = config

    @abstractmethod
    def score(self, answers: Sequence[Judged]) -> np.ndarray:
        """(n,) fp64, finite, one an answer and in their order.

        Raises:
            UserError: an answer that should have a score and has none; says why, and what to do.
        """

    def details(self) -> Mapping[str, np.ndarray]:
        """(n,) each, by name: what the last answers that were scored were given besides, the same names each time."""
        return {}

    def close(self) -> None:
        """Let go of processes and models."""
