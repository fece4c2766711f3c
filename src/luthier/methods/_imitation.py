"""Demonstrations beside drawn answers: SFT and RLHF in one run (InstructGPT's PPO-ptx). https://arxiv.org/abs/2203.02155"""

from collections.abc import Sequence as Seq

import torch

from luthier.batches.examples import Example, Lot
from luthier.errors import TrainingFailed
from luthier.methods.base import OLD, Policy


def refuse_none(examples: Seq[Example]) -> None:
    """Raises `TrainingFailed` where no row has an answer of its own."""
    if not any(len(example.sequences) > 1 for example in examples):
        raise TrainingFailed("`method.ptx` is given, but no row is a conversation with an answer to imitate. Add some, or remove it.")


def with_demonstrations(drawn: Lot, examples: Seq[Example], policy: Policy, temperature: float) -> Lot:
    """The rows' own answers behind the drawn ones; what was found of drawn ones is 0 for them. Column `ptx`: 1 for a row's own answer."""
    shown = tuple(Example(example.sequences[1:], example.dataset, example.origin) for example in examples if len(example.sequences) > 1)
    ones, old = torch.ones(len(shown)), policy.column(Lot(shown), temperature)
    own = {"ptx": ones, "learns": ones * drawn.row_columns["learns"][:1], "prompt": len(examples) + torch.arange(len(shown))}
    return Lot(
        (*drawn.examples, *shown),
        {name: torch.cat([c, own.get(name, c.new_zeros(len(shown)))]) for name, c in drawn.row_columns.items()},
        {name: torch.cat([c, old if name == OLD else torch.zeros_like(old)]) for name, c in drawn.token_columns.items()},
        drawn.metrics,
    )
