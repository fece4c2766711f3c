"""Cutting the rows of an optimizer step into streams: a pure function of the rows, the token budget and what the model allows."""

from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace

import numpy as np

from luthier.batches.examples import Example
from luthier.batches.packing import Packing
from luthier.batches.streams import lexical_order, num_computed


@dataclass(frozen=True)
class MicroBatch:
    """Rows of one stream, as indices into the step's rows. `over_budget`: a single row that alone exceeds the token budget.

    `idle`: computed by a process that has nothing left, because the others still compute. It counts nothing.
    """

    index: np.ndarray
    num_tokens: int
    over_budget: bool = False
    idle: bool = False


FEW = 8
"""Streams for each process up to which they are cut anew, so that all processes have as much to do."""


def cut(examples: Seq[Example], token_budget: int, packing: Packing) -> list[MicroBatch]:
    """Cut between rows so that each stream computes at most `token_budget` tokens.

    Rows with a common beginning are kept together where they fit; a row over the budget runs alone and is marked.
    """
    token_budget = min(token_budget, packing.max_tokens or token_budget)
    examples = tuple(examples)  # each is looked at several times: from the disk it is read once
    return [batch for rows in _compatible(examples, packing) for batch in _fill(examples, rows, token_budget, packing)]


def shares(examples: Seq[Example], token_budget: int, packing: Packing, processes: int) -> list[list[MicroBatch]]:
    """The streams of a step for each of so many processes: as many for each, with about as many tokens. For one, those of `cut`."""
    micros = cut(examples, token_budget, packing)
    if processes == 1 or not micros:
        return [micros] * processes
    turns = -(-len(micros) // processes)
    if turns <= FEW:
        micros = _evened(examples, token_budget, packing, micros, turns * processes)
    found: list[list[MicroBatch]] = [[] for _ in range(processes)]
    for micro in sorted(micros, key=lambda micro: -micro.num_tokens):
        min((share for share in found if len(share) < turns), key=lambda share: sum(m.num_tokens for m in share)).append(micro)
    smallest = min(range(len(examples)), key=lambda i: examples[i].num_tokens)
    idle = MicroBatch(np.array([smallest]), examples[smallest].num_tokens, idle=True)
    return [share + [idle] * (turns - len(share)) for share in found]


def _evened(examples: Seq[Example], token_budget: int, packing: Packing, micros: list[MicroBatch], most: int) -> list[MicroBatch]:
    """At most `most` streams, as small as they can be."""
    examples, total = tuple(examples), sum(micro.num_tokens for micro in micros)
    for eighths in range(9):
        budget = -(-total * (8 + eighths) // (8 * most))
        if budget >= token_budget:
            break
        smaller = cut(examples, budget, packing)
        if len(smaller) <= most:
            return [replace(micro, over_budget=micro.num_tokens > token_budget) for micro in smaller]
    return micros


def _compatible(examples: Seq[Example], packing: Packing) -> list[list[int]]:
    """Groups of rows that may share a stream, each in lexical order of the rows' first sequence."""
    groups: dict[int, list[int]] = {}
    for i in lexical_order([e.sequences[0].ids for e in examples]):
        side = -1 if packing.apart(examples[i]) else packing.side(examples[i].longest)
        groups.setdefault(side, []).append(i)
    return [groups[side] for side in sorted(groups)]


def _fill(examples: Seq[Example], rows: list[int], token_budget: int, packing: Packing) -> list[MicroBatch]:
    filled: list[MicroBatch] = []
    current: list[int] = []
    computed = 0
    for i in rows:
        together = _count(examples, current, i, computed, packing)
        if current and together > token_budget:
            filled.append(MicroBatch(np.array(current), computed, computed > token_budget))
            current, together = [], _count(examples, [], i, 0, packing)
        current.append(i)
        computed = together
    return [*filled, MicroBatch(np.array(current), computed, computed > token_budget)]


def _count(examples: Seq[Example], rows: list[int], new: int, before: int, packing: Packing) -> int:
    """Tokens that a stream of `rows` (which computes `before`) computes with the row `new` added."""
    example = examples[new]
    if not packing.share(packing.apart(example)):
        return before + example.num_tokens
    if len(example.sequences) == 1 and rows and len(examples[rows[-1]].sequences) == 1:  # in lexical order the neighbour tells
        pair = [examples[rows[-1]].sequences[0].ids, example.sequences[0].ids]
        return before + num_computed(pair, share=True) - len(pair[0])
    return num_computed([s.ids for i in [*rows, new] for s in examples[i].sequences], share=True)
