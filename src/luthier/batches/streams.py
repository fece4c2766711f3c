"""`Stream`: many sequences laid end to end without padding, each beginning that several share computed once.

Everything in a transformer but attention is per token, so only attention must know where sequences end: `Segment` tells it.
"""

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor

from luthier.batches.examples import Example
from luthier.batches.packing import Packing

MIN_SHARED = 32
"""Shorter common beginnings are computed again: splitting attention for them costs more than it saves."""


@dataclass(frozen=True)
class Segment:
    """A stretch of the stream that attends causally to itself and wholly to the earlier stretches it reads, in order."""

    start: int
    length: int
    reads: tuple[tuple[int, int], ...] = ()
    adapter: str | None = None
    """The adapter that computes it; None for the one of the whole forward."""
    virtual: str | None = None
    """The key/value pairs that come before it (prefix tuning)."""

    @property
    def num_read(self) -> int:
        return sum(length for _, length in self.reads)


@dataclass(frozen=True, eq=False)
class Stream:
    """What one forward computes.

    `input_ids`, `position_ids` (1, T). `read_at` (N,): the position whose hidden state predicts `targets` (N,), each scored token by row,
    sequence and position. `weights` (N,) fp32. `token_row` (N,), `token_sequence` (N,): which row and which sequence a scored token
    belongs to. `sequence_row` (S,), `last_at` (S,): each sequence's row, and where its last token stands.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: tuple[Segment, ...]
    read_at: Tensor
    targets: Tensor
    weights: Tensor
    token_row: Tensor
    token_sequence: Tensor
    sequence_row: Tensor
    last_at: Tensor
    num_rows: int
    apart: bool = False
    """Each segment needs a forward of its own."""

    @property
    def num_tokens(self) -> int:
        return int(self.input_ids.shape[1])

    def to(self, device: torch.device) -> Self:
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return type(self)(**{**vars(self), **moved})


def _shared_length(a: np.ndarray, b: np.ndarray) -> int:
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    shared = int(different[0]) if len(different) else n
    return shared if shared >= MIN_SHARED else 0


def lexical_order(ids: Seq[np.ndarray]) -> list[int]:
    """Indices that put sequences with a common beginning next to each other; big-endian bytes sort like the ids themselves."""
    return sorted(range(len(ids)), key=lambda i: ids[i].astype(">i8").tobytes())


def _prefix(path: list[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """The first `length` tokens of a path of (start, length) stretches."""
    kept: list[tuple[int, int]] = []
    for start, n in path:
        if length <= 0:
            break
        kept.append((start, min(n, length)))
        length -= n
    return kept


def _paths(ids: Seq[np.ndarray], share: bool) -> tuple[list[list[tuple[int, int]]], list[Segment], list[tuple[int, int]]]:
    """Where each sequence's tokens stand, the segments, and (sequence, first new token) of each segment.

    Visited in lexical order, a sequence's longest shared beginning is with the one before it.
    """
    paths: list[list[tuple[int, int]]] = [[] for _ in ids]
    segments: list[Segment] = []
    sources: list[tuple[int, int]] = []
    total, previous = 0, -1
    for i in lexical_order(ids) if share else range(len(ids)):
        shared = _shared_length(ids[previous], ids[i]) if share and previous >= 0 else 0
        reads = _prefix(paths[previous], shared) if shared else []
        new = len(ids[i]) - shared
        paths[i] = [*reads, (total, new)] if new else reads
        if new:
            segments.append(Segment(total, new, tuple(reads)))
            sources.append((i, shared))
        total, previous = total + new, i
    return paths, segments, sources


def num_computed(ids: Seq[np.ndarray], share: bool) -> int:
    """Tokens that a stream of these sequences computes."""
    if not share:
        return sum(len(s) for s in ids)
    order = lexical_order(ids)
    shared = sum(_shared_length(ids[a], ids[b]) for a, b in pairwise(order))
    return sum(len(s) for s in ids) - shared


def build_stream(examples: Seq[Example], packing: Packing = Packing()) -> Stream:
    """Lay the sequences of `examples` into one stream; common beginnings of at least `MIN_SHARED` tokens once, where that is allowed."""
    apart = any(packing.apart(e) for e in examples)
    sequences = [(row, s) for row, example in enumerate(examples) for s in example.sequences]
    ids = [s.ids for _, s in sequences]
    paths, segments, sources = _paths(ids, packing.share(apart))
    read_at, targets, weights, token_row, token_sequence, last_at = [], [], [], [], [], []
    for number, ((row, sequence), path) in enumerate(zip(sequences, paths, strict=True)):
        where = np.concatenate([np.arange(start, start + n) for start, n in path])
        trained = np.flatnonzero(sequence.weights)
        read_at.append(where[trained - 1])
        targets.append(sequence.ids[trained])
        weights.append(sequence.weights[trained])
        token_row.append(np.full(len(trained), row))
        token_sequence.append(np.full(len(trained), number))
        last_at.append(where[-1])
    return Stream(
        input_ids=_tensor([ids[i][first:] for i, first in sources])[None],
        position_ids=_tensor([np.arange(first, len(ids[i])) for i, first in sources])[None],
        segments=tuple(segments),
        read_at=_tensor(read_at),
        targets=_tensor(targets),
        weights=torch.from_numpy(np.concatenate(weights)).float(),
        token_row=_tensor(token_row),
        token_sequence=_tensor(token_sequence),
        sequence_row=torch.tensor([row for row, _ in sequences]),
        last_at=torch.from_numpy(np.array(last_at, dtype=np.int64)),
        num_rows=len(examples),
        apart=apart,
    )


def _tensor(parts: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))
