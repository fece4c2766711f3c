"""The models a method asks for, as one base with adapters and heads plays them."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq

import numpy as np
import torch
from torch import Tensor

from luthier.batches.answers import Answer
from luthier.batches.examples import Lot
from luthier.batches.plan import MicroBatch, shares
from luthier.batches.rows import Rows, rows_of
from luthier.losses.logprobs import Scores
from luthier.models.constraint import LogitsMask
from luthier.models.draw import DrawRules
from luthier.models.forward import Root, evaluating
from luthier.models.requests import Request
from luthier.models.sample import sample_all
from luthier.models.world import ALONE, World

TOKEN_BUDGET = 2048
"""Tokens computed at once where a whole lot is scored."""


class PolicyModel:
    """What learns: the base with the adapter `adapter`, or the base itself where `adapter` is None (full tuning).

    `masks`: makes what holds an answer to a form while it is drawn, one for each answer.

    Here and below, what is asked of a whole lot, and samples, are the work of all processes of `world`, each doing its share.
    """

    def __init__(
        self,
        root: Root,
        adapter: str | None,
        seed: int = 0,
        token_budget: int = TOKEN_BUDGET,
        world: World = ALONE,
        masks: Callable[[], LogitsMask] | None = None,
    ) -> None:
        self.root, self.adapter, self.seed, self.token_budget, self.world, self.masks = root, adapter, seed, token_budget, world, masks

    def score(self, rows: Rows, temperature: float = 1.0, entropy: bool = False, correct: bool = False) -> Scores:
        return self.root.score(rows.stream, self.adapter, temperature, entropy, correct)

    def column(self, lot: Lot, temperature: float = 1.0) -> Tensor:
        return token_column(self.root, lot, self.token_budget, lambda rows: self.score(rows, temperature).logprobs, self.world)

    def sample(
        self, prompts: Seq[np.ndarray], n: int, max_new_tokens: int, temperature: float, address: tuple[int, ...], top_p: float = 1.0
    ) -> list[list[Answer]]:
        """`n` answers to each prompt; what they share is computed once."""
        rules, stops, world = DrawRules(temperature, top_p), self.root.stop_ids, self.world
        own = range(world.rank, len(prompts), world.size)
        requests = [
            Request(prompts[i], max_new_tokens, rules, self.adapter, (self.seed, *address, i, j), stops, mask=self.masks and self.masks())
            for i in own
            for j in range(n)
        ]
        answers = sample_all(self.root, requests)
        found = world.gather([answers[k * n : (k + 1) * n] for k in range(len(own))])
        return [found[i % world.size][i // world.size] for i in range(len(prompts))]


class ReferenceModel:
    """What the policy was at the start of the run, frozen: scores without gradient."""

    def __init__(self, root: Root, adapter: str | None, token_budget: int = TOKEN_BUDGET, world: World = ALONE) -> None:
        self.root, self.adapter, self.token_budget, self.world = root, adapter, token_budget, world

    @torch.no_grad()
    def score(self, rows: Rows, temperature: float = 1.0, entropy: bool = False, correct: bool = False) -> Scores:
        with evaluating(self.root):
            return self.root.score(rows.stream, self.adapter, temperature, entropy, correct)

    def column(self, lot: Lot, temperature: float = 1.0) -> Tensor:
        return token_column(self.root, lot, self.token_budget, lambda rows: self.score(rows, temperature).logprobs, self.world)


class ScalarModel:
    """A critic or a reward model: the base with an adapter and a scalar head."""

    def __init__(self, root: Root, adapter: str | None, head: str, token_budget: int = TOKEN_BUDGET, world: World = ALONE) -> None:
        self.root, self.adapter, self.head, self.token_budget, self.world = root, adapter, head, token_budget, world

    def values(self, rows: Rows) -> Tensor:
        """(N,): V_t where token t is predicted."""
        return self.root.values(rows.stream, self.adapter, self.head)[0]

    def column(self, lot: Lot) -> Tensor:
        return self.column_and_ends(lot)[0]

    def score(self, rows: Rows) -> Tensor:
        """(S,): at each sequence's last token."""
        return self.root.values(rows.stream, self.adapter, self.head)[1]

    def ends(self, lot: Lot) -> Tensor:
        return self.column_and_ends(lot)[1]

    def column_and_ends(self, lot: Lot) -> tuple[Tensor, Tensor]:
        """`values` (N,) and `score` (S,) of all of `lot`, by row and sequence, from one forward: on the CPU in fp32, without gradient or
        dropout."""
        tokens, sequences = lot.token_offsets, np.concatenate([[0], np.cumsum([len(example.sequences) for example in lot.examples])])
        column, ends = torch.zeros(int(tokens[-1])), torch.zeros(int(sequences[-1]))
        for micro, rows in micro_batches(self.root, lot, self.token_budget, self.world):
            values, last = self.root.values(rows.stream, self.adapter, self.head)
            if not micro.idle:
                column[_places(tokens, micro.index)] = values.float().cpu()
                ends[_places(sequences, micro.index)] = last.float().cpu()
        return self.world.add_up(column), self.world.add_up(ends)


def token_column(root: Root, lot: Lot, token_budget: int, of: Callable[[Rows], Tensor], world: World = ALONE) -> Tensor:
    """`of`, (N,) of a micro-batch, over all of `lot`: a token column on the CPU in fp32, without gradient or dropout."""
    offsets = lot.token_offsets
    column = torch.zeros(int(offsets[-1]))
    for micro, rows in micro_batches(root, lot, token_budget, world):
        found = of(rows)
        if not micro.idle:
            column[_places(offsets, micro.index)] = found.float().cpu()
    return world.add_up(column)


def _places(offsets: np.ndarray, index: np.ndarray) -> Tensor:
    """Where the entries of the rows at `index` stand in a column, of which row i has those from `offsets[i]` on."""
    return torch.from_numpy(np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in index]))


def micro_batches(root: Root, lot: Lot, token_budget: int, world: World = ALONE) -> Iterator[tuple[MicroBatch, Rows]]:
    """This process's rows of `lot` in as many streams as the budget asks for, in evaluation mode and without gradient while they are
    computed on."""
    for micro in shares(lot.examples, token_budget, root.packing, world.size)[world.rank]:
        rows = rows_of(lot.take(micro.index), root.packing, root.device)
        with torch.no_grad(), evaluating(root):
            yield micro, rows
