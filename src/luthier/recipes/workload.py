"""How much a run computes: what its largest stream holds, and how many tokens there are in all."""

import math
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from luthier.batches.examples import Example, Examples, column
from luthier.batches.judged import BETTER_FIRST
from luthier.batches.packing import Packing
from luthier.batches.plan import cut
from luthier.batches.streams import num_computed
from luthier.engine import lots
from luthier.methods.base import Method, Order, Roles
from luthier.models.sample import MAX_SEQUENCES
from luthier.models.sample import TOKEN_BUDGET as DRAWN_AT_ONCE
from luthier.recipes.components import Parts
from luthier.recipes.stand_in import Drawing, Load, RowShape, prompt
from luthier.spec.run import RunSpec
from luthier.text.folder import DEFAULT_CONTEXT

LOOKED_AT = 48
"""Steps that are cut into streams to find the largest; the longest row is looked at besides."""

ASSUMED_ROWS = 1000
"""Rows of a run whose data are not named."""

ASSUMED_SHARED = 1 / 3
"""Of a judged answer's tokens those of its prompt, where no data are named."""

ASSUMED_PROMPT = 128
"""Tokens of a prompt to be answered, where no data are named."""


@dataclass(frozen=True)
class Workload:
    """`num_tokens`, `num_scored` of one pass over the rows, shared beginnings once; `passes` may be a fraction where steps are limited.

    `scored_apart`: tokens of all forwards without gradient, of references, critics and what was drawn. `drawn`: tokens that the policy
    draws in all. Where it draws, a pass is one over what it drew.
    """

    num_rows: int
    num_tokens: int
    num_scored: int
    passes: float
    num_steps: int
    longest: int
    validation_rows: int
    num_validations: int
    load: Load
    scored_apart: float = 0.0
    drawn: float = 0.0

    def within(self, spec: RunSpec, budget: int) -> "Workload":
        """The same rows under another token budget or greatest length, as if a step's rows fill streams."""
        limit = min(self.longest, spec.data.max_length or self.longest)
        drawing = self.load.drawing
        rows = self.num_rows * (drawing.answers if drawing else 1)
        a_step = self.num_tokens / max(1, rows) * spec.train.batch_size
        shorter = replace(self.load, longest=max(1, min(self.load.longest, limit - (drawing.length if drawing else 0))))
        largest = max(shorter.row_tokens, round(min(budget, a_step * (1 + self._spread))))
        if largest == self.load.num_tokens and limit == self.longest:
            return self
        share = self.load.num_scored / max(1, self.load.num_tokens)
        streams = max(1, math.ceil(a_step / budget))
        certified = tuple(min(n, limit) for n in self.load.certified)
        scored = max(1, round(share * largest))
        load = replace(shorter, num_tokens=largest, num_scored=scored, num_streams=streams, certified=certified)
        return replace(self, longest=limit, load=load)

    @property
    def _spread(self) -> float:
        """How much larger the largest step may be than the average one."""
        return 0.25 if self.num_steps > 1 else 0.0


def of_examples(spec: RunSpec, parts: Parts, examples: Examples, num_validation: int, budget: int) -> Workload:
    """Of real rows, cut as the run will cut them."""
    if parts.draws:
        return _of_prompts(spec, parts, examples, num_validation, budget)
    tokens, trained = column(examples, "num_tokens"), column(examples, "num_trained")
    draws = np.random.default_rng(spec.train.seed).permutation(len(examples))
    size = min(spec.train.batch_size, len(examples))
    steps = [draws[start : start + size] for start in range(0, len(examples) - size + 1, size)][:LOOKED_AT]
    largest, num_streams, computed, seen = (0, 1), 1, 0, 0
    for index in steps:
        rows = [examples[int(i)] for i in index]
        streams = cut(rows, budget, Packing(1))
        num_streams = max(num_streams, len(streams))
        computed += sum(micro.num_tokens for micro in streams)
        seen += int(tokens[index].sum())
        largest = max(largest, *((micro.num_tokens, int(trained[index][micro.index].sum())) for micro in streams))
    longest = int(np.argmax(tokens))
    alone = num_computed([s.ids for s in examples[longest].sequences], share=True)
    largest = max(largest, (alone, int(trained[longest])))
    in_all = _steps(spec, len(examples))
    sample = _sample(examples)
    a_pass = round(int(tokens.sum()) * computed / max(1, seen))
    passes = in_all * spec.train.batch_size / len(examples) if spec.train.max_steps else float(spec.train.epochs)
    shape = _shape(sample)
    load = Load(*largest, int(examples[longest].longest), num_streams, _certified(spec, sample), num_validation > 0, shape)
    return Workload(
        num_rows=len(examples),
        num_tokens=a_pass,
        num_scored=int(trained.sum()),
        passes=passes,
        num_steps=in_all,
        longest=load.longest,
        validation_rows=num_validation,
        num_validations=_validations(spec, in_all) if num_validation else 0,
        load=load,
        scored_apart=_scored_apart(parts, a_pass, passes),
    )


def _scored_apart(parts: Parts, a_pass: int, passes: float) -> float:
    """A reference scores the data once; KTO scores each row's answer and another row's, and the latter again in each step."""
    if "reference" not in parts.needs:
        return 0.0
    return a_pass * (2 + passes) if parts.method.refresh is not Method.refresh else float(a_pass)


def _of_prompts(spec: RunSpec, parts: Parts, examples: Seq[Example], num_validation: int, budget: int) -> Workload:
    """Of prompts that the policy answers, each answer as long as it may be."""
    lengths = np.array([len(examples[int(i)].prompt) for i in _places(examples, 4096)])
    return _of_drawn(spec, parts, examples, lengths, num_validation, budget)


