"""What a model allows its rows to do together, and how its head makes logits: measured when it is loaded, never read off its name.

Two short rows run packed, with a shared beginning, and alone, in fp32, on a copy with the first layers of every type. The first tier
that agrees is taken.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from luthier.batches.examples import Example
from luthier.batches.packing import Packing
from luthier.batches.streams import build_stream
from luthier.data.seeded import generator as seeded
from luthier.losses.logprobs import HeadSpec
from luthier.models.crowd import Crowd
from luthier.models.forward import Root, body_of
from luthier.models.kept_prompts import KeptPrompts
from luthier.models.own_cache import OwnCaches
from luthier.text.sequence import Sequence

TOLERANCE = 1e-5
"""Largest relative difference of hidden states in fp32 that counts as equal."""

SMALL = 20_000_000
"""Models with no more parameters are probed with their own weights and vocabulary, larger ones with random weights of their shape."""

LENGTHS, SHARED, WINDOW = (71, 53), 40, 24
"""Tokens of the two rows and of their common beginning; windows and chunks are made this short, so that one row exceeds them."""


FED = 8
"""Tokens of the rows' ends that are fed one by one, as when they are drawn."""

FAILURES = (TypeError, ValueError, RuntimeError, IndexError, AttributeError)
"""What a model raises that cannot be run in some way."""


@dataclass(frozen=True)
class Probed:
    """The outcome: how rows may be packed, how logits are made (None: only the model itself knows), and why."""

    packing: Packing
    head: HeadSpec | None
    reason: str


def probe(model: PreTrainedModel) -> Probed:
    """Find the packing tier and the head of `model`, which is not changed."""
    small = probe_copy(model)
    thresholds, apart_beyond = position_regimes(model.config)
    rows = _rows(small.config.get_text_config().vocab_size, [*thresholds, *([apart_beyond] if apart_beyond else [])])
    alone = [_native_hidden(small, row.sequences[0].ids) for row in rows]
    findings = []
    tier = 3
    for candidate, packing in ((1, Packing(1)), (2, Packing(2))):
        difference = _difference(small, packing, rows, alone)
        findings.append(f"tier {candidate}: " + (difference if isinstance(difference, str) else f"differs by {difference:.1e}"))
        if isinstance(difference, float) and difference <= TOLERANCE:
            tier = candidate
            break
    # Above tier 1 the model's own attention runs, which may hold a mask of the size of its context.
    max_tokens = getattr(model.config.get_text_config(), "max_position_embeddings", None) if tier == 2 else None
    head = detect_head(small, rows[0].sequences[0].ids)
    packing = Packing(tier, thresholds, apart_beyond, max_tokens)
    difference = _difference_when_drawn(small, packing, head, [row.sequences[0].ids for row in rows])
    findings.append("drawn: " + (difference if isinstance(difference, str) else f"differs by {difference:.1e}"))
    packing = replace(packing, draws=isinstance(difference, float) and difference <= TOLERANCE)
    return Probed(packing, head, "; ".join(findings))


def position_regimes(config: PreTrainedConfig) -> tuple[tuple[int, ...], int | None]:
    """Lengths at which rotary positions change: thresholds (longrope), and the length beyond which each has its own (dynamic)."""
    text = config.get_text_config()
    parameters = getattr(text, "rope_parameters", None) or {}
    nested = [p for p in parameters.values() if isinstance(p, dict)] or [parameters]
    thresholds, beyond = set(), None
    for rope in nested:
        longest = getattr(text, "max_position_embeddings", None)
        original = rope.get("original_max_position_embeddings") or getattr(text, "original_max_position_embeddings", None) or longest
        if rope.get("rope_type") == "longrope" and original:
            thresholds.add(int(original))
        if rope.get("rope_type") == "dynamic" and longest:
            beyond = int(longest)
    return tuple(sorted(thresholds)), beyond


def probe_copy(model: PreTrainedModel) -> PreTrainedModel:
    """The first layers of `model` in fp32, with every type of layer among them; windows and chunks shortened."""
    config = copy.deepcopy(model.config)
    text = config.get_text_config()
    keep, again = _layers_needed(text), 1
    if getattr(text, "num_kv_shared_layers", 0):  # the layers that read another's keys: the same types once more
        again, text.num_kv_shared_layers = 2, keep
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == text.num_hidden_layers:
            setattr(text, name, value[:keep] * again)
    text.num_hidden_layers = keep * again
    for name in ("sliding_window", "attention_chunk_size", "window_size"):
        if isinstance(getattr(text, name, None), int):
            setattr(text, name, min(getattr(text, name), WINDOW))
    own_weights = again == 1 and sum(p.numel() for p in model.parameters()) <= SMALL
    if not own_weights:
        _shrink(text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation=model.config._attn_implementation
        )
    if own_weights:
        mine = model.state_dict()
        small.load_state_dict({name: mine[name].float() for name in small.state_dict()})
    small.eval()
    return small


def _layers_needed(text: PreTrainedConfig) -> int:
    """The shortest prefix with every layer type, at least two layers."""
    total: int = text.num_hidden_layers
    types = getattr(text, "layer_types", None)
    if not types:
        return min(total, 4)
    last_new: int = max(types.index(kind) for kind in set(types))
    return min(total, max(2, 1 + last_new))


def _shrink(text: PreTrainedConfig) -> None:
    """A small vocabulary, and random weights large enough that attention is not almost uniform."""
    text.vocab_size = min(text.vocab_size, 1024)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, name, None)
    if hasattr(text, "initializer_range"):
        text.initializer_range = 1.5 / math.sqrt(text.hidden_size)


