"""How much a run computes: what its largest stream holds, and how many tokens there are in all."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from luthier.batches.examples import Example, Examples, column
from luthier.batches.packing import Packing
from luthier.batches.plan import cut
from luthier.batches.streams import num_computed
from luthier.recipes.components import Parts
from luthier.recipes.rehearsal import Load
from luthier.spec.run import RunSpec
from luthier.text.folder import DEFAULT_CONTEXT

LOOKED_AT = 48
"""Steps that are cut into streams to find the largest; the longest row is looked at besides."""

ASSUMED_ROWS = 1000
"""Rows of a run whose data are not named."""


@dataclass(frozen=True)
class Workload:
    """`num_tokens`, `num_scored` of one pass over the rows, shared beginnings once; `passes` may be a fraction where steps are limited."""

    num_rows: int
    num_tokens: int
    num_scored: int
    passes: float
    num_steps: int
    longest: int
    validation_rows: int
    num_validations: int
    load: Load

    def within(self, spec: RunSpec, budget: int) -> "Workload":
        """The same rows under another token budget or greatest length, as if a step's rows fill streams."""
        limit = min(self.longest, spec.data.max_length or self.longest)
        a_step = self.num_tokens / max(1, self.num_rows) * spec.train.batch_size
        largest = max(limit, round(min(budget, a_step * (1 + self._spread))))
        if largest == self.load.num_tokens and limit == self.longest:
            return self
        share = self.load.num_scored / max(1, self.load.num_tokens)
        streams = max(1, math.ceil(a_step / budget))
        certified = tuple(min(n, limit) for n in self.load.certified)
        load = Load(largest, max(1, round(share * largest)), limit, streams, certified, self.load.validates)
        return replace(self, longest=limit, load=load)

    @property
    def _spread(self) -> float:
        """How much larger the largest step may be than the average one."""
        return 0.25 if self.num_steps > 1 else 0.0


def of_examples(spec: RunSpec, parts: Parts, examples: Examples, num_validation: int, budget: int) -> Workload:
    """Of real rows, cut as the run will cut them."""
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
    certified = _certified(spec, examples)
    load = Load(*largest, int(examples[longest].longest), num_streams, certified, num_validation > 0)
    return Workload(
        num_rows=len(examples),
        num_tokens=round(int(tokens.sum()) * computed / max(1, seen)),
        num_scored=int(trained.sum()),
        passes=in_all * spec.train.batch_size / len(examples) if spec.train.max_steps else float(spec.train.epochs),
        num_steps=in_all,
        longest=load.longest,
        validation_rows=num_validation,
        num_validations=_validations(spec, in_all) if num_validation else 0,
        load=load,
    )


def assumed(spec: RunSpec, config: Any, budget: int) -> Workload:
    """Where no data are named: rows as long as they may be, but no longer than the budget, every token scored."""
    context = getattr(config.get_text_config(), "max_position_embeddings", None) or DEFAULT_CONTEXT
    length = min(spec.data.max_length or context, context, budget)
    rows = ASSUMED_ROWS
    steps = _steps(spec, rows)
    load = Load(budget, budget, length, 2, (min(length, 128),) * spec.certificate.rows, validates=False)
    return Workload(rows, rows * length, rows * (length - 1), float(spec.train.epochs), steps, length, 0, 0, load)


def _certified(spec: RunSpec, examples: Examples) -> tuple[int, ...]:
    """Lengths as the certificate chooses them, with the longest among candidates."""
    sample: list[Example] = [examples[int(i)] for i in np.linspace(0, len(examples) - 1, min(len(examples), 64)).astype(int)]
    lengths = sorted((e.num_tokens for e in sample), reverse=True)
    return tuple(lengths[:1] + lengths[len(lengths) // 2 :][: spec.certificate.rows - 1])


def _steps(spec: RunSpec, num_rows: int) -> int:
    steps = math.ceil(num_rows / spec.train.batch_size) * spec.train.epochs
    return min(steps, spec.train.max_steps or steps)


def _validations(spec: RunSpec, num_steps: int) -> int:
    every = spec.evaluation.every or max(1, math.ceil(num_steps / 10))
    return 1 + math.ceil(num_steps / every)
