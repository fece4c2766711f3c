"""Attention where tokens are drawn: prompts as segments of a stream, then one query a sequence over what is stored.

What a sequence reads lies in two places, the prompt and what it drew itself. Attention over the prompt gives O_p and its log-normalizer
L_p = log Σ_j e^(s_j) (Dao et al., 2022, arXiv:2205.14135, section 3.1), and all of the prompt is then one more key of what was drawn:
  O = Σ_i p_i v_i + p_p O_p with (p, p_p) = softmax(s, L_p)
A sink is one more score, and reads nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from luthier.batches.streams import Segment
from luthier.models.attention import ModelMask, model_mask
from luthier.models.kernels import FUSED_ON, attend
from luthier.models.kv_cache import Block, Layers

NAME = "luthier_drawing"

HIDDEN = -1e30
"""The score of a key that is not to be seen: finite, so that a place of which nothing is seen weighs nothing and is no NaN."""


@dataclass(frozen=True)
class Options:
    """How a layer wants its attention: `sinks` (H,) or None."""

    scaling: float
    softcap: float | None
    sinks: Tensor | None


class Reading(Protocol):
    """What one forward reads: query (1, H, T, D), key, value (1, H_kv, T, D or D_v) → (1, T, H, D_v)."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: ModelMask, options: Options) -> Tensor: ...


@dataclass(eq=False)
class Prompts:
    """The forward of prompts: `segments` of a stream, each after the tokens `before` it that are stored already; the rest is filling.

    `layers` collects every layer's keys and values of the stream.
    """

    segments: Sequence[Segment]
    before: Sequence[Layers | None]
    layers: Layers = field(default_factory=list)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: ModelMask, options: Options) -> Tensor:
        number = len(self.layers)
        self.layers.append((key, value))
        out = query.new_zeros(1, query.shape[2], query.shape[1], value.shape[-1])
        for segment, before in zip(self.segments, self.before, strict=True):
            inside = slice(segment.start, segment.start + segment.length)
            q, k, v = query[0, :, inside], key[0, :, inside], value[0, :, inside]
            num_before = 0
            if before is not None:
                num_before = before[number][0].shape[1]
                k, v = (torch.cat([known.to(x.dtype), x], 1) for known, x in zip(before[number], (k, v), strict=True))
            visible = mask.local(num_before, segment.length, query.device)
            out[0, inside] = attend(q, k, v, visible, options.sinks, options.scaling, options.softcap).transpose(0, 1)
        return out


@dataclass(eq=False)
class Tails:
    """A block of drawn tokens: of the sequences `start`… of the batch, in order. `first` (N,): position of each one's first drawn token.

    `at` (N,): where the newest goes.
    """

    block: Block
    start: int
    first: Tensor
    at: Tensor
    rows: Tensor
    alike: int | None
    """Where the newest goes, if that is the same for all."""
    used: int
    """Keys and values before this one hold all that is to be seen."""

    def bias(self, mask: ModelMask, dtype: torch.dtype, heads: int, group: int) -> Tensor:
        """(N H_kv, G, used), the same for each of H_kv and G: a product is added to it."""
        inside = torch.arange(self.used, device=self.at.device)
        seen = _seen(mask, (self.first + self.at)[:, None], self.first[:, None] + inside) & (inside <= self.at[:, None])
        return _as_bias(seen, dtype)[:, None, None].expand(-1, heads, group, -1).flatten(0, 1)

    def write(self, number: int, k: Tensor, v: Tensor) -> None:
        """Store the newest keys and values, (B, H_kv, D or D_v) of all sequences."""
        for stored, new in zip(self.block.layers[number], (k, v), strict=True):
            new = new[self.start : self.start + self.rows.shape[0]]
            if self.alike is None:
                stored[self.rows, :, self.at] = new.to(stored.dtype)
            else:  # a plain copy, which takes a tenth of the time
                stored[: self.rows.shape[0], :, self.alike] = new

    def attend(self, number: int, q: Tensor, bias: Tensor, given: tuple[Tensor, Tensor], options: Options) -> Tensor:
        """q (B, H_kv, G, D) of all sequences and what the prompts gave them, O (B, H_kv, G, D_v) and L (B, H_kv, G) → O of these."""
        inside = slice(self.start, self.start + self.rows.shape[0])
        k, v = (x[: self.rows.shape[0], :, : self.used].flatten(0, 1) for x in self.block.layers[number])
        o, normalizer = (x[inside].flatten(0, 1) for x in given)
        columns = [_scores(q[inside].flatten(0, 1), k, bias, options), normalizer[..., None]]
        if options.sinks is not None:
            columns.append(options.sinks.to(q.dtype).view(q.shape[1:3]).repeat(self.rows.shape[0], 1)[..., None])
        p = torch.cat(columns, -1).softmax(-1)
        together = (o * p[..., self.used, None]).baddbmm_(p[..., : self.used], v)
        return together.view(self.rows.shape[0], *q.shape[1:3], -1)


