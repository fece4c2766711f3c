"""`LoraLayer`: a frozen linear layer with any number of named low-rank products beside it."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from luthier.adapters.routing import Routing, current

MOST_ROWS = 16
"""Of one adapter in a forward whose adapters are multiplied together: with more, products by themselves cost no more."""

STACKED_BYTES = 4 * 2**20
"""Of one layer's adapters, laid side by side; more are multiplied one after the other, without a copy."""


@dataclass(frozen=True)
class LowRank:
    """Shape of one product: y += scaling · (dropout(x) Aᵀ) Bᵀ with A (rank, in), B (out, rank)."""

    rank: int
    scaling: float
    dropout: float = 0.0


class _Product(torch.autograd.Function):
    """y + s (x Aᵀ) Bᵀ without the copies and graph nodes that the composed form makes. x (n, in) → (n, out).

    Not a view of what it computes: a model may add to it in place.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float) -> Tensor:
        low = rows @ a.T
        y = torch.nn.functional.linear(rows, weight, bias)
        y.addmm_(low, b.T, alpha=scaling)
        ctx.save_for_backward(rows, weight, a, b, low)
        ctx.scaling = scaling
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, a, b, low = ctx.saved_tensors
        d_low = dy @ b
        d_low *= ctx.scaling
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dy @ weight
            dx.addmm_(d_low, a)
        d_a = d_low.T @ rows if ctx.needs_input_grad[3] else None
        d_b = (dy.T @ low).mul_(ctx.scaling) if ctx.needs_input_grad[4] else None
        return dx, None, None, d_a, d_b, None


class LoraLayer(nn.Module):
    """A frozen linear layer with any number of named low-rank products; the routing says which of them computes which positions."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_A = nn.ParameterDict()
        self.lora_B = nn.ParameterDict()
        self.shapes: dict[str, LowRank] = {}
        self._stacked: tuple[Routing, Tensor, Tensor] | None = None

    def add(self, name: str, shape: LowRank, generator: torch.Generator) -> None:
        """A ~ U(±1/√in) as in the paper's code, B = 0: at first the adapter changes nothing."""
        weight = self.weight
        num_out, num_in = weight.shape
        a = torch.empty(shape.rank, num_in).uniform_(-1, 1, generator=generator) / math.sqrt(num_in)
        self.lora_A[name] = nn.Parameter(a.to(weight.device, weight.dtype))
        self.lora_B[name] = nn.Parameter(torch.zeros(num_out, shape.rank, device=weight.device, dtype=weight.dtype))
        self.shapes[name] = shape

    def take_off(self, name: str) -> None:
        """The product is gone, and its memory free."""
        del self.lora_A[name], self.lora_B[name], self.shapes[name]
        self._stacked = None

    @property
    def weight(self) -> Tensor:
        """(out, in), also for GPT-2's transposed `Conv1D`."""
        weight = self.base_layer.weight
        assert isinstance(weight, Tensor)
        return weight if isinstance(self.base_layer, nn.Linear) else weight.T

    @property
    def bias(self) -> Tensor | None:
        """The base layer's; some models read it off the layer."""
        bias = self.base_layer.bias
        assert bias is None or isinstance(bias, Tensor)
        return bias

    def delta(self, name: str) -> Tensor:
        """s B A in fp32, (out, in)."""
        product: Tensor = self.lora_B[name].float() @ self.lora_A[name].float()
        return product * self.shapes[name].scaling

    def forward(self, x: Tensor) -> Tensor:
        routing = current()
        if routing.whole is not None and routing.whole in self.lora_A:
            return self._with(x, routing.whole)
        y: Tensor = self.base_layer(x)
        if not torch.is_grad_enabled() and self._fits_together(routing):
            return self._together(x, y, routing)
        for name, positions in routing.parts:
            if name in self.lora_A:
                y = self._at(positions, x, y, name, routing.num_positions)
        return y

    def _at(self, positions: Tensor, x: Tensor, y: Tensor, name: str, num_positions: int) -> Tensor:
        """`y` with the product of `name` added at some positions. Mixtures of experts flatten x, so positions are counted in rows."""
        rows = x.reshape(-1, x.shape[-1])
        if rows.shape[0] != num_positions:
            raise TypeError(
                f"a layer computes {rows.shape[0]} rows of a stream of {num_positions}: it can't have an adapter for each segment"
            )
        product = self._product(rows.index_select(0, positions), name)
        return y.reshape(-1, y.shape[-1]).index_add(0, positions, product).view(y.shape)

    def _fits_together(self, routing: Routing) -> bool:
        """Whether the products of all adapters of a forward that draws are two batched ones: few rows each, one rank, small enough."""
        if len(routing.parts) < 2 or any(name not in self.shapes or len(rows) > MOST_ROWS for name, rows in routing.parts):
            return False
        ranks = {self.shapes[name].rank for name, _ in routing.parts}
        weight = self.weight
        return len(ranks) == 1 and len(routing.parts) * max(ranks) * sum(weight.shape) * weight.itemsize <= STACKED_BYTES

    def _together(self, x: Tensor, y: Tensor, routing: Routing) -> Tensor:
        """`y` with the product of each part's adapter added at its rows. The stack is kept as long as the same rows are drawn."""
        if self._stacked is None or self._stacked[0] is not routing:
            names = [name for name, _ in routing.parts]
            a = torch.stack([self.lora_A[name].T for name in names])  # (k, in, r)
            b = torch.stack([self.lora_B[name].T * self.shapes[name].scaling for name in names])  # (k, r, out)
            self._stacked = routing, a, b
        _, a, b = self._stacked
        rows, out = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
        if rows.shape[0] != routing.num_positions:
            raise TypeError(f"a layer computes {rows.shape[0]} rows of {routing.num_positions}: it can't have an adapter for each of them")
        index, real = routing.padded
        low = torch.bmm(rows.index_select(0, index.view(-1)).view(*index.shape, -1), a)  # (k, m, r)
        if real is not None:
            low *= real
        return out.index_add(0, index.view(-1), torch.bmm(low, b).flatten(0, 1)).view(y.shape)

    def _with(self, x: Tensor, name: str) -> Tensor:
        if self.training and self.shapes[name].dropout:
            y: Tensor = self.base_layer(x)
            return y + self._product(x, name)
        rows = x.reshape(-1, x.shape[-1])
        if not torch.is_grad_enabled() and isinstance(self.base_layer, nn.Linear):  # which may be laid out for drawing
            low = rows @ self.lora_A[name].T
            y = self.base_layer(rows).addmm_(low, self.lora_B[name].T, alpha=self.shapes[name].scaling)
            return y.view(*x.shape[:-1], -1)
        apply: Any = _Product.apply
        result: Tensor = apply(rows, self.weight, self.bias, self.lora_A[name], self.lora_B[name], self.shapes[name].scaling)
        return result.view(*x.shape[:-1], -1)

    def _product(self, x: Tensor, name: str) -> Tensor:
        shape = self.shapes[name]
        if self.training and shape.dropout:
            x = nn.functional.dropout(x, shape.dropout)
        return nn.functional.linear(nn.functional.linear(x, self.lora_A[name]), self.lora_B[name] * shape.scaling)


def is_linear(module: nn.Module) -> bool:
    """`nn.Linear`, or GPT-2's transposed `Conv1D`; not what only derives from it, such as Llama 4's router, which returns a pair."""
    return (isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward) or is_transposed(module)


def is_transposed(module: nn.Module) -> bool:
    """A linear layer whose weight is (in, out)."""
    weight = getattr(module, "weight", None)
    return type(module).__name__ == "Conv1D" and isinstance(weight, Tensor) and weight.ndim == 2


def layers(model: nn.Module, name: str | None = None) -> dict[str, LoraLayer]:
    """Path → adapted layer; only those that hold the adapter `name` if one is given."""
    found = {path: m for path, m in model.named_modules() if isinstance(m, LoraLayer)}
    return {path: layer for path, layer in found.items() if name is None or name in layer.shapes}
