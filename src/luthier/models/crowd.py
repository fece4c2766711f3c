"""Many sequences drawn at once with the model's own code: keys and values are ours, attention over them is `drawing_attention`."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from luthier.adapters.routing import Routing
from luthier.batches.streams import Segment
from luthier.models.drawing_attention import Decoding, Prompts, Shared, Tails
from luthier.models.forward import Root
from luthier.models.kept_prompts import KeptPrompts
from luthier.models.kv_cache import FIRST_TAIL, READERS, Block, Piece, copied, room

ROWS = 16
"""Forwards have a multiple of so many rows. With fewer, products of matrices are computed another way, and the last bits of a row would
depend on how many others there are; and a kernel is prepared for each number of rows."""

QUERIES = 4
"""The same for the queries that read a prompt: with fewer, last bits would depend on how many others read it. In fp32 only."""

STREAM = 2048
"""Tokens of prompts computed at once; a longer prompt goes alone."""


@dataclass(eq=False)
class Prompt:
    """A stored prompt (or what a sequence has so far, where it moved here) and who reads it. `read` (d,): what makes its next logits."""

    ids: np.ndarray
    adapter: str | None
    readers: list["Member"] = field(default_factory=list)
    piece: Piece | None = None
    read: Tensor | None = None

    @property
    def key(self) -> tuple[str | None, bytes]:
        return self.adapter, self.ids.tobytes()


@dataclass(eq=False)
class Member:
    """A sequence in the crowd. `newest`: the token drawn last, whose keys are not stored yet."""

    prompt: Prompt
    newest: int = -1
    tail: Piece | None = None

    @property
    def stored(self) -> int:
        """Drawn tokens whose keys are stored."""
        return 0 if self.tail is None else self.tail.length

    @property
    def position(self) -> int:
        """Of the newest token."""
        return len(self.prompt.ids) + self.stored


@dataclass(eq=False)
class _Layout:
    """Who stands where, until somebody joins or leaves: tensors that do not change from token to token."""

    members: list[Member]
    tails: list[tuple[Block, int, Tensor, Tensor]]
    prompts: list[tuple[Block, Tensor, Tensor]]
    place: Tensor | None
    routing: Routing


class Crowd:
    """Sequences that may share a forward. Results are rows for `Root.logits`."""

    def __init__(self, root: Root, kept: KeptPrompts) -> None:
        self.root, self.kept = root, kept
        self.prompts: dict[tuple[str | None, bytes], Prompt] = {}
        self.blocks: dict[tuple[int, int], Block] = {}
        self.tails: dict[int, Block] = {}
        self._layout: _Layout | None = None
        text = root.model.config.get_text_config()
        heads = getattr(text, "num_attention_heads", 1)
        self._group = heads // (getattr(text, "num_key_value_heads", None) or heads)

    @property
    def _exact(self) -> bool:
        """The last bits of a row are not to depend on who else is there: products have the same shapes then."""
        return self.root.model.dtype == torch.float32

    @property
    def _least_readers(self) -> int:
        """With fewer than `QUERIES` queries at once over a prompt, products are computed another way."""
        return -(-QUERIES // self._group) if self._exact else 1

    def join(self, wanted: Sequence[tuple[np.ndarray, str | None]]) -> tuple[list[Member], Tensor]:
        """Sequences that begin with these ids (n,), each under an adapter; equal ones are stored once. Reads (n, d)."""
        new: dict[tuple[str | None, bytes], Prompt] = {}
        members = []
        for ids, adapter in wanted:
            prompt = Prompt(ids, adapter)
            prompt = self.prompts.get(prompt.key) or new.setdefault(prompt.key, prompt)
            members.append(Member(prompt))
            prompt.readers.append(members[-1])
        for group in _streams(list(new.values())):
            self._compute(group)
        self.prompts |= new
        self._layout = None
        tails = self.tails.setdefault(FIRST_TAIL, Block(FIRST_TAIL, wide=True))
        for member in members:
            assert member.prompt.piece is not None
            tails.allocate(member.prompt.piece.block.layers)
            member.tail = tails.add(0, member)
        return members, torch.stack([m.prompt.read for m in members])  # type: ignore[misc]

    def leave(self, member: Member, keep: bool = True) -> None:
        """Give up its room. `keep`: what it read and drew may serve a later prompt that begins alike."""
        prompt, tail = member.prompt, member.tail
        assert prompt.piece is not None and tail is not None
        prompt.readers.remove(member)
        if not prompt.readers:
            if keep and self.kept.budget:
                layers = copied(prompt.piece.read(len(prompt.ids)), tail.read(tail.length))
                self.kept.put(prompt.adapter, np.concatenate([prompt.ids, np.array(tail.drawn, dtype=np.int64)]), layers)
            prompt.piece.remove()
            del self.prompts[prompt.key]
        tail.remove()
        self.blocks = {key: block for key, block in self.blocks.items() if len(block)}
        self.tails = {key: block for key, block in self.tails.items() if len(block)}
        self._layout = None

    def step(self) -> tuple[list[Member], Tensor]:
        """Compute everybody's newest token. Reads (B, d) in the order of the members."""
        self._make_room()
        layout = self._layout = self._layout or self._lay_out()
        members, device = layout.members, self.root.device
        positions = [m.position for m in members]
        ids = torch.zeros(1, filled(len(members)), dtype=torch.long)
        where = torch.zeros_like(ids)
        ids[0, : len(members)] = torch.tensor([m.newest for m in members])
        where[0, : len(members)] = torch.tensor(positions)
        where = where.to(device)
        stored = [m.stored for m in members]
        at = torch.tensor(stored, device=device)
        tails = []
        for block, start, first, rows in layout.tails:
            here = stored[start : start + len(rows)]
            used = block.capacity if self._exact else min(block.capacity, filled(max(here) + 1))
            alike = here[0] if len(set(here)) == 1 else None
            tails.append(Tails(block, start, first, at[start : start + len(rows)], rows, alike, used))
        prompts = [Shared(block, readers, lengths, where[0, readers]) for block, readers, lengths in layout.prompts]
        read = self.root.draw(ids.to(device), where, layout.routing, Decoding(tails, prompts, layout.place, len(members)))
        for member in members:
            assert member.tail is not None
            member.tail.length += 1
            member.tail.drawn.append(member.newest)
        return members, read[: len(members)]

    def _make_room(self) -> None:
        """Tails that are full move to a block of twice the room; a block of which all are full is made longer where it lies."""
        for capacity in sorted(self.tails, reverse=True):
            block = self.tails[capacity]
            full = [piece for piece in block.pieces if piece.length == capacity]
            if not full:
                continue
            self._layout = None
            larger = self.tails.get(2 * capacity)
            if larger is None and len(full) == len(block):
                block.lengthen(2 * capacity)
                self.tails[2 * capacity] = self.tails.pop(capacity)
                continue
            larger = self.tails.setdefault(2 * capacity, Block(2 * capacity, wide=True))
            moved = [larger.add(piece.length, piece.owner) for piece in full]
            for piece, to in zip(full, moved, strict=True):
                to.write(piece.read(capacity), 0)
                to.drawn = piece.drawn
                piece.owner.tail = to
                piece.remove()
            if not len(block):
                del self.tails[capacity]

    def _lay_out(self) -> _Layout:
        device = self.root.device
        members: list[Member] = []
        tails = []
        for block in self.tails.values():
            first = [len(piece.owner.prompt.ids) for piece in block.pieces]
            tails.append((block, len(members), torch.tensor(first, device=device), torch.arange(len(block), device=device)))
            members += [piece.owner for piece in block.pieces]
        index = {id(m): i for i, m in enumerate(members)}
        place = [0] * len(members)
        prompts, offset = [], 0
        for block in self.blocks.values():
            most = max(self._least_readers, *(len(piece.owner.readers) for piece in block.pieces))
            readers: list[list[int]] = []
            for piece in block.pieces:
                found = [index[id(m)] for m in piece.owner.readers]
                for j, i in enumerate(found):
                    place[i] = offset + len(readers) * most + j
                readers.append(found + found[:1] * (most - len(found)))
            offset += len(readers) * most
            lengths = torch.tensor([piece.length for piece in block.pieces], device=device)
            prompts.append((block, torch.tensor(readers, device=device), lengths))
        in_order = place == list(range(len(members)))
        routing = routing_of([(m.prompt.adapter, 1) for m in members], filled(len(members)), device)
        return _Layout(members, tails, prompts, None if in_order else torch.tensor(place, device=device), routing)

    def _compute(self, prompts: Sequence[Prompt]) -> None:
        """One forward of new prompts, whose keys and values are then stored."""
        known = [self.kept.find(p.adapter, p.ids) for p in prompts]
        starts = [0 if layers is None else layers[0][0].shape[1] for layers in known]
        lengths = [len(p.ids) - start for p, start in zip(prompts, starts, strict=True)]
        total = filled(sum(lengths))
        ids, where = torch.zeros(1, total, dtype=torch.long), torch.zeros(1, total, dtype=torch.long)
        segments, begin = [], 0
        for prompt, start, length in zip(prompts, starts, lengths, strict=True):
            ids[0, begin : begin + length] = torch.from_numpy(prompt.ids[start:])
            where[0, begin : begin + length] = torch.arange(start, start + length)
            segments.append(Segment(begin, length))
            begin += length
        device = self.root.device
        reading = Prompts(segments, known)
        last = torch.tensor([s.start + s.length - 1 for s in segments], device=device)
        routing = routing_of([(p.adapter, n) for p, n in zip(prompts, lengths, strict=True)], total, device)
        read = self.root.draw(ids.to(device), where.to(device), routing, reading, last)
        for prompt in prompts:
            key = room(len(prompt.ids)), _readers(len(prompt.readers))
            prompt.piece = self.blocks.setdefault(key, Block(key[0], wide=key[1] == 1)).add(len(prompt.ids), prompt)
        for prompt, segment, before, row in zip(prompts, segments, known, read, strict=True):
            assert prompt.piece is not None
            prompt.read = row
            prompt.piece.block.allocate(reading.layers)
            if before is not None:
                prompt.piece.write(before, 0)
            inside = slice(segment.start, segment.start + segment.length)
            prompt.piece.write([(k[0, :, inside], v[0, :, inside]) for k, v in reading.layers], len(prompt.ids) - segment.length)


def _streams(prompts: Sequence[Prompt]) -> Iterable[list[Prompt]]:
    """Groups of at most `STREAM` tokens, or of one."""
    group: list[Prompt] = []
    total = 0
    for prompt in prompts:
        if group and total + len(prompt.ids) > STREAM:
            yield group
            group, total = [], 0
        group.append(prompt)
        total += len(prompt.ids)
    if group:
        yield group


def filled(rows: int) -> int:
    """`rows` and filling."""
    return -(-rows // ROWS) * ROWS


def _readers(number: int) -> int:
    """The class of a prompt by how many read it."""
    most = 1
    while most < number:
        most *= READERS
    return most


def routing_of(adapters: Sequence[tuple[str | None, int]], total: int, device: torch.device) -> Routing:
    """Which adapter computes which rows: (adapter, number of rows) one after the other, then filling up to `total`."""
    names = {name for name, _ in adapters}
    if len(names) == 1:
        return Routing(names.pop())
    rows: dict[str, list[Tensor]] = defaultdict(list)
    begin = 0
    for name, number in adapters:
        if name is not None:
            rows[name].append(torch.arange(begin, begin + number, device=device))
        begin += number
    return Routing(None, tuple((name, torch.cat(parts)) for name, parts in rows.items()), total)
