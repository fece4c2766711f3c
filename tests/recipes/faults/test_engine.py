"""Faults 7, 8, 11, 27, 28 and 29: what only shows once numbers are computed, seeded by methods of a user's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.testing import toy_conversations, toy_model, write_jsonl

METHOD = '''"""A method with a fault."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from luthier.batches.examples import Example, Lot
from luthier.batches.rows import Rows
from luthier.methods.base import Method, NoState
from luthier.spec.base import Spec


class Config(Spec):
    """Nothing to set."""


class Faulty(Method[Config, NoState]):
    """A fault."""

'''

SCORED = "-rows.per_row(rows.weights * self.policy.score(rows).logprobs)"
SAMPLED = """
    on_policy: ClassVar[bool] = True
    rows_per_prompt, prompts_per_lot = 1, 4

    def collect(self, examples: Sequence[Example], state: NoState, number: int) -> Lot:
        drawn = self.policy.sample([e.prompt for e in examples], 1, 6, 1.0, (number,))
        lot = Lot(tuple(e.answered(group[0].ids) for e, group in zip(examples, drawn, strict=True)))
        return Lot(lot.examples, {}, {"old": self.policy.column(lot, TEMPERATURE)})

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        logprobs = self.policy.score(rows, temperature=SCORED_AT).logprobs
        return {"loss": -rows.per_row((logprobs - rows.columns["old"]).exp())}
"""
REFERENCE = """
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def __init__(self, config, roles, order) -> None:
        super().__init__(config, roles, order)
        root = self.policy.root
        CHANGE

    def collect(self, examples: Sequence[Example], state: NoState, number: int) -> Lot:
        lot = Lot(tuple(examples))
        return Lot(lot.examples, {}, {"reference": self.roles.reference.column(lot)})

    def loss(self, rows: Rows) -> dict[str, Tensor]:
        return {"loss": -rows.per_row(self.policy.score(rows).logprobs - rows.columns["reference"])}
"""


def loss(body: str) -> str:
    return f"    def loss(self, rows: Rows) -> dict[str, Tensor]:\n        {body}\n"


@pytest.fixture
def counting(bench: Any) -> Any:
    """Short rows, four a step, in streams of one or two rows."""
    bench.rows = toy_conversations(8)
    bench.set("train.token_budget", 96)
    return bench


def learn(bench: Any, method: str) -> int:
    path = bench.folder / "faulty.py"
    path.write_text(METHOD + method, encoding="utf-8")
    bench.set("method", str(path))
    return int(bench.train())


def record(bench: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.out / "record.json").read_text(encoding="utf-8"))
    return found


LEAKS = [
    ("7 an average over each stream", f"return {{'loss': {SCORED} / len(rows)}}"),
    ("7 an average over each stream's tokens", f"return {{'loss': {SCORED} / rows.weights.sum()}}"),
    ("8 rows that see each other", f"losses = {SCORED}; return {{'loss': losses * losses.detach().mean()}}"),
    ("8 rows that see the row before", f"losses = {SCORED}; return {{'loss': losses * (1 + losses.roll(1).detach() / 100)}}"),
]


@pytest.mark.parametrize("name, body", LEAKS, ids=[name.replace(" ", "-") for name, _ in LEAKS])
def test_what_depends_on_the_cutting_fails_the_certificate(counting: Any, name: str, body: str):
    assert learn(counting, loss(body)) == 1
    assert "The certificate failed at step 0" in counting.printed and "must not be used" in counting.printed, name
    assert record(counting)["status"] == "failed"


LATE = """
    def is_late(self) -> bool:
        '''After the first step and outside the certificate, which perturbs the weights by more than a step at this rate does.'''
        largest = max(float(p.detach().abs().max()) for name, p in self.policy.root.model.named_parameters() if "lora_B" in name)
        return self.policy.root.training and 0 < largest < 0.02
"""


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_no_number_fails_the_run_and_keeps_the_last_good_weights(counting: Any, value: str):
    counting.set("checkpoints.every", 1)
    counting.set("train.max_steps", 4)
    counting.set("optimizer.learning_rate", 1e-3)
    assert learn(counting, loss(f"return {{'loss': {SCORED} * (float('{value}') if self.is_late() else 1)}}") + LATE) == 1
    assert f"Step 2: the loss is {value}" in counting.printed
    found = record(counting)
    assert found["status"] == "failed" and "Step 2" in found["reason"]
    assert json.loads(next(counting.out.glob("checkpoints/*1/state.json")).read_text())["step"] == 1


RATIOS = [
    ("sampled at 0.7, scored at 1", "0.7", "1.0", True),
    ("sampled at 1, scored at 1.3", "1.0", "1.3", True),
    ("one temperature", "1.0", "1.0", False),
    ("one other temperature", "0.7", "0.7", False),
]


@pytest.mark.parametrize("name, drawn, scored, faulty", RATIOS, ids=[name.replace(" ", "-") for name, *_ in RATIOS])
def test_the_ratio_is_one_before_the_first_step(counting: Any, name: str, drawn: str, scored: str, faulty: bool):
    code = learn(counting, SAMPLED.replace("TEMPERATURE", drawn).replace("SCORED_AT", scored))
    assert ("the ratio π / π_old is off 1" in counting.printed) is faulty, (name, counting.printed)
    assert (code == 1) is faulty


def test_dropout_in_a_method_that_compares_the_policy_with_itself(counting: Any):
    counting.set("adapter.dropout", 0.1)
    assert learn(counting, SAMPLED.replace("TEMPERATURE", "1.0").replace("SCORED_AT", "1.0")) == 1
    assert "dropout makes another model each time" in counting.printed
    assert not counting.out.exists()


CHANGES = [
    ("a base that is another", "torch.nn.init.normal_(self.roles.reference.root.model.get_input_embeddings().weight, std=0.1)", "full"),
    ("an adapter that does not start at zero", "[p.data.add_(0.1) for n, p in root.model.named_parameters() if 'lora_B' in n]", "lora"),
]


@pytest.mark.parametrize("name, change, adapter", CHANGES, ids=[name.replace(" ", "-") for name, *_ in CHANGES])
def test_the_reference_is_what_the_policy_starts_from(counting: Any, name: str, change: str, adapter: str):
    counting.set("adapter", adapter)
    assert learn(counting, REFERENCE.replace("CHANGE", change)) == 1
    assert "the reference is not what the policy starts from" in counting.printed, name
    counting.out = counting.folder / "sound"
    assert learn(counting, REFERENCE.replace("CHANGE", "pass")) == 0


def test_a_recurrent_model_is_found_out_by_the_probe(counting: Any, tmp_path: Path):
    """Its state would carry one packed row into the next: it gets a row a forward, and the record says why."""
    shape = {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1, "expand": 2}
    counting.model = toy_model(tmp_path / "mamba2", "mamba2", **shape)
    assert counting.train() == 0, counting.printed
    packing = record(counting)["packing"]
    assert packing["tier"] == 3 and "tier 1: " in packing["reason"]


def test_a_row_twice_in_a_real_step_counts_twice_and_no_more(counting: Any):
    """The certificate holds where rows repeat: sharing them is no leak."""
    write_jsonl(counting.data, [*toy_conversations(4), *toy_conversations(4)])
    assert counting.train() == 0
    assert all(finding["passed"] for finding in record(counting)["certificate"])
