"""Bits per byte: the loss in a unit that does not depend on the tokenizer."""

import math

import numpy as np
import pytest
import torch

from luthier.batches.examples import Example, Lot
from luthier.batches.packing import Packing
from luthier.engine.validation import measure
from luthier.losses.logprobs import HeadSpec
from luthier.methods import sft
from luthier.methods.base import Order, Roles
from luthier.models.forward import Root
from luthier.models.roles import PolicyModel
from luthier.testing import build_model
from luthier.text.sequence import Sequence


def _measured(num_bytes: int, weight: float) -> dict[str, float]:
    model = build_model()
    root = Root(model, Packing(), HeadSpec())
    method = sft.SFT(sft.Config(), Roles(PolicyModel(root, None)), Order(1, 0))
    weights = np.array([0, 0, weight, weight, weight], dtype=np.float32)
    lot = Lot((Example((Sequence(np.array([5, 6, 7, 8, 9]), weights),), num_bytes=num_bytes),))
    return measure(method, lot, 64, root.packing, torch.device("cpu"), root)


def test_bits_per_byte_is_the_loss_of_three_tokens_over_six_bytes() -> None:
    found = _measured(6, 1.0)
    assert found["bits_per_byte"] == pytest.approx(found["loss"] * 3 / math.log(2) / 6)


@pytest.mark.parametrize("num_bytes, weight", [(0, 1.0), (6, 0.5)])
def test_it_is_not_said_where_bytes_or_weights_do_not_fit(num_bytes: int, weight: float) -> None:
    assert "bits_per_byte" not in _measured(num_bytes, weight)
