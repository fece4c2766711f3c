"""`Packing`: what rows may do together under a model; found by the probe when it is loaded, never by its name."""

from dataclasses import dataclass

from luthier.batches.examples import Example


@dataclass(frozen=True)
class Packing:
    """`tier` 1: streams with shared beginnings; 2: streams without; 3: one sequence a forward.

    `thresholds`: lengths at which the model computes positions another way (longrope): sequences on different sides never share a
    stream. `apart_beyond`: longer sequences go alone (dynamic RoPE, where every length has positions of its own). `max_tokens`: of one
    forward, where the model's own attention holds a mask of the size of its context (GPT-Neo). `draws`: tokens of many sequences may be
    drawn at once: in tier 1 with keys and values that we store, above it those of one length in a batch with the model's own cache.
    """

    tier: int = 1
    thresholds: tuple[int, ...] = ()
    apart_beyond: int | None = None
    max_tokens: int | None = None
    draws: bool = True

    def side(self, length: int) -> int:
        """How many thresholds a sequence of `length` tokens is beyond."""
        return sum(length > t for t in self.thresholds)

    def apart(self, example: Example) -> bool:
        """Whether each of the example's sequences needs a forward of its own."""
        if self.tier == 3 or (self.apart_beyond is not None and example.longest > self.apart_beyond):
            return True
        if self.max_tokens is not None and example.num_tokens > self.max_tokens:
            return True
        return len({self.side(len(s)) for s in example.sequences}) > 1

    def share(self, apart: bool) -> bool:
        """Whether common beginnings may be computed once."""
        return self.tier == 1 and not apart
