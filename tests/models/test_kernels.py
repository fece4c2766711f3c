"""Attention over segments against plain softmax attention over the whole stream, in double precision."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from luthier.batches.streams import Segment
from luthier.models import kernels
from luthier.models.kernels import SegmentAttention

HEADS, GROUPS, WIDTH = 4, 2, 3
"""Two query heads read each key/value head."""

TREE = (Segment(0, 5), Segment(5, 3, ((0, 5),)), Segment(8, 2, ((0, 4),)), Segment(10, 4, ((0, 4), (8, 2))), Segment(14, 1))
"""A beginning of 5; a branch that goes on from all of it; one from its first 4; a branch of that branch; and a row of one token."""
TOKENS = 15

MASKS = {
    "causal": None,
    "sliding": lambda q, k: (k <= q) & (k > q - 3),
    "chunked": lambda q, k: (k <= q) & (k // 4 == q // 4),
    "prefix": lambda q, k: (k <= q) | ((q < 2) & (k < 2)),
}
FEATURES = list(itertools.product(MASKS, [None, 0.7], [False, True]))


@pytest.fixture(params=[256, 2], ids=["one block", "blocks of 2"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(kernels, "BLOCK", request.param)
    return int(request.param)


def _inputs(width: int = WIDTH, value_width: int = WIDTH, tokens: int = TOKENS, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, HEADS, tokens, width), (1, GROUPS, tokens, width), (1, GROUPS, tokens, value_width), (HEADS,)]
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)


def _positions(segment: Segment) -> list[int]:
    """Where the tokens stand that a segment's last query may see, in the order of their own positions."""
    stretches = [*segment.reads, (segment.start, segment.length)]
    return [t for start, n in stretches for t in range(start, start + n)]


def _masks(kind: str, segments: tuple[Segment, ...] = TREE) -> tuple[Tensor | None, ...]:
    function = MASKS[kind]
    if function is None:
        return (None,) * len(segments)
    masks = []
    for s in segments:
        q, k = torch.arange(s.num_read, s.num_read + s.length)[:, None], torch.arange(s.num_read + s.length)[None]
        masks.append(function(q, k))
    return tuple(masks)


def _visible(kind: str, segments: tuple[Segment, ...] = TREE, tokens: int = TOKENS) -> Tensor:
    """(T, T) bool, asked for one pair of tokens at a time."""
    function = MASKS[kind] or (lambda q, k: k <= q)
    visible = torch.zeros(tokens, tokens, dtype=torch.bool)
    for s in segments:
        path = _positions(s)
        for q in range(s.num_read, len(path)):
            for k in range(len(path)):
                visible[path[q], path[k]] = bool(function(torch.tensor(q), torch.tensor(k)))
    return visible


