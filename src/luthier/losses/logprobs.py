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

    Each output has its own upstream gradient. A frozen head costs one product in the forward pass and one for the gradient of `hidden`,
    taken while the chunk is there; a trained head recomputes the chunk in the backward pass and accumulates dW in fp32.

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


def _wide(x: Tensor) -> Tensor:
    """fp32 at least: bf16 log-probabilities are too coarse for ratios."""
    return x if x.dtype == torch.float64 else x.float()


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, options: _Options) -> tuple[Tensor, Tensor | None]:
    """Logits over temperature (n, V), and the derivative of the cap (n, V) if there is one."""
    z = _wide(torch.nn.functional.linear(hidden, weight, bias))
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


def _through_head(gradient: Tensor, slope: Tensor | None, options: _Options, dtype: torch.dtype) -> Tensor:
    """dz → d(h Wᵀ + b), in the head's dtype."""
    if slope is not None:
        gradient = gradient.mul_(slope)
    factor = options.scale / options.temperature
    if factor != 1.0:
        gradient = gradient.mul_(factor)
    return gradient.to(dtype)


class _LinearLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, options: _Options
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        n, wide = hidden.shape[0], torch.float64 if hidden.dtype == torch.float64 else torch.float32
        logprobs, entropies, normalizers = (torch.empty(n, dtype=wide, device=hidden.device) for _ in range(3))
        right = torch.zeros(n, dtype=torch.bool, device=hidden.device)
        head_learns = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        asked = (True, options.entropy, options.log_normalizer)
        keep = ctx.needs_input_grad[0] and not head_learns
        slopes = [torch.empty_like(hidden) if keep and wanted else None for wanted in asked]
        for part in _chunks(n, weight.shape[0]):
            z, cap_slope = _logits(hidden[part], weight, bias, options)
            logp = z.log_softmax(-1)  # not z - logsumexp(z): where an answer is nearly sure, that loses the digits of 1 - p
            logprobs[part] = logp.gather(1, targets[part, None])[:, 0]
            normalizer = z.gather(1, targets[part, None])[:, 0] - logprobs[part]
            normalizers[part] = normalizer
            if options.correct:
                right[part] = logprobs[part] == logp.amax(-1)
            entropy = -(logp.exp() * logp).sum(-1) if options.entropy else normalizer
            entropies[part] = entropy
            one = torch.ones_like(normalizer)
            for i, slope in enumerate(slopes):
                if slope is not None:  # the gradient of row i of an output is this row, times its upstream
                    upstream = tuple(one if j == i else None for j in range(3))
                    last = not any(s is not None for s in slopes[i + 1 :])
                    gradient = _gradient_rows(logp if last else logp.clone(), targets[part], entropy, upstream)
                    slope[part] = _through_head(gradient, cap_slope, options, weight.dtype) @ weight
        ctx.options, ctx.head_learns = options, head_learns
        if head_learns:
            ctx.save_for_backward(hidden, weight, bias, targets, entropies)
        else:
            ctx.save_for_backward(*(s for s in slopes if s is not None))
        ctx.mark_non_differentiable(right)
        return logprobs, entropies, normalizers, right

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        options = ctx.options
        asked = [u for u, wanted in zip(upstream[:3], (True, options.entropy, options.log_normalizer), strict=True) if wanted]
        if not ctx.head_learns:
            slopes = ctx.saved_tensors
            hidden_gradient = slopes[0] * asked[0][:, None].to(slopes[0].dtype)
            for slope, up in zip(slopes[1:], asked[1:], strict=True):
                hidden_gradient = hidden_gradient + slope * up[:, None].to(slope.dtype)
            return hidden_gradient, None, None, None, None
        return (*_LinearLogprobs._backward_head(ctx, *upstream), None, None)

    @staticmethod
    def _backward_head(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The chunk again, then its part of dh, dW and db; dW and db add up in fp32."""
        options = ctx.options
        hidden, weight, bias, targets, entropies = ctx.saved_tensors
        wide = entropies.dtype
        hidden_gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        weight_gradient = torch.zeros(weight.shape, dtype=wide, device=weight.device) if ctx.needs_input_grad[1] else None
        bias_gradient = torch.zeros(bias.shape, dtype=wide, device=bias.device) if ctx.needs_input_grad[2] else None
        wanted = (True, options.entropy, options.log_normalizer)
        for part in _chunks(hidden.shape[0], weight.shape[0]):
            z, cap_slope = _logits(hidden[part], weight, bias, options)
            logp = z.log_softmax(-1)
            ups = tuple(u[part] if w else None for u, w in zip(upstream[:3], wanted, strict=True))
            gradient = _through_head(_gradient_rows(logp, targets[part], entropies[part], ups), cap_slope, options, weight.dtype)
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
