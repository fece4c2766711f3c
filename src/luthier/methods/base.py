"""The contract of a training method: what to collect and what to lose. Everything else is the engine's."""

from abc import ABC, abstractmethod
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from luthier.batches.answers import Answer
from luthier.batches.encode import Learns
from luthier.batches.examples import Example, Lot, column
from luthier.batches.order import num_steps, steps
from luthier.batches.rows import Rows
from luthier.losses.logprobs import Scores
from luthier.spec.base import Spec

OLD = "old"
"""Token column of a lot with the log-probabilities under which its answers were drawn. Where it is there, the ratio must begin at 1."""


class Scorer(Protocol):
    """A policy or a reference: log-probabilities (N,) of the scored tokens; of a reference, without gradient.

    `column` is for `collect`: the same of a whole lot as a token column, without gradient or dropout, in as many streams as fit.
    """

    def score(self, rows: Rows, temperature: float = 1.0, entropy: bool = False, correct: bool = False) -> Scores: ...
    def column(self, lot: Lot, temperature: float = 1.0) -> Tensor: ...


class Policy(Scorer, Protocol):
    """What learns. `sample` draws n answers to each prompt, addressed so that the same call draws the same answers."""

    def sample(
        self, prompts: Seq[np.ndarray], n: int, max_new_tokens: int, temperature: float, address: tuple[int, ...]
    ) -> list[list[Answer]]: ...


class Valuer(Protocol):
    """A critic: `values` (N,) at the positions that predict the scored tokens, and `column`, the same of a whole lot without gradient.

    A reward model in training: `score` (S,), one a sequence, read at its last token; `ends` the same of a whole lot without gradient.
    `column_and_ends`: both, from one forward.
    """

    def values(self, rows: Rows) -> Tensor: ...
    def column(self, lot: Lot) -> Tensor: ...
    def score(self, rows: Rows) -> Tensor: ...
    def ends(self, lot: Lot) -> Tensor: ...
    def column_and_ends(self, lot: Lot) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, eq=False)
class Rewards:
    """Of n answers, (n,) fp32 each: `total`, what is learned from; `parts`, what each reward gave; `check`, by one never learned from;
    `details`, what else rewards tell of them."""

    total: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    check: Tensor | None = None
    details: dict[str, Tensor] = field(default_factory=dict)


class Judge(Protocol):
    """The run's `reward` and `check`: how good answers are. `examples[i]` asked what `answers[i]` answers."""

    @property
    def checks(self) -> bool:
        """Whether there is a `check`."""
        ...

    def judge(self, examples: Seq[Example], answers: Seq[Answer]) -> Rewards: ...


@dataclass(frozen=True)
class Roles:
    """The models a method asked for. One base plays them all where it can.

    `scorer`: the policy's own weights with a scalar head, which a reward model is made of.
    """

    policy: Policy
    reference: Scorer | None = None
    critic: Valuer | None = None
    scorer: Valuer | None = None
    judge: Judge | None = None

    @property
    def checks(self) -> bool:
        """Whether answers are judged by a check besides."""
        return self.judge is not None and self.judge.checks


@dataclass(frozen=True)
class Order:
    """How rows follow each other: rows a step, seed, and the weight of each data set."""

    batch_size: int
    seed: int
    weights: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, eq=False)
class Measure:
    """A quantity to average over rows: `total` and `count`, both (R,)."""

    total: Tensor
    count: Tensor


CERTIFICATE, VALIDATION = -1, -2
"""Numbers of the lots that are collected but not learned from."""

TEXT_LOSS = "text_loss"
"""Name of the `Measure` from which validation makes bits per byte: -log π, unweighted, of the tokens that spell text (`Rows.is_text`)."""


class NoState(Spec):
    """For methods that remember nothing between lots."""


C = TypeVar("C", bound=Spec)
S = TypeVar("S", bound=Spec)


