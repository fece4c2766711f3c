"""`Line`: who waits, by key, each key's first in turn; and `Pace`: how soon somebody may come back."""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

LATEST = 64
"""Answers that the pace is measured over."""

SOONEST_S, LATEST_S = 1.0, 60.0
"""Within what somebody is asked to come back."""


class Line(Generic[Item]):
    """Waiting items of each key in order; keys take turns, so that one with many does not hold up one with few."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[Item]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, key: str, item: Item) -> None:
        self._length += 1
        self._of.setdefault(key, deque()).append(item)

    @property
    def first(self) -> Item | None:
        """Whose turn it is."""
        return next(iter(self._of.values()))[0] if self._of else None

    def take(self) -> Item:
        """The first one leaves, and the next turn is another key's."""
        key, items = next(iter(self._of.items()))
        item = items.popleft()
        self._length -= 1
        self._of.move_to_end(key)
        if not items:
            del self._of[key]
        return item

    def drop(self, unwanted: Callable[[Item], bool]) -> None:
        """Those leave without their turn."""
        for key, items in list(self._of.items()):
            self._of[key] = deque(item for item in items if not unwanted(item))
            if not self._of[key]:
                del self._of[key]
        self._length = sum(map(len, self._of.values()))


class Pace:
    """How quickly answers end, measured over the latest of them."""

    def __init__(self) -> None:
        self._ended: deque[float] = deque(maxlen=LATEST)

    def ended(self, now: float) -> None:
        """An answer ended at `now`, in seconds of a clock that never goes back."""
        self._ended.append(now)

    def seconds_for(self, number: int) -> float:
        """Until so many answers will have ended, if it goes on as it did; a second where nothing is known yet."""
        if len(self._ended) < 2:
            return SOONEST_S
        each = (self._ended[-1] - self._ended[0]) / (len(self._ended) - 1)
        return min(max(number * each, SOONEST_S), LATEST_S)
