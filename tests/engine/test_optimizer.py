"""Rates, decay and the optimizer's memory."""

import math

import pytest
import torch
from torch import nn

from luthier.adapters import blocks
from luthier.engine import optimizer
from luthier.spec.run import OptimizerSpec
from luthier.testing import build_model


def shares(total: int, **settings) -> list[float]:
    spec = OptimizerSpec(**settings)
    return [optimizer.share_of_rate(step, total, spec) for step in range(total)]


def test_a_cosine_falls_to_its_final_share():
    """After one step of warm-up: ½(1 + cos(π k/4)) of 1 - 0.2, and 0.2 under it."""
    wanted = [0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(5)]
    assert shares(6, schedule="cosine", warmup_share=0.1, final_share=0.2) == pytest.approx([1.0, *wanted])
    assert wanted[-1] == pytest.approx(0.2)


def test_a_line_falls_evenly():
    assert shares(5, schedule="linear", warmup_share=0, final_share=0) == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_a_constant_rate_stays_after_its_warm_up():
    assert shares(8, schedule="constant", warmup_share=0.5) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_a_run_of_one_step_has_the_whole_rate(schedule: str):
    assert shares(1, schedule=schedule) == [1.0]


def groups_of(spec: OptimizerSpec) -> dict[str, dict]:
    """Each parameter of a toy model of 2 layers, and the group it is in, at a rate of 1."""
    model = build_model()
    masters = dict(model.named_parameters())
    path = blocks.find(model, 2)
    made = optimizer.build(masters, {name: blocks.depth(name, path, 2) for name in masters}, spec, 1.0)
    optimizer.set_rate(made, 1.0)
    names = {parameter: name for name, parameter in masters.items()}
    return {names[parameter]: group for group in made.param_groups for parameter in group["params"]}


def test_layers_further_from_the_output_learn_slower():
    """½ for each layer between a weight and the output; the embeddings are beyond both."""
    rates = {name: group["lr"] for name, group in groups_of(OptimizerSpec(layer_decay=0.5)).items()}
    assert {rate for name, rate in rates.items() if ".layers.1." in name} == {1.0}
    assert {rate for name, rate in rates.items() if ".layers.0." in name} == {0.5}
    assert rates["model.embed_tokens.weight"] == 0.25
    assert rates["model.norm.weight"] == rates["lm_head.weight"] == 1.0


def test_norms_do_not_decay():
    decays = {name: group["weight_decay"] for name, group in groups_of(OptimizerSpec(weight_decay=0.1)).items()}
    assert {decay for name, decay in decays.items() if "norm" in name} == {0.0}
    assert {decay for name, decay in decays.items() if "norm" not in name} == {0.1}


def test_decay_is_decoupled_from_the_gradient():
    """With a gradient of zero a weight of 2 becomes 2 (1 - rate · decay) = 2 · 0.95, and a bias stays."""
    weight, bias = nn.Parameter(torch.full((1, 1), 2.0)), nn.Parameter(torch.full((1,), 2.0))
    weight.grad, bias.grad = torch.zeros_like(weight), torch.zeros_like(bias)
    made = optimizer.build({"weight": weight, "bias": bias}, {"weight": 0, "bias": 0}, OptimizerSpec(weight_decay=0.1), 0.5)
    made.step()
    assert weight.item() == pytest.approx(1.9)
    assert bias.item() == 2.0


def test_the_first_step_is_the_rate_against_the_gradients_sign():
    """m̂ / (√v̂ + ε) = g / |g| in the first step."""
    weight = nn.Parameter(torch.tensor([[1.0, 1.0]]))
    weight.grad = torch.tensor([[0.3, -40.0]])
    optimizer.build({"weight": weight}, {"weight": 0}, OptimizerSpec(), 0.01).step()
    assert weight.tolist()[0] == pytest.approx([0.99, 1.01])


def test_its_memory_comes_back():
    def step(parameter: nn.Parameter, made: torch.optim.AdamW, gradient: float) -> None:
        parameter.grad = torch.full_like(parameter, gradient)
        made.step()

    first = nn.Parameter(torch.ones(2, 2))
    made = optimizer.build({"a": first}, {"a": 0}, OptimizerSpec(), 0.1)
    step(first, made, 1.0)
    second = nn.Parameter(first.detach().clone())
    again = optimizer.build({"a": second}, {"a": 0}, OptimizerSpec(), 0.1)
    optimizer.load_state(again, {"a": second}, optimizer.state_tensors(made, {"a": first}))
    step(first, made, -3.0)
    step(second, again, -3.0)
    assert torch.equal(first, second)
