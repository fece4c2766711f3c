"""`Limits`: how much of the machine the sampler process may take."""

from dataclasses import dataclass
from typing import Self

from luthier.models.device import total_bytes
from luthier.models.sample import MAX_SEQUENCES

GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """`base_bytes`: of weights of all bases. `adapter_bytes`: of adapters on one base. `cache_bytes`: of keys and values of one base.

    `max_sequences`: answers drawn at once with one base. `max_waiting`: answers that may wait for a place, over all bases.
    `unnamed_tokens`: kept free for an answer whose client named no limit, as long as it has no more than these; where many of them grow
    beyond, and no room is left, the longest ends, as at a limit.
    """

    base_bytes: int
    adapter_bytes: int
    cache_bytes: int
    max_sequences: int = MAX_SEQUENCES
    max_waiting: int = 1024
    unnamed_tokens: int = 1024

    @classmethod
    def of_machine(cls, memory_gib: float | None = None, max_waiting: int = 1024) -> Self:
        """Of `memory_gib`, or of half of what the machine has: two thirds for bases, a sixth each for adapters and for keys and values."""
        share = memory_gib * GIB if memory_gib is not None else total_bytes() / 2
        return cls(int(share * 4 / 6), int(share / 6), int(share / 6), max_waiting=max_waiting)
