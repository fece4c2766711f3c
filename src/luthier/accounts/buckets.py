"""How much a minute: a bucket a key, filled steadily, from which each takes. One that takes much never empties another's."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

MINUTE_S = 60.0
MOST = 10_000
"""Buckets that are kept before full ones, which say nothing, are forgotten."""


@dataclass(frozen=True)
class Taken:
    """What came of taking from a bucket.

    `limit`: what it holds, which is what flows in within a minute. `remaining`: what is left of it. `reset_s`: until it is full.
    `wait_s`: until there is as much as was asked for: 0 where it was granted, infinite where it never will be.
    """

    limit: int
    remaining: int
    reset_s: float
    wait_s: float

    @property
    def granted(self) -> bool:
        return self.wait_s == 0


class Buckets:
    """In memory: each process has its own. `clock`: seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._levels: dict[str, tuple[float, float]] = {}  # by key: what was in it, and when

    def take(self, key: str, per_minute: int, amount: float = 1) -> Taken:
        """Take all of it, or nothing."""
        with self._lock:
            at = self._clock()
            level = self._level(key, per_minute, at)
            missing = amount - level
            if missing <= 0:
                level -= amount
            self._keep(key, level, at)
        wait_s = 0.0 if missing <= 0 else math.inf if amount > per_minute else missing / per_minute * MINUTE_S
        return Taken(per_minute, max(0, math.floor(level)), (per_minute - level) / per_minute * MINUTE_S, wait_s)

    def settle(self, key: str, per_minute: int, more: float) -> None:
        """What was taken turned out to be so much more, or, where negative, less; it may owe."""
        with self._lock:
            at = self._clock()
            self._keep(key, min(self._level(key, per_minute, at) - more, per_minute), at)

    def _level(self, key: str, per_minute: int, at: float) -> float:
        level, since = self._levels.get(key, (float(per_minute), at))
        return min(float(per_minute), level + (at - since) * per_minute / MINUTE_S)

    def _keep(self, key: str, level: float, at: float) -> None:
        self._levels[key] = (level, at)
        if len(self._levels) > MOST:
            self._levels = {key: kept for key, kept in self._levels.items() if at - kept[1] < MINUTE_S}
