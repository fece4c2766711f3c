"""A clock that jumps: it is set by an hour, or the machine sleeps. Who was silent only for the clock is not given up."""

import time
from collections.abc import Callable

LEAST_JUMP_S = 1.0
"""A query may take so long."""


class Watch:
    """Looks at the database's clock beside one that cannot be set and stands still while the machine sleeps.

    Args:
        calm_s: how long after a jump nobody's silence is believed: whoever is there has spoken by then. steady: that other clock.
    """

    def __init__(self, calm_s: float, steady: Callable[[], float] = time.monotonic) -> None:
        self.calm_s, self.steady = calm_s, steady
        self._ahead: float | None = None
        self._calm_until = -float("inf")

    def trusts(self, now: float) -> bool:
        """Whether moments in the database mean what they say, at the moment `now` of its clock."""
        at = self.steady()
        ahead = now - at
        if self._ahead is not None and abs(ahead - self._ahead) > max(self.calm_s / 3, LEAST_JUMP_S):
            self._calm_until = at + self.calm_s
        self._ahead = ahead
        return at >= self._calm_until