def _rows(vocabulary: int, regimes: list[int]) -> list[Example]:
    """Two rows that share a beginning, both short of every change of positions, or else both beyond it."""
    longest, shortest = LENGTHS
    short_of = min([longest, *(r for r in regimes if r > SHARED + 1)])
    shortest -= longest - short_of
    lengths = (short_of, max(shortest, SHARED + 1)) if short_of > SHARED + 1 else LENGTHS
    generator = seeded(0, "probe")
    ids = [generator.integers(1, vocabulary, n) for n in lengths]
    ids[1][:SHARED] = ids[0][:SHARED]
    return [Example((Sequence(x.astype(np.int64), np.r_[0, np.ones(len(x) - 1)].astype(np.float32)),)) for x in ids]


@torch.no_grad()
def _native_hidden(model: PreTrainedModel, ids: np.ndarray) -> Tensor:
    hidden: Tensor = body_of(model)(input_ids=torch.from_numpy(ids)[None].to(model.device), use_cache=False).last_hidden_state[0]
    return hidden


@torch.no_grad()
def _difference(model: PreTrainedModel, packing: Packing, rows: list[Example], alone: list[Tensor]) -> float | str:
    """Relative difference of the worse row's hidden states, or why this tier does not even run."""
    root = Root(model, packing, HeadSpec())
    stream = build_stream(rows, packing)
    try:
        hidden = root.hidden(stream, None)
    except FAILURES as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
    worst = 0.0
    for number, expected in enumerate(alone):
        mine = stream.token_sequence == number  # every token but the first is scored, so reads cover all but the last
        got = hidden[stream.read_at[mine]]
        worst = _worse(worst, (got - expected[:-1]).norm() / expected[:-1].norm())
    return worst


@torch.no_grad()
def _difference_when_drawn(model: PreTrainedModel, packing: Packing, head: HeadSpec | None, rows: list[np.ndarray]) -> float | str:
    """The rows' last tokens fed one by one, to two sequences that share a beginning and one apart, against the model's own logits.

    Above tier 1 all three are as long as the shorter row. Returns the relative difference of the worse row, or why it does not even run.
    """
    root = Root(model, packing, head)
    length = None if packing.tier == 1 else min(map(len, rows))
    asked = [rows[0][:length], rows[0][:length], rows[1][:length]]
    worst = 0.0
    try:
        found = _fed_in_a_crowd(root, asked) if packing.tier == 1 else _fed_in_a_batch(root, asked)
    except FAILURES as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
    for number, ids in enumerate(asked):
        own = model(input_ids=torch.from_numpy(ids)[None].to(model.device), use_cache=False).logits[0, -FED - 1 :].float()
        worst = _worse(worst, (torch.stack([rows_of[number] for rows_of in found]) - own).norm() / own.norm())
    return worst


def _fed_in_a_crowd(root: Root, asked: list[np.ndarray]) -> list[Tensor]:
    """Logits (3, V) of the last `FED` + 1 places."""
    crowd = Crowd(root, KeptPrompts(0))
    members, read = crowd.join([(ids[:-FED], None) for ids in asked])
    found = [root.logits(read)]
    for step in range(FED):
        for member, ids in zip(members, asked, strict=True):
            member.newest = int(ids[step - FED])
        order, read = crowd.step()
        found.append(root.logits(read)[[[id(m) for m in order].index(id(member)) for member in members]])
    return found


def _fed_in_a_batch(root: Root, asked: list[np.ndarray]) -> list[Tensor]:
    """The same with the model's own cache."""
    caches = OwnCaches(root)
    members, logits = caches.join([(ids[:-FED], None) for ids in asked])
    found = [logits]
    for step in range(FED):
        for member, ids in zip(members, asked, strict=True):
            member.newest = int(ids[step - FED])
        found.append(caches.step(members))
    return found


@torch.no_grad()
def detect_head(model: PreTrainedModel, ids: np.ndarray) -> HeadSpec | None:
    """The scale and cap with which the head's product equals the model's own logits; None if none does."""
    tokens = torch.from_numpy(ids)[None].to(model.device)
    expected = model(input_ids=tokens, use_cache=False).logits[0].float()
    output = model.get_output_embeddings()
    if output is None or not isinstance(getattr(output, "weight", None), Tensor):
        return None
    product = torch.nn.functional.linear(_native_hidden(model, ids), output.weight, getattr(output, "bias", None)).float()
    for spec in _head_candidates(model.config.get_text_config()):
        logits = product * spec.scale
        if spec.softcap is not None:
            logits = spec.softcap * torch.tanh(logits / spec.softcap)
        if float((logits - expected).norm() / expected.norm()) <= TOLERANCE:
            return spec
    return None


def _head_candidates(text: PreTrainedConfig) -> list[HeadSpec]:
    """Scales and caps that configs are known to declare, each tried against the model's own logits."""
    known: list[tuple[str, Callable[[float], float]]] = [
        ("logits_scaling", lambda v: 1 / v),
        ("logit_scale", lambda v: v),
        ("lm_head_multiplier", lambda v: v),
    ]
    scales = [1.0] + [turn(value) for name, turn in known if isinstance(value := getattr(text, name, None), (int, float)) and value]
    cap = getattr(text, "final_logit_softcapping", None)
    caps = [None] if cap is None else [float(cap), None]
    return [HeadSpec(float(scale), softcap) for softcap in caps for scale in scales]


def _worse(worst: float, difference: Tensor) -> float:
    """The larger; what is no number is worse than any."""
    return max(worst, float(difference.nan_to_num(nan=float("inf"))))