def _of_drawn(spec: RunSpec, parts: Parts, examples: Seq[Example], lengths: np.ndarray, num_validation: int, budget: int) -> Workload:
    method = parts.method(parts.method_config, Roles(cast(Any, None)), Order(spec.train.batch_size, spec.train.seed, _weights(spec)))
    planned, longest, mean = lots.plan(method, examples, spec.train), int(lengths.max()), float(lengths.mean())
    length: int = parts.method_config.rollout.max_new_tokens  # type: ignore[attr-defined]
    demonstrates = parts.learns == "prompts and answers"
    shown = max((example.longest for example in _sample(examples)), default=0) if demonstrates else 0
    answers = method.rows_per_prompt - demonstrates
    at_once = max(1, min(MAX_SEQUENCES, method.prompts_per_lot * answers, int(DRAWN_AT_ONCE / (length + longest / answers))))
    a_prompt, rows = mean + method.rows_per_prompt * length, len(examples) * method.rows_per_prompt
    a_step = a_prompt * spec.train.batch_size / method.rows_per_prompt
    largest = max(longest + length, round(min(budget, a_step + longest)))
    passes = planned.total_steps * spec.train.batch_size / rows
    visits = passes / planned.epochs * len(examples)  # of prompts, each answered anew
    load = Load(
        num_tokens=largest,
        num_scored=round(largest * (1 - mean / a_prompt)),
        longest=longest,
        num_streams=math.ceil(a_step / budget),
        certified=tuple(sorted((int(n) for n in lengths[:64]), reverse=True)[: spec.certificate.rows]),
        validates=num_validation > 0,
        drawing=Drawing(answers, length, method.prompts_per_lot, at_once, shown),
    )
    return Workload(
        num_rows=len(examples),
        num_tokens=round(len(examples) * a_prompt),
        num_scored=rows * length,
        passes=passes,
        num_steps=planned.total_steps,
        longest=longest + length,
        validation_rows=num_validation,
        num_validations=_validations(spec, planned.total_steps) if num_validation else 0,
        load=load,
        scored_apart=visits * (a_prompt * (1 + len(parts.needs & {"reference", "critic"})) + mean),
        drawn=visits * answers * length,
    )


def assumed(spec: RunSpec, parts: Parts, config: Any, budget: int) -> Workload:
    """Where no data are named: rows as long as they may be, but no longer than the budget, every token scored; prompts of usual length."""
    context = getattr(config.get_text_config(), "max_position_embeddings", None) or DEFAULT_CONTEXT
    length = min(spec.data.max_length or context, context, budget)
    rows = ASSUMED_ROWS
    if parts.draws:
        size = min(ASSUMED_PROMPT, length)
        return _of_drawn(spec, parts, [prompt(0, size)] * rows, np.full(rows, size), 0, budget)
    shape, epochs = _assumed_shape(parts), float(spec.train.epochs)
    longest = max(2, int(length / shape.sequences))
    scored = budget if shape.branches == 1 else round(budget * (1 - ASSUMED_SHARED))
    load = Load(budget, scored, longest, 2, (min(longest, 128),) * spec.certificate.rows, False, shape)
    return Workload(
        rows,
        rows * length,
        rows * (length - 1),
        epochs,
        _steps(spec, rows),
        longest,
        0,
        0,
        load,
        _scored_apart(parts, rows * length, epochs),
    )


def _assumed_shape(parts: Parts) -> RowShape:
    kinds = parts.method.rows
    if "Preference" in kinds:
        return RowShape(2, ASSUMED_SHARED, {"ranks": BETTER_FIRST})
    return RowShape(facts={"good": True}) if "Thumb" in kinds else RowShape()


def _places(examples: Seq[Example], most: int) -> np.ndarray:
    return np.linspace(0, len(examples) - 1, min(len(examples), most)).astype(int)


def _sample(examples: Seq[Example]) -> list[Example]:
    return [examples[int(i)] for i in _places(examples, 64)]


def _shape(sample: list[Example]) -> RowShape:
    """As many answers as the row with most of them has, of whose tokens so many are shared as on average."""
    most = max(sample, key=lambda example: len(example.sequences))
    branches = len(most.sequences)
    whole = [e for e in sample if len(e.sequences) > 1]
    facts = {name: most.facts[name] for name in ("ranks", "good", "scores") if name in most.facts}
    if branches == 1 or not whole:
        return RowShape(facts=facts)
    saved = [(e.num_tokens - num_computed([s.ids for s in e.sequences], share=True)) / (len(e.sequences) - 1) for e in whole]
    lengths = [e.num_tokens / len(e.sequences) for e in whole]
    return RowShape(branches, min(0.95, sum(saved) / sum(lengths)), facts)


def _certified(spec: RunSpec, sample: list[Example]) -> tuple[int, ...]:
    """Lengths as the certificate chooses them, with the longest among candidates."""
    lengths = sorted((e.longest for e in sample), reverse=True)
    return tuple(lengths[:1] + lengths[len(lengths) // 2 :][: spec.certificate.rows - 1])


def _weights(spec: RunSpec) -> tuple[float, ...]:
    return tuple(source.weight for source in spec.data.train) or (1.0,)


def _steps(spec: RunSpec, num_rows: int) -> int:
    steps = math.ceil(num_rows / spec.train.batch_size) * spec.train.epochs
    return min(steps, spec.train.max_steps or steps)


def _validations(spec: RunSpec, num_steps: int) -> int:
    every = spec.evaluation.every or max(1, math.ceil(num_steps / 10))
    return 1 + (spec.train.epochs if every == "epoch" else math.ceil(num_steps / every))