class Method(ABC, Generic[C, S]):
    """One training method. Its docstring is its equation and its paper; its file declares `Config` and this class's one subclass."""

    rows: ClassVar[tuple[str, ...]] = ("Conversation",)
    """Kinds of row (`spec/rows.py`) it learns from."""
    learns: ClassVar[Learns] = "answers"
    """Which tokens of a row are scored. See `learns_of`."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """Roles besides the policy: `reference`, `critic`, `scorer`, `judge`. See `needs_of`."""
    on_policy: ClassVar[bool] = False
    """Whether `collect` asks the policy (for samples, for log-probabilities): a lot at a time, with the policy as it is then."""

    rows_per_prompt: int = 1
    """On-policy: rows that `collect` makes of one example."""
    prompts_per_lot: int = 64
    """On-policy: examples of one lot."""

    def __init__(self, config: C, roles: Roles, order: Order) -> None:
        self.config, self.roles, self.order = config, roles, order
        self.policy = roles.policy

    @classmethod
    def needs_of(cls, config: C) -> frozenset[str]:  # noqa: ARG003  # for methods whose settings decide it
        """The roles that it needs with these settings."""
        return cls.needs

    @classmethod
    def learns_of(cls, config: C) -> Learns:  # noqa: ARG003  # for methods whose settings decide it
        """Which tokens of a row are scored with these settings."""
        return cls.learns

    def look(self, examples: Seq[Example]) -> None:
        """All training examples, once, before anything else is asked: for what depends on all of them, such as the scale of ratings."""

    def first_state(self) -> Spec:
        """What it remembers before the first lot."""
        return NoState()

    def lot_epochs(self, epochs: int) -> int:
        """Passes over one lot: the run's epochs where the lot is the data itself, else one."""
        return 1 if self.on_policy else epochs

    def collect(self, examples: Seq[Example], state: S, number: int) -> Lot:
        """Lot `number` from data rows, without gradient: sampled, scored, with whatever columns the loss needs.

        Off-policy one row is made of each example, on-policy `rows_per_prompt`. `CERTIFICATE` and `VALIDATION` are not learned from.
        """
        return Lot(examples)

    def refresh(self, lot: Lot) -> Lot:
        """The rows of one optimizer step, or of validation, with what depends on the policy as it is now; without gradient."""
        return lot

    def batches(self, lot: Lot, epoch: int) -> list[np.ndarray]:
        """Which rows of the lot make each optimizer step of an epoch, in which order. Pure."""
        return steps(column(lot.examples, "dataset"), self.order.weights, self.order.batch_size, self.order.seed, epoch)

    def num_batches(self, lot: Lot, epoch: int) -> int:
        """How many steps an epoch has; of a method with `batches` of its own they are made to be counted."""
        if type(self).batches is not Method.batches:
            return len(self.batches(lot, epoch))
        return num_steps(column(lot.examples, "dataset"), self.order.weights, self.order.batch_size, epoch)

    def coefficients(self) -> dict[str, float]:
        """How much each term counts; 1 where nothing is said, 0 for a term that is only to be seen among the metrics."""
        return {}

    def weights(self, lot: Lot) -> dict[str, Tensor]:
        """Per row and term (R,), from data alone: what the term's sum over a step is divided by. Default: the weights of scored tokens."""
        return {"loss": lot.token_weight}

    @abstractmethod
    def loss(self, rows: Rows) -> dict[str, Tensor]:
        """Per row and term (R,), summed over what the term counts."""

    @torch.no_grad()
    def measure(self, rows: Rows, weights: dict[str, Tensor]) -> dict[str, Measure]:
        """What validation reports. Default: the terms of the loss, over their `weights` (R,)."""
        return {name: Measure(term, weights[name]) for name, term in self.loss(rows).items()}

    def update(self, state: S, lot: Lot, metrics: dict[str, float]) -> S:
        """The state after a lot. `metrics`: each term's average over the lot's steps."""
        return state

    def worth(self, state: S, lot: Lot) -> float | None:
        """On-policy: what the weights that drew a new lot are worth, higher is better; the best are what an `alarm` takes back."""
        return None

    def alarm(self, state: S) -> str | None:
        """Why the run should stop now and take back its best weights, as a sentence; None where all is well. Asked after each `update`."""
        return None
