"""Lots: which there are, and that one comes back from its file as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from luthier.batches.examples import Example, Lot
from luthier.batches.rows import Rows
from luthier.engine import lots
from luthier.engine.folder import RunFolder
from luthier.methods.base import Method, NoState, Order, Roles
from luthier.spec.base import Spec
from luthier.spec.run import LoopSpec
from luthier.text.sequence import Sequence


def example(*lengths: int, dataset: int = 0) -> Example:
    """Sequences of these lengths, all but their first two tokens scored."""
    return Example(tuple(Sequence(np.arange(n, dtype=np.int64), np.r_[0, 0, np.ones(n - 2)].astype(np.float32)) for n in lengths), dataset)


class Counting(Method[Spec, NoState]):
    """Two rows of each example, three examples a lot, and how often a lot was collected."""

    on_policy = True
    rows_per_prompt, prompts_per_lot = 2, 3
    collected = 0

    def collect(self, examples, state, number) -> Lot:
        self.collected += 1
        return Lot(tuple(e for e in examples for _ in range(2)), {"number": torch.full((2 * len(examples),), float(number))})

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        raise AssertionError("not asked for here")


@pytest.fixture
def method() -> Counting:
    return Counting(Spec(), Roles(None), Order(batch_size=4, seed=0))  # type: ignore[arg-type]


def test_an_on_policy_run_has_a_lot_for_every_few_examples(method: Counting):
    """8 examples, 3 a lot, twice: lots of 3, 3, 2; each of 2 · 3, 2 · 3, 2 · 2 rows, 4 a step: 2 + 2 + 1 steps an epoch."""
    plan = lots.plan(method, tuple(example(5) for _ in range(8)), LoopSpec(epochs=2, batch_size=4))
    assert [len(group) for group in plan.groups] == [3, 3, 2] * 2
    assert plan.total_steps == 2 * (2 + 2 + 1)
    for first in (0, 3):
        assert sorted(np.concatenate(plan.groups[first : first + 3]).tolist()) == list(range(8))
    assert lots.plan(method, plan.examples, LoopSpec(epochs=2, batch_size=4, max_steps=7)).total_steps == 7


def test_data_sets_mix_by_weight_in_lots_too():
    method = Counting(Spec(), Roles(None), Order(4, 0, (2.0, 1.0)))  # type: ignore[arg-type]
    plan = lots.plan(method, (*(example(5) for _ in range(3)), *(example(5, dataset=1) for _ in range(3))), LoopSpec(batch_size=4))
    shown = np.bincount(np.concatenate(plan.groups), minlength=6)
    assert shown.tolist() == [2, 2, 2, 1, 1, 1]


def test_a_lot_is_collected_once_and_then_read(method: Counting, tmp_path: Path):
    plan = lots.plan(method, tuple(example(5) for _ in range(8)), LoopSpec(batch_size=4))
    folder = RunFolder(tmp_path)
    first = plan.get(method, NoState(), 1, folder)
    assert plan.get(method, NoState(), 1, folder) is first
    again = lots.plan(method, plan.examples, LoopSpec(batch_size=4)).get(method, NoState(), 1, folder)
    assert method.collected == 1
    assert again.row_columns["number"].tolist() == first.row_columns["number"].tolist() == [1.0] * 6


def test_a_lot_comes_back_as_it_was(tmp_path: Path):
    lot = Lot((example(4, 6), example(3, dataset=1), example(5, 3, 4)), {"r": torch.randn(3, 2)}, {"t": torch.randn(2 + 4 + 1 + 3 + 1 + 2)})
    lots.write(lot, tmp_path / "lots/lot-000000.safetensors")
    again = lots.read(tmp_path / "lots/lot-000000.safetensors")
    assert [e.dataset for e in again.examples] == [0, 1, 0]
    for mine, theirs in zip(again.examples, lot.examples, strict=True):
        for a, b in zip(mine.sequences, theirs.sequences, strict=True):
            assert np.array_equal(a.ids, b.ids)
            assert np.array_equal(a.weights, b.weights)
    assert torch.equal(again.row_columns["r"], lot.row_columns["r"])
    assert torch.equal(again.token_columns["t"], lot.token_columns["t"])


def test_part_of_a_lot_takes_its_part_of_each_column():
    """Rows with 2, 1 and 3 scored tokens; rows 2 and 0 in that order have tokens 3 4 5 and 0 1."""
    lot = Lot((example(4), example(3), example(5)), {"r": torch.arange(3)}, {"t": torch.arange(6)})
    part = lot.take(np.array([2, 0]))
    assert part.row_columns["r"].tolist() == [2, 0]
    assert part.token_columns["t"].tolist() == [3, 4, 5, 0, 1]
