"""Log-probabilities of given tokens under a linear head, without ever holding more than a chunk of logits."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CHUNK_LOGITS = 2**22
"""Most logits held at once: 16 MiB in fp32. More where the vocabulary is large, so that a product has `CHUNK_ROWS` rows."""

CHUNK_ROWS = 128
"""Fewer rows at once make the products slow: at 152,000 words 28 rows take 1.3 times as long as 110."""

BLOCK_LOGITS = 2**19
"""Of a chunk, so many go through softmax and its gradient at once on a CPU: 2 MiB in fp32, which stay in its cache."""

IN_BLOCKS = ("cpu", "meta")
"""Devices on which they do; on `meta`, of shapes alone, a plan counts what it would hold."""


@dataclass(frozen=True)
class HeadSpec:
    """How a head turns a linear product into logits: z = cap · tanh(scale · (h Wᵀ + b) / cap)."""

    scale: float = 1.0
    softcap: float | None = None


@dataclass(frozen=True)
class Scores:
    """Per scored token, each (N,) in fp32: its log-probability and, if asked for, the entropy and log-normalizer there.

    `correct` (N,) bool, without gradient: no other token is more likely.
    """

    logprobs: Tensor
    entropy: Tensor | None = None
    log_normalizer: Tensor | None = None
    correct: Tensor | None = None


def linear_logprobs(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    head: HeadSpec = HeadSpec(),
    temperature: float = 1.0,
    entropy: bool = False,
    log_normalizer: bool = False,
    correct: bool = False,
) -> Scores:
    """log softmax(z / T) at `targets`, with z from `HeadSpec`; entropy H = -Σ p log p; log-normalizer log Σ exp(z / T).

    Each output has its own upstream gradient. A frozen head costs one product in the forward pass and one for the gradient of `logprobs`,
    taken while the chunk is there. A trained head, and a gradient of entropies or normalizers, which are mostly only looked at, recompute
    the chunk in the backward pass; dW adds up in fp32.

    Args:
        hidden: (N, d). weight: (V, d). bias: (V,) or None. targets: (N,) int64 in [0, V).
    """
    options = _Options(head.scale, head.softcap, temperature, entropy, log_normalizer, correct)
    outputs = _LinearLogprobs.apply(hidden, weight, bias, targets, options)  # type: ignore[no-untyped-call]
    return Scores(outputs[0], outputs[1] if entropy else None, outputs[2] if log_normalizer else None, outputs[3] if correct else None)


@dataclass(frozen=True)
class _Options:
    scale: float
    softcap: float | None
    temperature: float
    entropy: bool
    log_normalizer: bool
    correct: bool


def _chunks(num_rows: int, vocabulary: int) -> Iterator[slice]:
    step = max(CHUNK_ROWS, CHUNK_LOGITS // vocabulary)
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def _blocks(part: slice, vocabulary: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """The rows of a chunk in blocks: where they are in the chunk, and where in all."""
    number = part.stop - part.start
    step = max(1, BLOCK_LOGITS // vocabulary) if device.type in IN_BLOCKS else max(1, number)
    for start in range(0, number, step):
        stop = min(start + step, number)
        yield slice(start, stop), slice(part.start + start, part.start + stop)


def _wide(x: Tensor) -> Tensor:
    """fp32 at least: bf16 log-probabilities are too coarse for ratios."""
    return x if x.dtype == torch.float64 else x.float()


def _logits(products: Tensor, options: _Options) -> tuple[Tensor, Tensor | None]:
    """h Wᵀ + b → logits over temperature (n, V), and the derivative of the cap (n, V) if there is one."""
    z = _wide(products)
    if options.scale != 1.0:
        z = z * options.scale
    slope: Tensor | None = None
    if options.softcap is not None:
        z = torch.tanh(z / options.softcap)
        slope = 1 - z * z
        z = z * options.softcap
    if options.temperature != 1.0:
        z = z / options.temperature
    return z, slope


def _logprob_rows(p: Tensor, targets: Tensor) -> Tensor:
    """d log p[target] / dz for one chunk, (n, V). Overwrites `p`."""
    gradient = p.neg_()
    return gradient.scatter_add_(1, targets[:, None], gradient.new_ones(len(targets), 1))


def _gradient_rows(logp: Tensor, targets: Tensor, entropy: Tensor, upstream: tuple[Tensor | None, ...]) -> Tensor:
    """d(Σ upstream · outputs)/dz for one chunk, (n, V); None stands for an output without upstream. Overwrites `logp`."""
    up_logp, up_entropy, up_normalizer = upstream
    p = logp.exp()
    gradient: Tensor | None
    if up_entropy is not None:
        gradient = (logp.add_(entropy[:, None])).mul_(p).mul_(-up_entropy[:, None])  # dH/dz = -p (log p + H)
    else:
        gradient = torch.zeros_like(p) if up_logp is None else None
    factor = -(up_logp if up_logp is not None else 0) + (up_normalizer if up_normalizer is not None else 0)
    if isinstance(factor, Tensor):
        p = p.mul_(factor[:, None])
        gradient = p if gradient is None else gradient.add_(p)
    assert gradient is not None
    if up_logp is not None:
        gradient.scatter_add_(1, targets[:, None], up_logp[:, None].to(gradient.dtype))
    return gradient


def _through_head(gradient: Tensor, slope: Tensor | None, options: _Options) -> Tensor:
    """dz → d(h Wᵀ + b). Overwrites `gradient`."""
    if slope is not None:
        gradient = gradient.mul_(slope)
    factor = options.scale / options.temperature
    if factor != 1.0:
        gradient = gradient.mul_(factor)
    return gradient


class _LinearLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: _Options
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        n, wide = hidden.shape[0], torch.float64 if hidden.dtype == torch.float64 else torch.float32
        logprobs, entropies, normalizers = (torch.empty(n, dtype=wide, device=hidden.device) for _ in range(3))
        right = torch.zeros(n, dtype=torch.bool, device=hidden.device)
        head_learns = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        slope = torch.empty_like(hidden) if ctx.needs_input_grad[0] and not head_learns else None
        for part in _chunks(n, weight.shape[0]):
            products = torch.nn.functional.linear(hidden[part], weight, bias)
            for inside, rows in _blocks(part, weight.shape[0], hidden.device):
                z, cap_slope = _logits(products[inside], options)
                logp = z.log_softmax(-1)  # not z - logsumexp(z): where an answer is nearly sure, that loses the digits of 1 - p
                logprobs[rows] = logp.gather(1, targets[rows, None])[:, 0]
                normalizers[rows] = z.gather(1, targets[rows, None])[:, 0] - logprobs[rows]
                if options.correct:
                    right[rows] = logprobs[rows] == logp.amax(-1)
                p = logp.exp() if options.entropy or slope is not None else None
                entropies[rows] = normalizers[rows] if p is None or not options.entropy else -logp.mul_(p).sum(-1)
                if slope is not None and p is not None:
                    products[inside] = _through_head(_logprob_rows(p, targets[rows]), cap_slope, options)
            if slope is not None:  # the gradient of a row of `logprobs` is its row here, times its upstream
                slope[part] = products @ weight
        ctx.options = options
        again = head_learns or options.entropy or options.log_normalizer
        ctx.save_for_backward(slope, *((hidden, weight, bias, targets, entropies) if again else ()))
        ctx.mark_non_differentiable(right)
        return logprobs, entropies, normalizers, right

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        slope = ctx.saved_tensors[0]
        if slope is None:
            return (*_LinearLogprobs._again(ctx, *upstream[:3]), None, None)
        up_logp, *others = upstream[:3]
        gradient = None if up_logp is None else slope * up_logp[:, None].to(slope.dtype)
        if any(up is not None for up in others):
            rest, _, _ = _LinearLogprobs._again(ctx, None, *others)
            gradient = rest if gradient is None or rest is None else gradient + rest
        return gradient, None, None, None, None

    @staticmethod
    def _again(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The chunk again, then its part of dh, dW and db; dW and db add up in fp32."""
        options = ctx.options
        _, hidden, weight, bias, targets, entropies = ctx.saved_tensors
        wide = entropies.dtype
        hidden_gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        weight_gradient = torch.zeros(weight.shape, dtype=wide, device=weight.device) if ctx.needs_input_grad[1] else None
        bias_gradient = torch.zeros(bias.shape, dtype=wide, device=bias.device) if ctx.needs_input_grad[2] else None
        for part in _chunks(hidden.shape[0], weight.shape[0]):
            gradient = torch.nn.functional.linear(hidden[part], weight, bias)
            for inside, rows in _blocks(part, weight.shape[0], hidden.device):
                z, cap_slope = _logits(gradient[inside], options)
                ups = tuple(None if up is None else up[rows] for up in upstream)
                found = _gradient_rows(z.log_softmax(-1), targets[rows], entropies[rows], ups)
                gradient[inside] = _through_head(found, cap_slope, options)
            if hidden_gradient is not None:
                hidden_gradient[part] = gradient @ weight
            if weight_gradient is not None:
                weight_gradient += gradient.T @ hidden[part]
            if bias_gradient is not None:
                bias_gradient += gradient.sum(0)
        return (
            hidden_gradient,
            None if weight_gradient is None else weight_gradient.to(weight.dtype),
            None if bias_gradient is None else bias_gradient.to(bias.dtype),
        )
