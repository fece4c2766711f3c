"""Adapters of a forward that draws are multiplied together, and each row gets what its own adapter gives it alone."""

import pytest
import torch
from torch import nn

from luthier.adapters.low_rank import LoraLayer, LowRank
from luthier.adapters.routing import Routing, routed

WIDTH, OUT = 12, 7


@pytest.fixture
def layer() -> LoraLayer:
    generator = torch.Generator().manual_seed(0)
    made = LoraLayer(nn.Linear(WIDTH, OUT))
    for name, rank in (("a", 3), ("b", 3), ("c", 3), ("wide", 5)):
        made.add(name, LowRank(rank, 0.5), generator)
        made.lora_B[name].data.normal_(generator=generator)
    return made


def parts(**rows: list[int]) -> Routing:
    return Routing(None, tuple((name, torch.tensor(at)) for name, at in rows.items()), 6)


def alone(layer: LoraLayer, x: torch.Tensor, routing: Routing) -> torch.Tensor:
    """Row by row."""
    y = layer.base_layer(x)
    for name, rows in routing.parts:
        for row in rows.tolist():
            y[0, row] += layer.delta(name) @ x[0, row]
    return y


@pytest.mark.parametrize(
    "routing, together",
    [
        (parts(a=[0], b=[1], c=[2]), True),
        (parts(a=[0, 4, 5], b=[3], c=[2, 1]), True),
        (parts(a=[0], wide=[1]), False),
        (parts(a=[0, 1, 2, 3, 4, 5]), False),
    ],
)
@torch.no_grad()
def test_rows_get_their_own_adapter(layer: LoraLayer, routing: Routing, together: bool) -> None:
    """Filling points to row 0 and adds nothing to it; row 0 may be nobody's."""
    x = torch.randn(1, 6, WIDTH, generator=torch.Generator().manual_seed(1))
    for _ in range(2):  # the second time with what the first laid side by side
        with routed(routing):
            torch.testing.assert_close(layer(x), alone(layer, x, routing), rtol=1e-5, atol=1e-6)
    assert (layer._stacked is not None) == together


@torch.no_grad()
def test_another_crowd_is_another_stack_and_what_leaves_is_gone(layer: LoraLayer) -> None:
    x = torch.randn(1, 6, WIDTH, generator=torch.Generator().manual_seed(1))
    for routing in (parts(a=[0], b=[1]), parts(b=[0], c=[1])):
        with routed(routing):
            torch.testing.assert_close(layer(x), alone(layer, x, routing), rtol=1e-5, atol=1e-6)
    layer.take_off("b")
    assert layer._stacked is None and set(layer.shapes) == {"a", "c", "wide"}


def test_with_gradients_they_stay_apart(layer: LoraLayer) -> None:
    with routed(parts(a=[0], b=[1])):
        layer(torch.zeros(1, 6, WIDTH)).sum().backward()
    assert layer._stacked is None and layer.lora_B["a"].grad is not None
