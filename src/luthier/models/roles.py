"""The models a method asks for, as one base with adapters and heads plays them."""

from collections.abc import Sequence as Seq

import numpy as np
import torch
from torch import Tensor

from luthier.batches.rows import Rows
from luthier.losses.logprobs import Scores
from luthier.models.forward import Root
from luthier.models.sample import Sampled, sample


class PolicyModel:
    """What learns: the base with the adapter `adapter`, or the base itself where `adapter` is None (full tuning)."""

    def __init__(self, root: Root, adapter: str | None, seed: int = 0) -> None:
        self.root, self.adapter, self.seed = root, adapter, seed

    def score(self, rows: Rows, temperature: float = 1.0, entropy: bool = False, correct: bool = False) -> Scores:
        return self.root.score(rows.stream, self.adapter, temperature, entropy, correct)

    def sample(
        self, prompts: Seq[np.ndarray], n: int, max_new_tokens: int, temperature: float, address: tuple[int, ...]
    ) -> list[list[Sampled]]:
        return [
            [
                sample(self.root, self.adapter, prompt, max_new_tokens, temperature, (self.seed, *address, i, j), self.root.stop_ids)
                for j in range(n)
            ]
            for i, prompt in enumerate(prompts)
        ]


class ReferenceModel:
    """What the policy was at the start of the run, frozen: scores without gradient."""

    def __init__(self, root: Root, adapter: str | None) -> None:
        self.root, self.adapter = root, adapter

    @torch.no_grad()
    def score(self, rows: Rows, temperature: float = 1.0, entropy: bool = False, correct: bool = False) -> Scores:
        return self.root.score(rows.stream, self.adapter, temperature, entropy, correct)


class ScalarModel:
    """A critic or a reward model: the base with an adapter and a scalar head."""

    def __init__(self, root: Root, adapter: str | None, head: str) -> None:
        self.root, self.adapter, self.head = root, adapter, head

    def values(self, rows: Rows) -> Tensor:
        """(N,): V_t where token t is predicted."""
        return self.root.values(rows.stream, self.adapter, self.head)[0]

    def score(self, rows: Rows) -> Tensor:
        """(S,): at each sequence's last token."""
        return self.root.values(rows.stream, self.adapter, self.head)[1]
