"""`World`: the processes that train one run together, as everything but `engine/sharding.py` sees them. Here: one process alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor

T = TypeVar("T")


class World:
    """One process alone: every call is what it would be without it. What several do in its place is said of each."""

    rank: int = 0
    size: int = 1
    backend: str | None = None
    """How several processes speak: `gloo`, or gloo and nccl."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Every process's `value`, by rank."""
        return [value]

    def once(self, compute: Callable[[], T]) -> T:
        """`compute` on the first process alone; all get what it returned, or raise the `UserError` that it raised."""
        return compute()

    def first(self, compute: Callable[[], T]) -> T:
        """`compute` on every process, on the first one before the others: they find what it left on the disk."""
        kept: list[T] = []
        self.once(lambda: kept.append(compute()))
        return kept[0] if kept else compute()

    def add_up(self, tensor: Tensor) -> Tensor:
        """`tensor`, in place the sum of every process's."""
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether it is so for any process."""
        return flag

    @contextmanager
    def together(self) -> Iterator[None]:
        """Where one process runs out of memory inside, all do."""
        yield


ALONE = World()
