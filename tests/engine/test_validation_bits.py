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

END = 9


def _measured(num_bytes: int, weight: float, special: frozenset[int] = frozenset()) -> dict[str, float]:
    model = build_model()
    root = Root(model, Packing(), HeadSpec())
    root.special_ids = special
    method = sft.SFT(sft.Config(), Roles(PolicyModel(root, None)), Order(1, 0))
    weights = np.array([0, 0, weight, weight, weight], dtype=np.float32)
    lot = Lot((Example((Sequence(np.array([5, 6, 7, 8, END]), weights),), num_bytes=num_bytes),))
    return measure(method, lot, 64, root.packing, torch.device("cpu"), root)


def test_bits_per_byte_is_the_loss_of_three_tokens_over_six_bytes() -> None:
    found = _measured(6, 1.0)
    assert found["bits_per_byte"] == pytest.approx(found["loss"] * 3 / math.log(2) / 6)


def test_a_token_that_ends_an_answer_spells_no_byte_and_costs_none() -> None:
    """Of -log π of 7, 8 and the end, what is left are those of 7 and 8."""
    with torch.no_grad():
        logp = build_model()(torch.tensor([[5, 6, 7, 8, END]])).logits[0].log_softmax(-1)
    expected = -(logp[1, 7] + logp[2, 8]) / math.log(2) / 4
    found = _measured(4, 1.0, frozenset({END}))
    assert found["bits_per_byte"] == pytest.approx(float(expected), rel=1e-5)
    assert found["loss"] == pytest.approx(float(-(logp[1, 7] + logp[2, 8] + logp[3, END]) / 3), rel=1e-5)


def test_the_weight_of_a_message_does_not_change_how_well_its_text_is_known() -> None:
    assert _measured(6, 0.5)["bits_per_byte"] == pytest.approx(_measured(6, 1.0)["bits_per_byte"])


def test_it_is_not_said_where_bytes_were_not_counted() -> None:
    assert "bits_per_byte" not in _measured(0, 1.0)
