"""Supervised fine-tuning with and without the prompts."""

import numpy as np
import pytest
import torch

from luthier.batches.examples import Example, Lot
from luthier.batches.packing import Packing
from luthier.batches.rows import rows_of
from luthier.losses.logprobs import HeadSpec
from luthier.methods import sft
from luthier.methods.base import CERTIFICATE, VALIDATION, NoState, Order, Roles
from luthier.models.forward import Root
from luthier.models.roles import PolicyModel
from luthier.testing import build_model
from luthier.text.sequence import Sequence

IDS = np.array([5, 6, 7, 8, 9])
ROW = Example((Sequence(IDS, np.array([0, 0, 0, 1, 2], dtype=np.float32)),), num_bytes=2)


def _method(prompt_weight: float) -> tuple[sft.SFT, Root]:
    root = Root(build_model(), Packing(), HeadSpec())
    return sft.SFT(sft.Config(prompt_weight=prompt_weight), Roles(PolicyModel(root, None)), Order(1, 0)), root


def _loss(prompt_weight: float, number: int) -> float:
    """As a step computes it: the sum over rows, over the sum of weights."""
    method, root = _method(prompt_weight)
    lot = method.collect([ROW], NoState(), number)
    total = method.loss(rows_of(Lot(tuple(lot.examples)), root.packing, torch.device("cpu")))["loss"]
    return float(total.detach().sum() / method.weights(lot)["loss"].sum())


@torch.no_grad()
def _by_hand(*weights: float) -> float:
    logp = build_model()(torch.from_numpy(IDS)[None]).logits[0].log_softmax(-1)
    given = torch.tensor(weights)
    return float(-(given * logp[:-1].gather(1, torch.from_numpy(IDS[1:])[:, None])[:, 0]).sum() / given.sum())


@pytest.mark.parametrize("number", [0, CERTIFICATE])
def test_prompts_count_by_their_weight_in_training_and_its_certificate(number: int):
    """-Σ w log π / Σ w with w = ½, ½ for the prompt's second and third token, then 1 and 2."""
    assert _loss(0.5, number) == pytest.approx(_by_hand(0.5, 0.5, 1, 2), rel=1e-5)


@pytest.mark.parametrize("prompt_weight, number", [(0.0, 0), (0.5, VALIDATION)])
def test_answers_alone_count_by_default_and_in_validation(prompt_weight: float, number: int):
    assert _loss(prompt_weight, number) == pytest.approx(_by_hand(0, 0, 1, 2), rel=1e-5)
