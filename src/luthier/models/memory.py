"""What a computation holds in memory, counted while it runs on shapes alone.

Tensors on the device `meta` have shapes and no values. `Ledger` watches them come and go, in the model's own code, in autograd, in
whatever a method or the engine does, so that no formula has to know an architecture.
"""

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

FLASH = 1
"""torch's number of its fused attention, which a CPU takes and `meta` would not."""


@dataclass(frozen=True)
class Held:
    """Bytes at the moment when most was held, by part."""

    parts: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def along(self, other: "Held", share: float) -> "Held":
        """On the line from here (0) through `other` (1), at `share`."""
        names = {**self.parts, **other.parts}
        return Held({n: (1 - share) * self.parts.get(n, 0.0) + share * other.parts.get(n, 0.0) for n in names})


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
        self._now, self._most, self._risen = 0, 0, False
        self._held: Counter[str] = Counter()
        self._live: dict[int, tuple[int, str, weakref.ref[Any]]] = {}

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
            size, before, reference = self._live[key]
            self._held[before] -= size
            self._held[part] += size
            self._live[key] = size, part, reference

    def finish(self) -> None:
        """After the last act."""
        self._settle()

    def _rise(self) -> None:
        if self._now > self._most:
            self._most, self._risen = self._now, True

    def _settle(self) -> None:
        """Write the parts down, now that a new most is about to fall."""
        if self._risen:
            self.acts[self._act] = Held({name: float(size) for name, size in self._held.items() if size})
            self._risen = False

    def add(self, tensor: Tensor) -> None:
        """Count `tensor`, unless it or another view of the same storage is counted already."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._live:
            return
        size = storage.nbytes()
        part = self.part
        if self.vocabulary and tensor.ndim > 1 and tensor.shape[-1] == self.vocabulary:
            part = "logits"
        self._live[key] = size, part, weakref.ref(storage, lambda _: self._gone(key))
        self._held[part] += size
        self._now += size
        self._rise()

    def _gone(self, key: int) -> None:
        self._settle()
        size, part, _ = self._live.pop(key)
        self._held[part] -= size
        self._now -= size

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
    if func is torch.ops.aten._fused_sdp_choice.default:
        return FLASH
    if func is torch.ops.aten._to_copy.default and kwargs.get("device") not in (None, torch.device("meta")):
        return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=kwargs["device"])
    return None
