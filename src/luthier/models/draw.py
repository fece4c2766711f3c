"""From logits to tokens: penalties and masks, cuts, then one uniform number a row that inverts the cumulative distribution.

Log-probabilities are those at the sampling temperature before penalties, masks and cuts, in fp32: what a policy's ratio begins with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from luthier.errors import SettingsError

BLOCK = 256
"""Probabilities summed at once: the cumulative distribution is searched among blocks, then within one."""

SORTED_WHOLE = 4096
"""With more candidates than these, all of a row is sorted to cut it by top-p."""


@dataclass(frozen=True)
class DrawRules:
    """How a token is chosen. Fields are named and mean what they do in the OpenAI API and in transformers."""

    temperature: float = 1.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Only the likeliest tokens that hold this share."""
    top_k: int = 0
    """Only so many of the likeliest tokens; 0 for all."""
    min_p: float = 0.0
    """Only tokens at least this share as likely as the likeliest."""
    repetition_penalty: float = 1.0
    """Logits of tokens that prompt or answer hold already are divided by it where positive, else multiplied."""
    presence_penalty: float = 0.0
    """Taken off the logit of each token that the answer holds."""
    frequency_penalty: float = 0.0
    """The same, times how often it holds it."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these tokens."""

    def __post_init__(self) -> None:
        checks = {
            "temperature": (self.temperature >= 0, "0 (the likeliest token) or above"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "top_k": (self.top_k >= 0, "0 (all tokens) or above"),
            "min_p": (0 <= self.min_p <= 1, "between 0 and 1"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
        }
        for name, (holds, wanted) in checks.items():
            if not holds:
                raise SettingsError(f"`{name}` is {getattr(self, name)}; it must be {wanted}.")

    @property
    def adjusts(self) -> bool:
        """Logits change before the temperature."""
        return self.repetition_penalty != 1 or bool(self.presence_penalty or self.frequency_penalty or self.logit_bias)

    @property
    def cuts(self) -> bool:
        return self.temperature > 0 and (self.top_p < 1 or self.top_k > 0 or self.min_p > 0)


@dataclass(eq=False)
class Turn:
    """What one row's token depends on besides its logits. `allowed` (V,) bool: the tokens a mask leaves; None for all."""

    rules: DrawRules
    uniform: float
    prompt: np.ndarray
    drawn: Sequence[int]
    allowed: np.ndarray | None = None
    num_top: int = 0


@dataclass(frozen=True)
class Token:
    """`top`: the likeliest tokens and their log-probabilities, as many as were asked for."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def draw(logits: Tensor, turns: Sequence[Turn]) -> list[Token]:
    """A token for each row of `logits` (B, V) in fp32, which is overwritten."""
    temperature = logits.new_tensor([[t.rules.temperature or 1.0] for t in turns])
    if any(t.rules.temperature not in (0, 1) for t in turns):
        logits.div_(temperature)
    apart = [i for i, t in enumerate(turns) if t.rules.adjusts or t.allowed is not None or t.num_top]
    raw = logits[apart] if apart else logits[:0]  # before they are changed, at the temperature
    greedy = [i for i, t in enumerate(turns) if t.rules.temperature == 0]
    likeliest = logits.argmax(-1) if greedy else None  # before `exp`, which may round two logits to the same weight
    weights = logits.softmax(-1)
    changed = [(k, i) for k, i in enumerate(apart) if turns[i].rules.adjusts or turns[i].allowed is not None]
    for k, i in changed:
        z = _adjusted(raw[k], turns[i], float(temperature[i]))
        weights[i] = (z - z.max()).exp_()
        if likeliest is not None:
            likeliest[i] = z.argmax()
    cut = [i for i, t in enumerate(turns) if t.rules.cuts]
    if cut:
        _cut(weights, cut, [turns[i].rules for i in cut])
    if likeliest is not None and len(greedy) == len(turns):
        chosen = likeliest
    else:
        chosen = _invert(weights, torch.tensor([t.uniform for t in turns], dtype=torch.float64, device=logits.device))
        if likeliest is not None:
            chosen[greedy] = likeliest[greedy]
    logprobs = weights.gather(1, chosen[:, None])[:, 0].log_()
    plain = raw.log_softmax(-1)
    if apart:
        logprobs[apart] = plain.gather(1, chosen[apart, None])[:, 0]
    tops = _tops(plain, apart, turns)
    ids, values = chosen.tolist(), logprobs.tolist()
    return [Token(ids[i], values[i], tops.get(i, ())) for i in range(len(turns))]


def _by_blocks(weights: Tensor) -> Tensor:
    """(B, V) → (B, blocks, `BLOCK`), the last block filled with zeros."""
    missing = -weights.shape[1] % BLOCK
    padded = torch.nn.functional.pad(weights, (0, missing)) if missing else weights
    return padded.view(len(weights), -1, BLOCK)


def _invert(weights: Tensor, uniform: Tensor) -> Tensor:
    """(B,): the first token whose cumulated weight is beyond `uniform` (B,) of the whole, among those with any weight.

    In two steps, so that only sums of blocks and one block a row are cumulated in fp64.
    """
    cumulated = _by_blocks(weights).sum(-1).double().cumsum(-1)  # (B, blocks)
    target = uniform[:, None] * cumulated[:, -1:]
    block = _beyond(cumulated, target)
    before = torch.where(block > 0, cumulated.gather(1, (block - 1).clamp_min(0)), 0.0)
    inside = _by_blocks(weights)[torch.arange(len(weights), device=weights.device), block[:, 0]]
    return (block * BLOCK + _beyond(inside.double().cumsum(-1), target - before))[:, 0]


def _beyond(cumulated: Tensor, target: Tensor) -> Tensor:
    """(B, 1): the first index whose sum is above `target`; where rounding leaves none, the last that added anything."""
    last = torch.searchsorted(cumulated, cumulated[:, -1:].contiguous())
    return torch.searchsorted(cumulated, target, right=True).minimum(last)


def _adjusted(logits: Tensor, turn: Turn, temperature: float) -> Tensor:
    """Logits (V,) at the temperature, with penalties and biases (which count before it) and without tokens that are not allowed."""
    rules, z = turn.rules, logits * temperature
    if rules.repetition_penalty != 1:
        seen = torch.from_numpy(np.unique(np.concatenate([turn.prompt, np.asarray(turn.drawn, dtype=np.int64)]))).to(z.device)
        values = z[seen]
        z[seen] = torch.where(values > 0, values / rules.repetition_penalty, values * rules.repetition_penalty)
    if turn.drawn and (rules.presence_penalty or rules.frequency_penalty):
        ids, counts = (torch.from_numpy(x).to(z.device) for x in np.unique(np.asarray(turn.drawn, dtype=np.int64), return_counts=True))
        z[ids] -= rules.presence_penalty + rules.frequency_penalty * counts.to(z.dtype)
    for token, bias in rules.logit_bias.items():
        z[token] += bias
    if turn.allowed is not None:
        z.masked_fill_(torch.from_numpy(~turn.allowed[: len(z)]).to(z.device), float("-inf"))
    return z / temperature


def _cut(weights: Tensor, rows: Sequence[int], rules: Sequence[DrawRules]) -> None:
    """Zero the weights that top-k, then top-p of what that leaves, then min-p leave out. Tokens as likely as the last kept stay."""
    whole = len(rows) == len(weights)
    part = weights if whole else weights[list(rows)]
    column = part.new_tensor
    if any(r.top_k for r in rules):
        k = min(max(r.top_k for r in rules), part.shape[1])
        ordered = part.topk(k, -1).values
        at = torch.tensor([[min(r.top_k or k, k) - 1] for r in rules], device=part.device)
        least = torch.where(column([[r.top_k] for r in rules]) > 0, ordered.gather(1, at), 0.0)
        part.masked_fill_(part < least, 0.0)
    if any(r.top_p < 1 for r in rules):
        share = torch.tensor([[r.top_p] for r in rules], dtype=torch.float64, device=part.device)
        part.masked_fill_(part < _least_of_top_p(part, share), 0.0)
    if any(r.min_p for r in rules):
        part.masked_fill_(part < column([[r.min_p] for r in rules]) * part.amax(-1, keepdim=True), 0.0)
    if not whole:
        weights[list(rows)] = part


def _least_of_top_p(weights: Tensor, share: Tensor) -> Tensor:
    """(B, 1): the smallest weight that is kept. Kept are those with less than `share` (B, 1) of the sum before them.

    Tokens below (1 - share) / V of the sum hold less than 1 - share together, so they need no sorting.
    """
    total = weights.double().sum(-1, keepdim=True)
    candidates = int((weights > total * (1 - share).clamp_min(0) / weights.shape[1]).sum(-1).max())
    ordered = weights.sort(-1, descending=True).values if candidates > SORTED_WHOLE else weights.topk(max(candidates, 1), -1).values
    before = ordered.double().cumsum(-1) - ordered.double()
    kept = (before < share * total).sum(-1, keepdim=True).clamp_min(1)
    return torch.where(share < 1, ordered.gather(1, kept - 1), 0.0)


def _tops(logprobs: Tensor, apart: Sequence[int], turns: Sequence[Turn]) -> dict[int, tuple[tuple[int, float], ...]]:
    """The likeliest tokens of the rows that want them."""
    found = {}
    for k, i in enumerate(apart):
        if turns[i].num_top:
            best = logprobs[k].topk(turns[i].num_top)
            found[i] = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return found