@dataclass(eq=False)
class Shared:
    """A block of prompts. `readers` (N, R): the sequences of the batch that read each, filled up with any; `lengths` (N,)."""

    block: Block
    readers: Tensor
    lengths: Tensor
    positions: Tensor
    """(N, R): of the readers' newest tokens."""

    def bias(self, mask: ModelMask, dtype: torch.dtype, group: int) -> Tensor:
        """(N, 1, R G, C)"""
        inside = torch.arange(self.block.capacity, device=self.lengths.device)
        seen = _seen(mask, self.positions[..., None], inside) & (inside < self.lengths[:, None, None])
        return _as_bias(seen, dtype).repeat_interleave(group, 1)[:, None]

    def rows(self, heads: int) -> Tensor:
        """(N H_kv R,): where the queries of each prompt and head lie among those of all sequences, (B H_kv, …)."""
        return (self.readers[:, None] * heads + torch.arange(heads, device=self.readers.device)[:, None]).flatten()

    def attend(self, number: int, q: Tensor, rows: Tensor, bias: Tensor, options: Options) -> tuple[Tensor, Tensor]:
        """q (B, H_kv, G, D) of all sequences → O (N R, H_kv, G, D_v) and L (N R, H_kv, G), in fp32."""
        keys, values = self.block.layers[number]
        (n, r), (_, heads, group, width) = self.readers.shape, q.shape
        read = q.view(-1, group * width).index_select(0, rows).view(n, heads, r * group, width)
        o, normalizer = prompt_attention(read, keys[:n], values[:n], bias, options)
        o = o.view(n, heads, r, group, -1).transpose(1, 2).to(normalizer.dtype)
        normalizer = normalizer.view(n, heads, r, group).transpose(1, 2)
        return o.reshape(n * r, heads, group, -1), normalizer.reshape(n * r, heads, group)


@dataclass(frozen=True, eq=False)
class _Views:
    """What the layers of one kind see in a forward: biases of tails and prompts, and which queries each block of prompts takes."""

    tails: list[Tensor]
    prompts: list[Tensor]
    rows: list[Tensor]


@dataclass(eq=False)
class Decoding:
    """The forward of one new token a sequence.

    `place` (B,): of each sequence among the readers of all prompts, blocks after each other; None where they are in that order.
    """

    tails: Sequence[Tails]
    prompts: Sequence[Shared]
    place: Tensor | None
    num_sequences: int
    number: int = 0
    views: dict[tuple[int, int, int], _Views] = field(default_factory=dict)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: ModelMask, options: Options) -> Tensor:
        """Rows of the batch beyond the last sequence are filling, and come out as zeros."""
        number, self.number = self.number, self.number + 1
        batch, heads_kv = self.num_sequences, key.shape[1]
        q = query[0].transpose(0, 1)[:batch].reshape(batch, heads_kv, -1, query.shape[-1]).contiguous()
        k, v = key[0].transpose(0, 1), value[0].transpose(0, 1)
        views = self._views(mask, q)
        for tails in self.tails:
            tails.write(number, k, v)
        read = zip(self.prompts, views.rows, views.prompts, strict=True)
        given = _joined([prompts.attend(number, q, rows, bias, options) for prompts, rows, bias in read])
        if self.place is not None:
            given = given[0].index_select(0, self.place), given[1].index_select(0, self.place)
        wide = q.to(given[0].dtype)
        parts = [t.attend(number, wide, b, given, options) for t, b in zip(self.tails, views.tails, strict=True)]
        o = (parts[0] if len(parts) == 1 else torch.cat(parts)).view(1, batch, query.shape[1], -1).to(query.dtype)
        return o if batch == query.shape[2] else nn.functional.pad(o, (0, 0, 0, 0, 0, query.shape[2] - batch))

    def _views(self, mask: ModelMask, q: Tensor) -> _Views:
        key = id(mask), q.shape[1], q.shape[2]  # one mask for each kind of layer, made anew for each forward
        if key not in self.views:
            wide = torch.promote_types(q.dtype, torch.float32)
            self.views[key] = _Views(
                [t.bias(mask, wide, q.shape[1], q.shape[2]) for t in self.tails],
                [p.bias(mask, q.dtype, q.shape[2]) for p in self.prompts],
                [p.rows(q.shape[1]) for p in self.prompts],
            )
        return self.views[key]


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if len(parts) == 1:
        return parts[0]
    return torch.cat([o for o, _ in parts]), torch.cat([normalizer for _, normalizer in parts])


