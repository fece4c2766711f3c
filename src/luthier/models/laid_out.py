"""Weights laid out beforehand for products of few rows, as long as tokens are drawn: a second copy of a CPU's bf16 matrices.

For a product in bf16 oneDNN wants a matrix in pairs of rows, and lays it out anew each time. Where thousands of rows share that, as in
training, it costs nothing; with 16 to 64 of them, as many as sequences drawn at once, it is a third of the product (docs/why/012).

Adapters are products of their own and stay as they are. In fp32 nothing is laid out: there the same tokens in a crowd are to have the
same bits as alone, and the gain is small.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from luthier.adapters.low_rank import is_linear, is_transposed
from luthier.models.device import total_bytes

SHARE = 1 / 8
"""Of the machine's memory that the copy may take; a larger base is multiplied as it is. Of all memory, not of what is free now: the same
seed would draw other tokens on a busy day."""

STEPS = 64
"""Tokens that must be wanted of an answer: laying out costs as much as it saves in twenty to thirty of them."""

AFTER = 16
"""Tokens that are drawn before: where all answers are short, nothing is laid out."""


class LaidOut:
    """The copy of a model's matrices; of none where they are too large for it."""

    def __init__(self, model: nn.Module) -> None:
        layers = _matrices(model)
        if sum(layer.weight.nbytes for layer in layers) > SHARE * total_bytes():
            layers = []
        self._forwards: dict[nn.Module, Callable[[Tensor], Tensor]] = {layer: _laid_out(layer) for layer in layers}

    @property
    def num_layers(self) -> int:
        return len(self._forwards)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let the layers multiply with it for a while. Without gradients."""
        for layer, forward in self._forwards.items():
            layer.__dict__["forward"] = forward  # as `layer.forward = …` does, which takes a microsecond
        try:
            yield
        finally:
            for layer in self._forwards:
                layer.__dict__.pop("forward", None)


def _matrices(model: nn.Module) -> list[Any]:
    """Linear layers in bf16 on the CPU, the head among them, those within adapters too; none where oneDNN does not multiply bf16."""
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return []
    found = [m for m in model.modules() if is_linear(m) and not is_transposed(m) and "forward" not in m.__dict__]
    return [m for m in found if m.weight.dtype == torch.bfloat16 and m.weight.device.type == "cpu"]


def _laid_out(layer: Any) -> Callable[[Tensor], Tensor]:
    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)
    bias, multiply = layer.bias, torch.ops.mkldnn._linear_pointwise.default
    return lambda x: multiply(x, weight, bias, "none", [], "")
