"""Which adapter computes which positions of a forward: a context variable, because linear layers get no keyword arguments.

Set by `models/forward.py` alone. Gradient checkpointing restores it for the forward that is computed again; module state would be
silently wrong there (two adapters in one step, one backward: gradients off by 79 %).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Routing:
    """`whole`: the adapter of every position (None: the base alone). Or `parts`: adapter → those of `num_positions` it computes, (n,)."""

    whole: str | None = None
    parts: tuple[tuple[str, Tensor], ...] = ()
    num_positions: int = 0

    @cached_property
    def padded(self) -> tuple[Tensor, Tensor | None]:
        """The positions of each part as a row of (k, m), and where they are real (k, m, 1): the rest is filling. None: all are."""
        most = max(len(positions) for _, positions in self.parts)
        index = torch.stack([torch.nn.functional.pad(positions, (0, most - len(positions))) for _, positions in self.parts])
        if all(len(positions) == most for _, positions in self.parts):
            return index, None
        real = torch.tensor([[at < len(positions) for at in range(most)] for _, positions in self.parts], device=index.device)
        return index, real[..., None]


BASE = Routing()
"""The base alone."""

_routing: ContextVar[Routing] = ContextVar("routing", default=BASE)


def current() -> Routing:
    return _routing.get()


@contextmanager
def routed(routing: Routing) -> Iterator[None]:
    token = _routing.set(routing)
    try:
        yield
    finally:
        _routing.reset(token)