def _seen(mask: ModelMask, queries: Tensor, keys: Tensor) -> Tensor:
    """What the model's mask function says of positions that broadcast against each other."""
    zero = torch.zeros((), dtype=torch.long, device=queries.device)
    return mask.function(zero, zero, queries, keys)


def _as_bias(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, HIDDEN)


def _scores(q: Tensor, k: Tensor, bias: Tensor, options: Options) -> Tensor:
    """cap(s Q Kᵀ) + bias, (N, M, C). q (N, M, D), k (N, C, D)."""
    if options.softcap is None:
        return torch.baddbmm(bias, q, k.transpose(1, 2), alpha=options.scaling)
    s = torch.bmm(q, k.transpose(1, 2)).mul_(options.scaling / options.softcap)
    return s.tanh_().mul_(options.softcap).add_(bias)


_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def prompt_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """O (N, H, M, D_v) and L (N, H, M), L in fp32. q (N, H, M, D), k, v (N, H, C, D or D_v), bias (N, 1, M, C).

    What is stored in fp32 is multiplied so: for one query a sequence the fused kernel is two to nine times as slow.
    """
    n, heads, rows, width = q.shape
    wide = torch.promote_types(q.dtype, torch.float32)
    if k.dtype != wide and options.softcap is None and q.device.type in FUSED_ON and width == v.shape[-1]:
        o, normalizer = _flash(q, k, v, 0.0, False, attn_mask=bias, scale=options.scaling)
        return o, normalizer
    q, k, v = q.reshape(n * heads, rows, width).to(wide), k.flatten(0, 1).to(wide), v.flatten(0, 1).to(wide)
    s = _scores(q, k, bias.to(wide).expand(-1, heads, -1, -1).flatten(0, 1), options)
    highest = s.amax(-1, keepdim=True)
    total = s.sub_(highest).exp_().sum(-1, keepdim=True)
    o = torch.bmm(s, v).div_(total)
    return o.view(n, heads, rows, -1), highest.add_(total.log_()).view(n, heads, rows)


def drawing_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: ModelMask,
    *,
    reading: Reading,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    position_ids: Tensor | None = None,
    use_cache: bool | None = None,
    is_causal: bool | None = None,
    **unknown: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in each layer. `sliding_window`, `position_ids`: not needed, the mask function knows both.

    Raises:
        TypeError: a keyword this function does not understand, unless it is None; the model then keeps its own cache.
    """
    strange = sorted(name for name, given in unknown.items() if given is not None)
    if strange or is_causal is False or not isinstance(attention_mask, ModelMask):
        raise TypeError(f"{type(module).__name__} passes attention arguments that are not understood here: {strange or 'its mask'}")
    options = Options(query.shape[-1] ** -0.5 if scaling is None else scaling, softcap, s_aux)
    return reading.attend(query, key, value, attention_mask, options), None


def register() -> None:
    """Make `NAME` known to transformers. Registering twice is harmless."""
    AttentionInterface.register(NAME, drawing_attention)
    AttentionMaskInterface.register(NAME, model_mask)
