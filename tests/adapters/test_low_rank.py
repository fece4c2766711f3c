"""A linear layer with named low-rank products beside it: y = x Wᵀ + b + s (x Aᵀ) Bᵀ."""

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from luthier.adapters.low_rank import LoraLayer, LowRank, is_linear, is_transposed, layers
from luthier.adapters.routing import Routing, routed

NUM_IN, NUM_OUT = 5, 4


def _linear(bias: bool = True) -> nn.Module:
    return nn.Linear(NUM_IN, NUM_OUT, bias=bias)


def _conv1d() -> nn.Module:
    """GPT-2's: the weight is (in, out)."""
    layer = Conv1D(NUM_OUT, NUM_IN)
    nn.init.normal_(layer.bias)
    return layer


def _layer(base: nn.Module | None = None, **shapes: LowRank) -> LoraLayer:
    """In fp64, each product far from zero."""
    generator = torch.Generator().manual_seed(0)
    layer = LoraLayer((base or _linear()).requires_grad_(False))
    for name, shape in (shapes or {"one": LowRank(2, 0.5)}).items():
        layer.add(name, shape, generator)
        nn.init.normal_(layer.lora_B[name], generator=generator)
    return layer.double().train()


def _input(*shape: int) -> Tensor:
    return torch.randn(*shape, NUM_IN, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _written_out(layer: LoraLayer, x: Tensor, name: str) -> Tensor:
    weight = layer.base_layer.weight.T if is_transposed(layer.base_layer) else layer.base_layer.weight
    y = x @ weight.T + (0 if layer.base_layer.bias is None else layer.base_layer.bias)
    return y + layer.shapes[name].scaling * (x @ layer.lora_A[name].T) @ layer.lora_B[name].T


@pytest.mark.parametrize("shape", [(6,), (1, 6), (2, 3)])
@pytest.mark.parametrize("base", [_linear, lambda: _linear(bias=False), _conv1d], ids=["Linear", "no bias", "Conv1D"])
def test_the_product_is_added(base, shape: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    """Values, and gradients for the input, A and B."""
    layer, x = _layer(base()), _input(*shape).requires_grad_()
    leaves = [x, layer.lora_A["one"], layer.lora_B["one"]]
    with routed(Routing("one")):
        ours = layer(x)
    theirs = _written_out(layer, x, "one")
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn(ours.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for mine, other in zip(torch.autograd.grad(ours, leaves, upstream), torch.autograd.grad(theirs, leaves, upstream), strict=True):
        torch.testing.assert_close(mine, other)


def test_an_input_that_needs_no_gradient_costs_none() -> None:
    """The first layer's: its input is a frozen embedding."""
    layer = _layer()
    with routed(Routing("one")):
        layer(_input(3)).sum().backward()
    assert layer.lora_A["one"].grad is not None and layer.base_layer.weight.grad is None


def test_a_model_may_add_to_the_output_in_place() -> None:
    """As Llama 4 adds what its experts say to what the shared expert says."""
    layer, x = _layer(), _input(1, 3)
    with routed(Routing("one")):
        y = layer(x)
        y.add_(torch.ones_like(y))
    torch.testing.assert_close(y, _written_out(layer, x, "one") + 1)
    (ours,) = torch.autograd.grad(y.sum(), layer.lora_A["one"])
    (theirs,) = torch.autograd.grad(_written_out(layer, x, "one").sum(), layer.lora_A["one"])
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("routing", [Routing(), Routing("another")], ids=["no adapter", "an adapter that is elsewhere"])
def test_otherwise_the_layer_is_the_base_alone(routing: Routing) -> None:
    layer, x = _layer(), _input(3)
    with routed(routing):
        assert torch.equal(layer(x), layer.base_layer(x))


@pytest.mark.parametrize("shape", [(1, 6), (6,)], ids=["a stream", "a stream that a mixture of experts flattened"])
def test_parts_of_a_stream_may_have_different_adapters(shape: tuple[int, ...]) -> None:
    layer = _layer(one=LowRank(2, 0.5), two=LowRank(3, 2.0))
    x = _input(*shape)
    parts = (("one", torch.tensor([0, 4])), ("two", torch.tensor([1, 2])), ("elsewhere", torch.tensor([5])))
    with routed(Routing(None, parts, 6)):
        y = layer(x).reshape(6, NUM_OUT)
    alone = {name: _written_out(layer, x, name).reshape(6, NUM_OUT) for name in ("one", "two")}
    base = layer.base_layer(x).reshape(6, NUM_OUT)
    expected = torch.stack([alone["one"][0], alone["two"][1], alone["two"][2], base[3], alone["one"][4], base[5]])
    torch.testing.assert_close(y, expected)


def test_a_layer_that_sees_only_some_tokens_cannot_be_routed_by_position() -> None:
    """An expert gets the tokens that were sent to it: their places in the stream are lost."""
    with routed(Routing(None, (("one", torch.tensor([0])),), 6)), pytest.raises(TypeError, match="4 rows of a stream of 6"):
        _layer()(_input(4))


def test_dropout_is_of_the_input_of_a_and_only_in_training() -> None:
    """With B A = 1 on one channel: kept inputs count 1 / (1 - 0.25), a quarter of them nothing."""
    base = nn.Linear(1, 1, bias=False)
    layer = LoraLayer(base.requires_grad_(False))
    layer.add("one", LowRank(1, 1.0, dropout=0.25), torch.Generator().manual_seed(0))
    with torch.no_grad():
        base.weight.zero_()
        layer.lora_A["one"].fill_(1)
        layer.lora_B["one"].fill_(1)
    with torch.random.fork_rng(devices=[]), routed(Routing("one")):
        torch.manual_seed(0)
        y = layer.train()(torch.ones(4000, 1))
        assert y.unique().tolist() == pytest.approx([0, 1 / 0.75])
        assert (y == 0).double().mean().item() == pytest.approx(0.25, abs=0.03)  # 4 standard deviations of 4,000 draws
        assert torch.equal(layer.eval()(torch.ones(4, 1)), torch.ones(4, 1))


def test_delta_is_what_merging_adds() -> None:
    layer, x = _layer(_conv1d()), _input(3)
    with routed(Routing("one")):
        y = layer(x)
    torch.testing.assert_close(y, layer.base_layer(x) + x @ layer.delta("one").double().T, rtol=1e-5, atol=1e-5)


def test_a_begins_within_its_bound_and_b_at_zero() -> None:
    """|A| ≤ 1 / √5, and the same generator draws the same A."""
    layer = LoraLayer(_linear())
    drawn = []
    for name in ("one", "two"):
        layer.add(name, LowRank(3, 1.0), torch.Generator().manual_seed(7))
        drawn.append(layer.lora_A[name].detach())
        assert not layer.lora_B[name].any() and layer.lora_B[name].shape == (NUM_OUT, 3)
    assert torch.equal(*drawn) and 0.5 * 5**-0.5 < float(drawn[0].abs().max()) <= 5**-0.5


class _Router(nn.Linear):
    """Derives from a linear layer, and returns a pair."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        y = super().forward(x)
        return y.softmax(-1), y


def test_what_is_a_linear_layer() -> None:
    assert is_linear(_linear()) and is_linear(_conv1d()) and not is_linear(_Router(2, 2))
    assert not is_linear(nn.Conv1d(2, 2, 1)) and not is_linear(nn.Embedding(2, 2)) and not is_linear(nn.LayerNorm(2))
    assert is_transposed(_conv1d()) and not is_transposed(_linear())


def test_layers_are_found_by_path_and_adapter() -> None:
    model = nn.Sequential(_layer(one=LowRank(1, 1.0)), nn.ReLU(), _layer(two=LowRank(1, 1.0)))
    assert list(layers(model)) == ["0", "2"] and list(layers(model, "two")) == ["2"] and layers(model, "three") == {}
