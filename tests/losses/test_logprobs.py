"""Chunked log-probabilities against plain log-softmax, for every option."""

import itertools

import pytest
import torch

from luthier.losses import logprobs
from luthier.losses.logprobs import HeadSpec, linear_logprobs

OPTIONS = list(itertools.product([1.0, 0.25], [None, 3.0], [1.0, 0.7], [False, True]))


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 3 rows in blocks of 2, so that 5 rows take two chunks of two blocks and one."""
    monkeypatch.setattr(logprobs, "CHUNK_ROWS", 3)
    monkeypatch.setattr(logprobs, "CHUNK_LOGITS", 33)
    monkeypatch.setattr(logprobs, "BLOCK_LOGITS", 22)


def _inputs(dtype: torch.dtype, bias: bool = True) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(5, 4, generator=generator, dtype=dtype) * 2
    weight = torch.randn(11, 4, generator=generator, dtype=dtype)
    return hidden, weight, torch.randn(11, generator=generator, dtype=dtype) if bias else None, torch.tensor([3, 0, 10, 3, 7])


def _plain(hidden, weight, bias, targets, head, temperature):  # type: ignore[no-untyped-def]
    z = torch.nn.functional.linear(hidden, weight, bias) * head.scale
    if head.softcap:
        z = head.softcap * torch.tanh(z / head.softcap)
    logp = (z / temperature).log_softmax(-1)
    return logp.gather(1, targets[:, None])[:, 0], -(logp.exp() * logp).sum(-1), (z / temperature).logsumexp(-1)


@pytest.mark.parametrize(("scale", "softcap", "temperature", "bias"), OPTIONS)
def test_values_equal_log_softmax(scale: float, softcap: float | None, temperature: float, bias: bool) -> None:
    inputs = _inputs(torch.float64, bias)
    scores = linear_logprobs(*inputs, HeadSpec(scale, softcap), temperature, entropy=True, log_normalizer=True)
    for got, expected in zip(
        (scores.logprobs, scores.entropy, scores.log_normalizer), _plain(*inputs, HeadSpec(scale, softcap), temperature), strict=True
    ):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("head_learns", [False, True])
@pytest.mark.parametrize(("scale", "softcap", "temperature", "bias"), OPTIONS)
def test_gradients_in_double_precision(head_learns: bool, scale: float, softcap: float | None, temperature: float, bias: bool) -> None:
    hidden, weight, offset, targets = _inputs(torch.float64, bias)
    leaves = [t.requires_grad_() for t in ([hidden, weight, offset] if head_learns else [hidden]) if t is not None]

    def outputs(*_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        s = linear_logprobs(hidden, weight, offset, targets, HeadSpec(scale, softcap), temperature, entropy=True, log_normalizer=True)
        assert s.entropy is not None and s.log_normalizer is not None
        return s.logprobs, s.entropy, s.log_normalizer

    assert torch.autograd.gradcheck(outputs, leaves)


def test_tied_weights_add_up() -> None:
    """The embedding looks h up in W and the head multiplies by W: both gradients reach it."""
    _, weight, _, targets = _inputs(torch.float64)
    weight.requires_grad_()
    tokens = torch.tensor([1, 2, 3, 4, 5])
    (ours,) = torch.autograd.grad(linear_logprobs(weight[tokens], weight, None, targets).logprobs.sum(), weight)
    (plain,) = torch.autograd.grad(_plain(weight[tokens], weight, None, targets, HeadSpec(), 1.0)[0].sum(), weight)
    torch.testing.assert_close(ours, plain)


def test_no_rows_give_no_scores_and_a_zero_gradient() -> None:
    hidden = torch.zeros(0, 4, requires_grad=True)
    scores = linear_logprobs(hidden, torch.randn(11, 4), None, torch.zeros(0, dtype=torch.long))
    scores.logprobs.sum().backward()  # type: ignore[no-untyped-call]
    assert scores.logprobs.shape == (0,) and hidden.grad is not None and hidden.grad.shape == (0, 4)


def test_an_answer_that_is_nearly_sure_keeps_its_digits() -> None:
    """Logits of 32 and 23, so 1 - p is about 1e-4. A normalizer near 32 in fp32 is known to 4e-6, which would be 4 % of that."""
    hidden, weight = torch.full((1, 1), 32.0), torch.tensor([[1.0], [0.71875]])
    exact = _gradient(hidden.double(), weight.double())
    assert float(_gradient(hidden, weight)) == pytest.approx(float(exact), rel=1e-3)


def _gradient(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    hidden = hidden.clone().requires_grad_(True)
    linear_logprobs(hidden, weight, None, torch.tensor([0])).logprobs.sum().backward()
    assert hidden.grad is not None
    return hidden.grad
