"""The one attention function: causal inside each segment of a stream, over what the segment reads and itself.

Registered with transformers' `AttentionInterface`. Which keys a query may see beyond that (sliding windows, chunks) is the model's own
mask function, handed on as an object by the function registered with `AttentionMaskInterface` and applied to positions inside a segment.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from luthier.batches.streams import Segment
from luthier.models.kernels import SegmentAttention

NAME = "luthier_segments"

MaskFunction = Callable[[Any, Any, Tensor, Tensor], Tensor]


@dataclass(eq=False)
class ModelMask:
    """The model's mask function, and the masks it gave so far, by (tokens read, length)."""

    function: MaskFunction
    known: dict[tuple[int, int, torch.device], Tensor | None] = field(default_factory=dict)

    def __getitem__(self, index: tuple[slice, ...]) -> "ModelMask":
        """A model may slice its masks to the positions it goes on with; all of them is the only choice that leaves segments as they are."""
        if all(isinstance(part, slice) and part.start in (None, 0) and part.stop is None for part in index):
            return self
        raise TypeError("this model goes on with only some of a stream's positions")

    def local(self, num_read: int, length: int, device: torch.device) -> Tensor | None:
        """(length, num_read + length) bool, True where a query sees a key; None where that is plainly causal."""
        key = (num_read, length, device)
        if key not in self.known:
            self.known[key] = self._evaluate(num_read, length, device)
        return self.known[key]

    def _evaluate(self, num_read: int, length: int, device: torch.device) -> Tensor | None:
        place = torch.device("cpu") if device.type == "meta" else device  # of shapes alone there is nothing to compare
        zero = torch.zeros((), dtype=torch.long, device=place)
        q = torch.arange(num_read, num_read + length, device=place)[:, None]
        k = torch.arange(num_read + length, device=place)[None, :]
        mask = self.function(zero, zero, q, k).expand(length, num_read + length)
        return None if torch.equal(mask, k <= q) else mask.to(device)


def model_mask(mask_function: MaskFunction, **_: Any) -> ModelMask:
    """What transformers calls to make a mask: nothing is made yet."""
    return ModelMask(mask_function)


def segment_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: ModelMask,
    *,
    segments: tuple[Segment, ...],
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    sliding_window: int | None = None,
    position_ids: Tensor | None = None,
    use_cache: bool | None = None,
    is_causal: bool | None = None,
    **unknown: Any,
) -> tuple[Tensor, None]:
    """Attention of a stream.

    Args:
        query: (1, H, T, D). key, value: (1, H_kv, T, D or D_v), H a multiple of H_kv.
        s_aux: (H,) sink logits that take part in each softmax and read nothing (gpt-oss).
        sliding_window, position_ids: not needed: the mask function knows the window, and rotary embeddings are applied already.
    Returns:
        (1, T, H, D_v).
    Raises:
        TypeError: a keyword this function does not understand, unless it is None; the probe then chooses another tier.
    """
    strange = sorted(name for name, given in unknown.items() if given is not None)
    if strange or is_causal is False or not isinstance(attention_mask, ModelMask):
        raise TypeError(f"{type(module).__name__} passes attention arguments that segments do not understand: {strange or 'its mask'}")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    masks = tuple(attention_mask.local(s.num_read, s.length, query.device) for s in segments)
    out: Tensor = SegmentAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, s_aux, segments, masks, scaling, softcap, dropout
    )
    return out, None


def register() -> None:
    """Make `NAME` known to transformers. Registering twice is harmless."""
    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, model_mask)
