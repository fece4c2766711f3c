"""`Figures`: what the process did since it began, for whoever watches it."""

import os
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

import psutil

from luthier.serve.said import Asked
from luthier.spec.serving import ModelCounts

FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bounds that the times to the first token are counted between."""

Model = tuple[str, str | None]


@dataclass
class Figures:
    """Counts. `began`: on the clock that never goes back."""

    began: float = field(default_factory=time.monotonic)
    requests: int = 0
    overloaded: int = 0
    cancelled: int = 0
    failed: int = 0
    first_token_counts: list[int] = field(default_factory=lambda: [0] * (len(FIRST_TOKEN_S) + 1))
    first_token_sum_s: float = 0.0
    _of: dict[Model, Counter[str]] = field(default_factory=dict)

    def first_told(self, seconds: float) -> None:
        """So long after it came, an ask got its first piece."""
        self.first_token_counts[bisect_left(FIRST_TOKEN_S, seconds)] += 1
        self.first_token_sum_s += seconds

    def done(self, asked: Asked) -> None:
        """It was answered, or as much of it as anybody waited for."""
        usage = asked.usage
        counts = self._of.setdefault((asked.ask.base, asked.ask.adapter), Counter())
        counts.update(
            requests=1,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
        )

    @property
    def models(self) -> tuple[ModelCounts, ...]:
        return tuple(ModelCounts(base=base, adapter=adapter, **counts) for (base, adapter), counts in list(self._of.items()))

    @property
    def memory_bytes(self) -> int:
        """Resident."""
        return int(psutil.Process(os.getpid()).memory_info().rss)
