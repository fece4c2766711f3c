"""Sequences with the model's own cache, for models whose rows cannot share a stream: those of one length are the rows of one batch.

Nothing is padded. Answers to one prompt stay equally long while they are drawn, and others happen to be.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier.adapters.routing import routed
from luthier.models.crowd import QUERIES, routing_of
from luthier.models.forward import Root, attention_of


@dataclass(eq=False)
class _Batch:
    """Equally long sequences: row i of `num_rows` of the cache is of `members[i]`; what is beyond them is filling."""

    members: list["Loner"]
    cache: Any
    num_rows: int = 1


@dataclass(eq=False)
class Loner:
    """A sequence. `ids`: what it consists of so far; `newest`: the token that is not in the cache yet."""

    ids: list[int]
    adapter: str | None
    batch: _Batch
    newest: int = -1


class OwnCaches:
    """Results are logits (n, V) in fp32, in the order of the sequences that are asked for."""

    def __init__(self, root: Root) -> None:
        self.root = root

    def join(self, wanted: Sequence[tuple[np.ndarray, str | None]]) -> tuple[list[Loner], Tensor]:
        """Sequences that begin with these ids (n,); equal ones are computed once. Logits (len(wanted), V)."""
        known: dict[tuple[str | None, bytes], tuple[Any, Tensor]] = {}
        members, logits = [], []
        for ids, adapter in wanted:
            key = adapter, ids.tobytes()
            if key not in known:
                known[key] = self._forward([ids.tolist()], [adapter], None)
            cache, rows = known[key]
            members.append(_alone(ids.tolist(), adapter, copy.deepcopy(cache)))
            logits.append(rows[0])
        return members, torch.stack(logits)

    def step(self, members: Sequence[Loner]) -> Tensor:
        """Logits (len(members), V) after everybody's newest token. Who is not among the members any more has left."""
        alike: dict[int, list[int]] = {}
        for number, member in enumerate(members):
            member.ids.append(member.newest)
            alike.setdefault(len(member.ids) if self.root.packing.draws else -number, []).append(number)
        rows: list[Tensor] = [torch.empty(0)] * len(members)
        for numbers in alike.values():
            for number, row in zip(numbers, self._advance([members[i] for i in numbers]), strict=True):
                rows[number] = row
        return torch.stack(rows)

    def _advance(self, members: list[Loner]) -> list[Tensor]:
        """Logits (V,) of each of these, which are equally long."""
        side, length = self.root.packing.side, len(members[0].ids)
        if side(length) != side(length - 1):  # positions are computed another way from here on, those of the earlier tokens too
            rows = []
            for member in members:
                cache, logits = self._forward([member.ids], [member.adapter], None)
                member.batch = _Batch([member], cache)
                rows.append(logits[0])
            return rows
        batch = self._batch(members)
        padded = batch.members + batch.members[:1] * (batch.num_rows - len(members))
        batch.cache, logits = self._forward([[m.newest] for m in padded], [m.adapter for m in padded], batch.cache)
        of = {id(member): row for member, row in zip(batch.members, logits, strict=False)}
        return [of[id(member)] for member in members]

    def _batch(self, members: list[Loner]) -> _Batch:
        """One batch of these sequences and nobody else."""
        batches = list({id(m.batch): m.batch for m in members}.values())
        staying = {id(m) for m in members}
        num_rows = self._filled(len(members))
        if len(batches) == 1 and len(batches[0].members) == len(members) and batches[0].num_rows == num_rows:
            return batches[0]
        kept = [[i for i, m in enumerate(batch.members) if id(m) in staying] for batch in batches]
        parts = [(batch.cache, rows) for batch, rows in zip(batches, kept, strict=True)]
        parts[-1] = parts[-1][0], parts[-1][1] + parts[-1][1][:1] * (num_rows - len(members))
        joined = _Batch([batch.members[i] for batch, rows in zip(batches, kept, strict=True) for i in rows], _gathered(parts), num_rows)
        for member in joined.members:
            member.batch = joined
        return joined

    def _filled(self, rows: int) -> int:
        """In fp32 as many as make the last bits of a row the same whoever else is there."""
        exact = self.root.packing.draws and self.root.model.dtype == torch.float32
        return -(-rows // QUERIES) * QUERIES if exact else rows

    def _forward(self, ids: list[list[int]], adapters: Sequence[str | None], cache: Any) -> tuple[Any, Tensor]:
        root = self.root
        tokens = torch.tensor(ids, device=root.device)
        routing = routing_of([(adapter, tokens.shape[1]) for adapter in adapters], tokens.numel(), root.device)
        with routed(routing), attention_of(root.model, root.native_attention):
            out = root.model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.past_key_values, out.logits[:, -1].float()


def _alone(ids: list[int], adapter: str | None, cache: Any) -> Loner:
    batch = _Batch([], cache)
    batch.members.append(Loner(ids, adapter, batch))
    return batch.members[0]


def _gathered(parts: Sequence[tuple[Any, list[int]]]) -> Any:
    """One cache of these rows of several, which are used up."""
    for cache, rows in parts:
        cache.reorder_cache(torch.tensor(rows))
    first, *others = [cache for cache, _ in parts]
    for number, layer in enumerate(first.layers):
        for name, value in vars(layer).items():
            setattr(layer, name, _joined([value, *(vars(other.layers[number])[name] for other in others)]))
    return first


def _joined(values: Sequence[Any]) -> Any:
    """What layers of several caches keep, row after row; what is not kept by row is the same in all."""
    first = values[0]
    if isinstance(first, dict):
        return {key: _joined([value[key] for value in values]) for key in first}
    return torch.cat(list(values)) if isinstance(first, Tensor) and first.ndim else first