def _plain(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, visible: Tensor, scaling: float, softcap: float | None) -> Tensor:
    k, v = (x.repeat_interleave(HEADS // GROUPS, 1) for x in (k, v))
    scores = q @ k.transpose(-1, -2) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~visible, float("-inf"))
    if sinks is not None:
        scores = torch.cat([scores, sinks.view(1, -1, 1, 1).expand(1, HEADS, scores.shape[2], 1)], -1)
    p = scores.softmax(-1)[..., : k.shape[2]]
    return (p @ v).transpose(1, 2)


def _ours(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, kind: str = "causal", **more: Any) -> Tensor:
    segments = more.get("segments", TREE)
    masks = _masks(kind, segments)
    out: Tensor = SegmentAttention.apply(
        q, k, v, sinks, segments, masks, more.get("scaling", 0.5), more.get("softcap"), more.get("dropout", 0.0)
    )
    return out


@pytest.mark.parametrize(("kind", "softcap", "with_sinks"), FEATURES)
def test_values_and_gradients_equal_plain_attention(block: int, kind: str, softcap: float | None, with_sinks: bool) -> None:
    q, k, v, sinks = (x.requires_grad_() for x in _inputs())
    leaves = [q, k, v, sinks] if with_sinks else [q, k, v]
    given = sinks if with_sinks else None
    ours = _ours(q, k, v, given, kind, softcap=softcap)
    plain = _plain(q, k, v, given, _visible(kind), 0.5, softcap)
    torch.testing.assert_close(ours, plain)
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for mine, theirs in zip(torch.autograd.grad(ours, leaves, upstream), torch.autograd.grad(plain, leaves, upstream), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(("kind", "softcap", "with_sinks"), [("causal", None, False), ("sliding", 0.7, True), ("prefix", None, True)])
def test_gradients_in_double_precision(block: int, kind: str, softcap: float | None, with_sinks: bool) -> None:
    q, k, v, sinks = (x.requires_grad_() for x in _inputs(width=2, value_width=2))
    assert torch.autograd.gradcheck(
        lambda q, k, v, s: _ours(q, k, v, s if with_sinks else None, kind, softcap=softcap), (q, k, v, sinks), fast_mode=True
    )


def test_values_may_be_wider_than_keys() -> None:
    q, k, v, _ = (x.requires_grad_() for x in _inputs(width=3, value_width=5))
    ours, plain = _ours(q, k, v, None), _plain(q, k, v, None, _visible("causal"), 0.5, None)
    assert ours.shape == (1, TOKENS, HEADS, 5)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(torch.autograd.grad(ours.sum(), v), torch.autograd.grad(plain.sum(), v))


def test_keys_that_nobody_reads_again_get_one_gradient_each() -> None:
    """Rows without a shared beginning take the path that adds nothing up."""
    segments = (Segment(0, 6), Segment(6, 9))
    leaves = [x.requires_grad_() for x in _inputs()[:3]]
    ours = _ours(*leaves, None, "sliding", segments=segments)
    plain = _plain(*leaves, None, _visible("sliding", segments), 0.5, None)
    torch.testing.assert_close(ours, plain)
    for mine, theirs in zip(
        torch.autograd.grad(ours.square().sum(), leaves), torch.autograd.grad(plain.square().sum(), leaves), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_nothing_passes_between_rows() -> None:
    """Two rows in one stream: other values of the first change no bit of the second."""
    segments = (Segment(0, 6), Segment(6, 9))
    q, k, v, _ = _inputs()
    before = _ours(q, k, v, None, segments=segments)
    k[:, :, :6] += 1
    v[:, :, :6] -= 1
    after = _ours(q, k, v, None, segments=segments)
    assert torch.equal(after[:, 6:], before[:, 6:]) and not torch.equal(after[:, :6], before[:, :6])


def test_dropout_is_the_same_in_the_backward_pass(block: int) -> None:
    """The masks are not kept but drawn again: numerical and written-out gradients agree under one seed."""

    def seeded(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor) -> Tensor:
        torch.manual_seed(3)
        return _ours(q, k, v, sinks, dropout=0.4)

    leaves = tuple(x.requires_grad_() for x in _inputs(width=2, value_width=2))
    with torch.random.fork_rng(devices=[]):
        assert torch.autograd.gradcheck(seeded, leaves, fast_mode=True)


def test_dropout_zeroes_its_share_and_scales_up_the_rest() -> None:
    """With the identity as values the output is the probabilities themselves: 0, or p / (1 - 0.25)."""
    n = 64
    segment = (Segment(0, n),)
    q, k, _, _ = _inputs(tokens=n)
    v = torch.eye(n, dtype=torch.float64).expand(1, GROUPS, n, n)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        p, dropped, again = (_ours(q, k, v, None, segments=segment, dropout=share) for share in (0.0, 0.25, 0.25))
    kept = dropped > 0
    torch.testing.assert_close(dropped[kept], p[kept] / 0.75)
    share = 1 - kept.sum().item() / (p > 0).sum().item()
    assert share == pytest.approx(0.25, abs=0.02)  # of 4 · 64 · 65 / 2 = 8,320 draws: 4 standard deviations
    assert not torch.equal(again > 0, kept), "the global generator goes on between layers"


@pytest.mark.parametrize("softcap", [None, 0.7])
def test_bfloat16_is_as_close_as_its_rounding(softcap: float | None) -> None:
    """Inputs rounded to 8 bits, sums in fp32: within 2⁻⁶ of the exact result of the same inputs."""
    q, k, v, _ = (x.requires_grad_() for x in _inputs(width=16, value_width=16, dtype=torch.bfloat16))
    ours = _ours(q, k, v, None, softcap=softcap)
    exact = [x.detach().double().requires_grad_() for x in (q, k, v)]
    plain = _plain(*exact, None, _visible("causal"), 0.5, softcap)
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    pairs = [
        (ours, plain),
        *zip(torch.autograd.grad(ours, (q, k, v), upstream), torch.autograd.grad(plain, exact, upstream.double()), strict=True),
    ]
    for mine, theirs in pairs:
        assert mine.dtype == torch.bfloat16
        assert float((mine.detach().double() - theirs.detach()).norm() / theirs.detach().norm()) < 2**-6


@pytest.mark.parametrize("dtype, allowed", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_peaked_attention_keeps_its_digits(dtype: torch.dtype, allowed: float) -> None:
    """Scores with a standard deviation of 25: almost one-hot, where dP minus its mean is all rounding unless both come from one product."""
    generator = torch.Generator().manual_seed(0)
    inputs = [(torch.randn(1, 4, 100, 32, generator=generator) * scale).to(dtype) for scale in (5, 5, 1)]

    def gradients(wide: torch.dtype) -> list[torch.Tensor]:
        leaves = [x.to(wide).requires_grad_() for x in inputs]
        out = SegmentAttention.apply(*leaves, None, (Segment(0, 100),), (None,), 32**-0.5, None, 0.0)
        ramp = torch.linspace(0, 1, 100, dtype=wide)[None, :, None, None]
        return [g.double() for g in torch.autograd.grad(out, leaves, ramp.expand_as(out))]

    for got, exact in zip(gradients(dtype), gradients(torch.float64), strict=True):
        assert float((got - exact).norm() / exact.norm()) < allowed
