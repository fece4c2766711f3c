"""fp32 masters beside bf16 copies: small steps and small gradients are not lost."""

import pytest
import torch
from torch import nn

from luthier.engine.trainable import Masters


def masters(dtype: torch.dtype) -> tuple[nn.Parameter, Masters]:
    """One weight of 1.0."""
    parameter = nn.Parameter(torch.ones(1, dtype=dtype))
    return parameter, Masters({"weight": parameter})


def test_steps_too_small_for_bf16_add_up():
    """Above 1, bf16 knows steps of 2⁻⁷. 16 steps of 2⁻¹⁰ move the copy by 2; in bf16 alone each would be rounded away."""
    parameter, held = masters(torch.bfloat16)
    assert (parameter + 2**-10).item() == 1, "the step alone is lost"
    for _ in range(16):
        with torch.no_grad():
            held.masters["weight"] += 2**-10
        held.publish()
    assert parameter.item() == 1 + 2 * 2**-7


def test_gradients_of_micro_batches_add_up_in_fp32():
    """1 + 64 · 2⁻¹⁰ = 1.0625; added in bf16, each 2⁻¹⁰ would be rounded away and the sum stay at 1."""
    parameter, held = masters(torch.bfloat16)
    for gradient in [1.0, *[2**-10] * 64]:
        (parameter * torch.tensor([gradient], dtype=torch.bfloat16)).sum().backward()
    assert held.gradients()["weight"].item() == 1.0625
    assert parameter.grad is None, "it moves on, and takes no room beside the master"


def test_a_weight_in_fp32_is_its_own_master():
    parameter, held = masters(torch.float32)
    assert held.masters["weight"] is parameter


def test_loading_reaches_the_copy():
    parameter, held = masters(torch.bfloat16)
    held.load({"weight": torch.tensor([0.5])})
    assert (parameter.item(), held.values()["weight"].item()) == (0.5, 0.5)


def test_the_fingerprint_sees_the_last_bit_of_the_copy():
    _, held = masters(torch.bfloat16)
    before = held.fingerprint()
    held.load({"weight": torch.tensor([1 + 2**-7])})
    assert held.fingerprint() != before
    held.load({"weight": torch.tensor([1 + 2**-12])})
    assert held.fingerprint() == before, "what the model computes with is what counts"
    assert held.values()["weight"].item() == pytest.approx(1 + 2**-12)
