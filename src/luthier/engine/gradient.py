"""The gradient of one optimizer step: Σ over terms of coef · Σ_rows loss / Σ_rows weight, in as many streams as the budget asks for.

The denominators are summed over the whole step before the first backward pass, so cutting and accumulating change nothing.
"""

from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

import torch

from luthier.batches.examples import Lot
from luthier.batches.packing import Packing
from luthier.batches.plan import shares
from luthier.batches.randomness import key
from luthier.batches.rows import rows_of
from luthier.errors import TrainingFailed
from luthier.methods.base import Method
from luthier.models.world import ALONE, World
from luthier.spec.base import Spec


@dataclass
class StepSums:
    """What a step added up: tokens that rows have and that were computed, streams, rows alone over the budget."""

    loss: float = 0.0
    """Σ coef · term: what the gradient is of."""
    terms: dict[str, float] = field(default_factory=dict)
    """Each term's average over what it counts, before its coefficient."""
    num_tokens: int = 0
    num_computed: int = 0
    num_trained: int = 0
    num_streams: int = 0
    num_over_budget: int = 0
    by_dataset: dict[int, float] = field(default_factory=dict)
    """Average of the first term on each data set; empty where there is only one."""

    def add(self, other: "StepSums") -> None:
        """What another process computed of the same rows."""
        self.loss += other.loss
        for name in self.terms.keys() | other.terms.keys():
            self.terms[name] = self.terms.get(name, 0.0) + other.terms.get(name, 0.0)
        self.num_computed += other.num_computed
        self.num_streams += other.num_streams
        self.num_over_budget += other.num_over_budget

    def metrics(self, dataset_names: Seq[str]) -> dict[str, float]:
        """By the names under which they are written down."""
        return {
            "loss": self.loss,
            **{name: value for name, value in self.terms.items() if name != "loss"},
            "tokens": self.num_tokens,
            "tokens_computed": self.num_computed,
            "streams": self.num_streams,
            **{f"loss/{dataset_names[number]}": value for number, value in self.by_dataset.items()},
        }


def accumulate(
    method: Method[Spec, Spec],
    lot: Lot,
    token_budget: int,
    packing: Packing,
    device: torch.device,
    address: tuple[int, ...],
    world: World = ALONE,
) -> StepSums:
    """Backward passes over all rows of `lot`, or this process's share of them; gradients add up where the parameters keep them.

    Args:
        address: (seed, step), for dropout.
    Returns:
        the sums of all processes. Gradients are this process's.
    Raises:
        TrainingFailed: a term has nothing to count.
    """
    totals, coefficients = totals_of(method, lot), method.coefficients()
    datasets = torch.tensor([e.dataset for e in lot.examples])
    first_term = next(iter(totals))
    of_first = method.weights(lot)[first_term]
    losses = torch.zeros(len(lot), dtype=torch.float64)
    sums = StepSums(num_tokens=sum(e.num_tokens for e in lot.examples), num_trained=sum(e.num_trained for e in lot.examples))
    place = (world.rank,) if world.size > 1 else ()
    with world.together():
        for number, micro in enumerate(shares(lot.examples, token_budget, packing, world.size)[world.rank]):
            rows = rows_of(lot.take(micro.index), packing, device)
            torch.manual_seed(key(address[0], "dropout", *address[1:], number, *place))
            raw = method.loss(rows)
            terms = {name: raw[name].sum() / total for name, total in totals.items()}
            loss = torch.stack([coefficients.get(name, 1.0) * terms[name] for name in totals if coefficients.get(name, 1.0)]).sum()
            sums.num_computed += rows.stream.num_tokens
            if micro.idle:
                (0.0 * loss).backward()
                continue
            loss.backward()
            losses[torch.from_numpy(micro.index)] = raw[first_term].detach().double().cpu()
            sums.loss += float(loss.detach())
            for name, value in terms.items():
                sums.terms[name] = sums.terms.get(name, 0.0) + float(value.detach())
            sums.num_streams += 1
            sums.num_over_budget += micro.over_budget
    sums, *others = world.gather(sums)
    for other in others:
        sums.add(other)
    if len(method.order.weights) > 1:
        world.add_up(losses)
        parts = {n: datasets == n for n in datasets.unique().tolist()}
        sums.by_dataset = {n: float(losses[of].sum() / of_first[of].sum()) for n, of in parts.items() if of_first[of].sum() > 0}
    return sums


def totals_of(method: Method[Spec, Spec], lot: Lot) -> dict[str, float]:
    """What each term of a step counts in all; a term that nothing counts in this step is left out.

    Raises:
        TrainingFailed: there is nothing to learn from.
    """
    totals = {name: float(weight.sum()) for name, weight in method.weights(lot).items()}
    coefficients = method.coefficients()
    if not any(total > 0 and coefficients.get(name, 1.0) for name, total in totals.items()):
        raise TrainingFailed(f"Term `{next(iter(totals))}` of this step counts nothing: no supervised token in its {len(lot)} rows.")
    return {name: total for name, total in totals.items() if total > 0}
