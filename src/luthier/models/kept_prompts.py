"""Keys and values that outlive their request, for later prompts that begin alike: the next turn of a conversation, a common instruction."""

import numpy as np

from luthier.models.kv_cache import Layers

LEAST = 16
"""A shorter common beginning is computed again."""


class KeptPrompts:
    """At most `budget` tokens; what was not used for longest leaves first."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._kept: dict[tuple[str | None, bytes], tuple[np.ndarray, Layers]] = {}
        """Least recently used first."""

    @property
    def num_tokens(self) -> int:
        return sum(len(ids) for ids, _ in self._kept.values())

    def put(self, adapter: str | None, ids: np.ndarray, layers: Layers) -> None:
        """Keep what was computed for `ids` (n,), in place of what is only its beginning."""
        if len(ids) > self.budget:
            return
        for key, (other, _) in list(self._kept.items()):
            if key[0] == adapter and _common(other, ids) == len(other):
                del self._kept[key]
        self._kept[adapter, ids.tobytes()] = ids, layers
        while self.num_tokens > self.budget:
            del self._kept[next(iter(self._kept))]

    def find(self, adapter: str | None, ids: np.ndarray) -> Layers | None:
        """Keys and values of the longest known beginning of `ids`, short of the last token: that one makes the next logits."""
        shared, best = self._longest(adapter, ids)
        if best is None:
            return None
        entry = self._kept[best] = self._kept.pop(best)
        return [(k[:, :shared], v[:, :shared]) for k, v in entry[1]]

    def known(self, adapter: str | None, ids: np.ndarray) -> int:
        """How many tokens of `ids` `find` would give."""
        shared, best = self._longest(adapter, ids)
        return 0 if best is None else shared

    def _longest(self, adapter: str | None, ids: np.ndarray) -> tuple[int, tuple[str | None, bytes] | None]:
        shared, best = 0, None
        for key, (other, _) in self._kept.items():
            if key[0] == adapter and (common := min(_common(other, ids), len(ids) - 1)) > shared:
                shared, best = common, key
        return (0, None) if shared < LEAST else (shared, best)

    def forget(self) -> None:
        """Weights have changed."""
        self._kept.clear()


def _common(a: np.ndarray, b: np.ndarray) -> int:
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n
