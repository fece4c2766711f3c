"""The models a method asks for, as one base with adapters and heads plays them."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from luthier.batches.answers import Answer
from luthier.batches.examples import Lot
from luthier.batches.plan import cut
from luthier.batches.rows import Rows, rows_of
from luthier.losses.logprobs import Scores
from luthier.models.forward import Root
from luthier.models.sample import sample

TOKEN_BUDGET = 2048
"""Tokens computed at once where a whole lot is scored."""


class PolicyModel:
    """What learns: the base with the adapter `adapter`, or the base itself where `adapter` is None (full tuning)."""

    def __init__(self, root: Root, adapter: str | None, seed: int = 0, token_budget: int = TOKEN_BUDGET) -> None:
        self.root, self.adapter, self.seed, self.token_budget = root, adapter, seed, token_budget

    def score(self, rows: Rows, temperature: float = 1.0, entropy: bool = False, correct: bool = False) -> Scores:
        return self.root.score(rows.stream, self.adapter, temperature, entropy, correct)

    def column(self, lot: Lot, temperature: float = 1.0) -> Tensor:
        return token_column(self.root, lot, self.token_budget, lambda rows: self.score(rows, temperature).logprobs)

    def sample(
        self, prompts: Seq[np.ndarray], n: int, max_new_tokens: int, temperature: float, address: tuple[int, ...]
    ) -> list[list[Answer]]:
        return [
            [
                sample(self.root, self.adapter, prompt, max_new_tokens, temperature, (self.seed, *address, i, j), self.root.stop_ids)
                for j in range(n)
            ]
            for i, prompt in enumerate(prompts)
        ]


class ReferenceModel:
    """What the policy was at the start of the run, frozen: scores without gradient."""

    def __init__(self, root: Root, adapter: str | None, token_budget: int = TOKEN_BUDGET) -> None:
        self.root, self.adapter, self.token_budget = root, adapter, token_budget

    @torch.no_grad()
    def score(self, rows: Rows, temperature: float = 1.0, entropy: bool = False, correct: bool = False) -> Scores:
        with evaluating(self.root):
            return self.root.score(rows.stream, self.adapter, temperature, entropy, correct)

    def column(self, lot: Lot, temperature: float = 1.0) -> Tensor:
        return token_column(self.root, lot, self.token_budget, lambda rows: self.score(rows, temperature).logprobs)


class ScalarModel:
    """A critic or a reward model: the base with an adapter and a scalar head."""

    def __init__(self, root: Root, adapter: str | None, head: str, token_budget: int = TOKEN_BUDGET) -> None:
        self.root, self.adapter, self.head, self.token_budget = root, adapter, head, token_budget

    def values(self, rows: Rows) -> Tensor:
        """(N,): V_t where token t is predicted."""
        return self.root.values(rows.stream, self.adapter, self.head)[0]

    def column(self, lot: Lot) -> Tensor:
        return token_column(self.root, lot, self.token_budget, self.values)

    def score(self, rows: Rows) -> Tensor:
        """(S,): at each sequence's last token."""
        return self.root.values(rows.stream, self.adapter, self.head)[1]


@torch.no_grad()
def token_column(root: Root, lot: Lot, token_budget: int, of: Callable[[Rows], Tensor]) -> Tensor:
    """`of`, (N,) of a micro-batch, over all of `lot`: a token column on the CPU in fp32, without dropout."""
    offsets = lot.token_offsets
    column = torch.empty(int(offsets[-1]))
    with evaluating(root):
        for micro in cut(lot.examples, token_budget, root.packing):
            places = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in micro.index])
            column[torch.from_numpy(places)] = of(rows_of(lot.take(micro.index), root.packing, root.device)).float().cpu()
    return column


@contextmanager
def evaluating(root: Root) -> Iterator[None]:
    """Evaluation mode, no dropout, for a while."""
    training = root.training
    root.eval()
    try:
        yield
    finally:
        root.train(training)
