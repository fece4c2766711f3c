"""What a computation holds in memory, counted while it runs on shapes alone.

Tensors on the device `meta` have shapes and no values. `Ledger` watches them come and go, in the model's own code, in autograd, in
whatever a method or the engine does, so that no formula has to know an architecture.
"""

import weakref
from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence as Seq
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

APART_BYTES = 32 * 2**20
"""From this size on glibc takes each tensor from the system by itself and gives it back when it is freed (`DEFAULT_MMAP_THRESHOLD_MAX`).
Smaller ones lie in its heap, which stays as large as it was when most of them were there, until it is trimmed."""

KEPT = "scattered"
"""The part of the heap that holds nothing at the moment."""


@dataclass(frozen=True)
class Held:
    """Bytes at the moment when most was held, by part. `apart`: those of them in tensors of `APART_BYTES` or more."""

    parts: dict[str, float]
    apart: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def grown(self, by: Seq[tuple["Held", float]]) -> "Held":
        """Along a line in each direction: for every (another, times) so many times what another holds more than this."""
        return Held(_grown(self.parts, [(h.parts, times) for h, times in by]), _grown(self.apart, [(h.apart, times) for h, times in by]))


def _grown(sizes: dict[str, float], by: Seq[tuple[dict[str, float], float]]) -> dict[str, float]:
    names = [*sizes, *(name for more, _ in by for name in more)]
    return {n: sizes.get(n, 0.0) + sum(times * (more.get(n, 0.0) - sizes.get(n, 0.0)) for more, times in by) for n in names}


class _Piece(NamedTuple):
    size: int
    part: str
    beside: bool
    reference: "weakref.ref[Any]"


class Ledger(TorchDispatchMode):
    """Counts the bytes of every tensor that is made while it is entered, until it is gone.

    Each belongs to the part that is being `filled`, logits (whatever is as wide as the vocabulary) to their own. `acts` holds the most
    that was held in each act of the computation. What only values could tell is answered by 1.
    """

    def __init__(self, vocabulary: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.vocabulary = vocabulary
        self.part = "activations"
        self.acts: dict[str, Held] = {}
        self._act = ""
        self._most, self._risen = 0, False
        self._heap, self._in_heap, self._beside = 0, 0, 0
        self._held: Counter[str] = Counter()
        self._apart: Counter[str] = Counter()
        self._live: dict[int, _Piece] = {}
        self._fused: Any = _FusedAttention()

    def __enter__(self) -> Self:
        self._fused.__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        self._fused.__exit__(*raised)

    @contextmanager
    def filling(self, part: str) -> Iterator[None]:
        """What is made now belongs to `part`."""
        before, self.part = self.part, part
        try:
            yield
        finally:
            self.part = before

    def enter_act(self, act: str) -> None:
        """From now on the most that is held is that of `act`, an earlier one of this name gone on with."""
        self._settle()
        self._act = act
        known = self.acts.get(act)
        self._most = 0 if known is None else int(known.total)
        self._rise()
        self._settle()

    def assign(self, tensor: Tensor | None, part: str) -> None:
        """Let `tensor` belong to `part`."""
        if tensor is None:
            return
        key = tensor.untyped_storage()._cdata
        if key in self._live:
            piece = self._live[key]
            self._count(piece.part, -piece.size, piece.beside)
            self._count(part, piece.size, piece.beside)
            self._live[key] = piece._replace(part=part)

    def trim(self) -> None:
        """Freed pieces of the heap go back to the system."""
        self._settle()
        self._heap = self._in_heap

    def finish(self) -> None:
        """After the last act."""
        self._settle()

    def _rise(self) -> None:
        self._heap = max(self._heap, self._in_heap)
        if self._heap + self._beside > self._most:
            self._most, self._risen = self._heap + self._beside, True

    def _settle(self) -> None:
        """Write the parts down, now that a new most is about to fall."""
        if self._risen:
            held, apart = ({name: float(size) for name, size in sizes.items() if size} for sizes in (self._held, self._apart))
            if self._heap > self._in_heap:
                held[KEPT] = float(self._heap - self._in_heap)
            self.acts[self._act] = Held(held, apart)
            self._risen = False

    def add(self, tensor: Tensor, beside: bool = False) -> None:
        """Count `tensor`, unless it or another view of the same storage is counted already. `beside`: it never lies in the heap."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._live:
            return
        size = storage.nbytes()
        part = self.part
        if self.vocabulary and tensor.ndim > 1 and tensor.shape[-1] == self.vocabulary:
            part = "logits"
        beside = beside or size >= APART_BYTES
        self._live[key] = _Piece(size, part, beside, weakref.ref(storage, lambda _: self._gone(key)))
        self._count(part, size, beside)
        self._rise()

    def _gone(self, key: int) -> None:
        self._settle()
        piece = self._live.pop(key)
        self._count(piece.part, -piece.size, piece.beside)

    def _count(self, part: str, size: int, beside: bool) -> None:
        self._held[part] += size
        if beside:
            self._apart[part] += size
            self._beside += size
        else:
            self._in_heap += size

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = _without_values(func, args, kwargs or {})
        if result is None:
            result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.add(tensor)
        return result


def _without_values(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An answer where a tensor of shapes alone has none; None where it has."""
    of_meta = bool(args) and isinstance(args[0], Tensor) and args[0].is_meta
    if not of_meta:
        return None
    if func is torch.ops.aten._local_scalar_dense.default:
        return 1.0 if args[0].is_floating_point() else 1
    if func is torch.ops.aten._grouped_mm.default:
        return _by_experts(args[0], args[1], args[2] if len(args) > 2 else kwargs.get("offs"))
    if func is torch.ops.aten.bincount.default:
        return torch.empty(max(1, kwargs.get("minlength") or (args[2] if len(args) > 2 else 0)), dtype=torch.long, device="meta")
    if func is torch.ops.aten._to_copy.default and kwargs.get("device") not in (None, torch.device("meta")):
        return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=kwargs["device"])
    return None


def _by_experts(a: Tensor, b: Tensor, ends: Tensor | None) -> Tensor:
    """A product for each expert, which `meta` knows in one type alone: (T, K) (E, K, N) → (T, N); (K, T) (T, N) → (E, K, N)."""
    if a.ndim == b.ndim == 2:
        assert ends is not None
        return a.new_empty(ends.shape[0], a.shape[0], b.shape[1])
    return a.new_empty(*a.shape[:-1][-1 if b.ndim == 2 else 0 :], b.shape[-1])


class _FusedAttention(TorchFunctionMode):
    """Attention on shapes alone as devices compute it, without a matrix of scores. `meta` itself would make several of them."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **more: Any) -> Tensor:
    """Fused under torch's own conditions: no dropout, and heads of one width."""
    if query.is_meta and not dropout_p and query.shape[-1] == key.shape[-1] == value.shape[-1]:
        apply: Any = _Fused.apply
        result: Tensor = apply(query, key, value, attn_mask)
        return result
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, **more)


class _Fused(torch.autograd.Function):
    """What a fused kernel makes and keeps: (B, H, T, D) queries → the same, and log-normalizers (B, H, T); a mask as numbers."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        batch, heads, length, width = query.shape
        out = query.new_empty(batch, length, heads, width).transpose(1, 2)
        normalizers = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
        numbers = mask.to(query.dtype) if mask is not None and mask.dtype == torch.bool else mask
        ctx.save_for_backward(query, key, value, out, normalizers, numbers)
        return out

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors[:3]
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None
