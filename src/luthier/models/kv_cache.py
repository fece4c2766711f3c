"""Keys and values of many sequences: a prompt stored once whoever reads it, and beside it what each sequence drew itself.

Stretches of similar length lie together in a block: one tensor (N, H_kv, C, D) a layer, whose first rows are in use, without gaps. So
attention over a block is a batched product of tensors that lie in memory as they are, without copies and without much padding.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Layers = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, in the order in which the model calls attention."""

FIRST_TAIL = 32
"""Room for drawn tokens that a sequence begins with; it doubles whenever it is full."""

STEP = 128
"""Up to four times this, prompts get room in steps of it."""

READERS = 4
"""Prompts with up to 1, 4, 16, … sequences that read them lie in blocks apart: a block computes as if all had the most readers."""


def room(length: int) -> int:
    """The capacity of the block for a prompt of `length` tokens: at most about half as much again."""
    capacity = STEP
    while capacity < length:
        capacity = capacity + STEP if capacity < 4 * STEP else capacity * 3 // 2 if capacity & (capacity - 1) == 0 else capacity * 4 // 3
    return capacity


class Block:
    """Stretches with room for `capacity` tokens each. `pieces` are its rows, in order. `wide`: stored in fp32 at least."""

    def __init__(self, capacity: int, wide: bool) -> None:
        self.capacity, self.wide = capacity, wide
        self.pieces: list[Piece] = []
        self.layers: Layers = []

    def __len__(self) -> int:
        return len(self.pieces)

    def add(self, length: int, owner: Any) -> "Piece":
        """A new last row."""
        piece = Piece(self, len(self.pieces), length, owner)
        self.pieces.append(piece)
        if self.layers and self.layers[0][0].shape[0] < len(self.pieces):
            self._grow(2 * len(self.pieces))
        return piece

    def allocate(self, like: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Make room for the layers of `like`, each (…, H_kv, T, D), where there is none yet. Layers with the same keys share it."""
        if self.layers:
            return
        known: dict[int, tuple[Tensor, Tensor]] = {}
        for keys, values in like:
            if id(keys) not in known:  # zeros: what is never written is multiplied by zero, which does not mend a NaN
                known[id(keys)] = self._zeros(keys), self._zeros(values)
            self.layers.append(known[id(keys)])

    def _zeros(self, like: Tensor) -> Tensor:
        dtype = torch.promote_types(like.dtype, torch.float32) if self.wide else like.dtype
        return like.new_zeros(len(self.pieces), like.shape[-3], self.capacity, like.shape[-1], dtype=dtype)

    def lengthen(self, capacity: int) -> None:
        """Room for more tokens in each row."""
        self.capacity = capacity
        self._replace(lambda x: torch.nn.functional.pad(x, (0, 0, 0, capacity - x.shape[2])))

    def _grow(self, rows: int) -> None:
        self._replace(lambda x: torch.cat([x, x.new_zeros(rows - len(x), *x.shape[1:])]))

    def _replace(self, change: Callable[[Tensor], Tensor]) -> None:
        """Other tensors in place of these; layers that shared theirs go on sharing."""
        known: dict[int, tuple[Tensor, Tensor]] = {}
        for keys, values in self.layers:
            if id(keys) not in known:
                known[id(keys)] = change(keys), change(values)
        self.layers = [known[id(keys)] for keys, _ in self.layers]

    def stored(self) -> Layers:
        """Each layer's tensors once."""
        return list({id(keys): (keys, values) for keys, values in self.layers}.values())


class Piece:
    """One stretch: which row of which block, and how many tokens of it are filled."""

    def __init__(self, block: Block, row: int, length: int, owner: Any) -> None:
        self.block, self.row, self.length, self.owner = block, row, length, owner
        self.drawn: list[int] = []

    def remove(self) -> None:
        """Give the row up; the block's last one moves into it."""
        last = self.block.pieces.pop()
        if last is not self:
            for tensors in self.block.stored():
                for x in tensors:
                    x[self.row, :, : last.length] = x[last.row, :, : last.length]
            last.row = self.row
            self.block.pieces[self.row] = last
        self.owner = None  # who points back here: a circle would keep the block's tensors until Python looks for circles

    def write(self, layers: Sequence[tuple[Tensor, Tensor]], start: int) -> None:
        """Fill in from token `start` on: each layer's keys and values (H_kv, n, D)."""
        self.block.allocate(layers)
        for mine, theirs in zip(self.block.layers, layers, strict=True):
            for x, y in zip(mine, theirs, strict=True):
                x[self.row, :, start : start + y.shape[1]] = y

    def read(self, length: int) -> Layers:
        """Each layer's first `length` keys and values (H_kv, length, D), as views."""
        return [(k[self.row, :, :length], v[self.row, :, :length]) for k, v in self.block.layers]


def copied(*parts: Layers) -> Layers:
    """The parts of one sequence, one after the other, in tensors of their own."""
    return [(torch.cat([part[i][0] for part in parts], 1), torch.cat([part[i][1] for part in parts], 1)) for i in range(len(parts[0]))]
