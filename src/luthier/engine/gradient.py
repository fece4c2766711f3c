"""The gradient of one optimizer step: Σ over terms of coef · Σ_rows loss / Σ_rows weight, in as many streams as the budget asks for.

The denominators are summed over the whole step before the first backward pass, so cutting and accumulating change nothing.
"""

from dataclasses import dataclass, field

import torch

from luthier.batches.examples import Lot
from luthier.batches.packing import Packing
from luthier.batches.plan import cut
from luthier.batches.randomness import key
from luthier.batches.rows import rows_of
from luthier.errors import TrainingFailed
from luthier.methods.base import Method
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


def accumulate(
    method: Method[Spec, Spec], lot: Lot, token_budget: int, packing: Packing, device: torch.device, address: tuple[int, ...]
) -> StepSums:
    """Backward passes over all rows of `lot`; gradients add up where the parameters keep them.

    Args:
        address: (seed, step), for dropout.
    Raises:
        TrainingFailed: a term has nothing to count.
    """
    totals = {name: float(weight.sum()) for name, weight in method.weights(lot).items()}
    for name, total in totals.items():
        if not total > 0:
            raise TrainingFailed(f"Term `{name}` of this step counts nothing: no supervised token in its {len(lot)} rows.")
    coefficients = method.coefficients()
    datasets = torch.tensor([e.dataset for e in lot.examples])
    first_term = next(iter(totals))
    losses = torch.zeros(len(lot), dtype=torch.float64)
    sums = StepSums(num_tokens=sum(e.num_tokens for e in lot.examples), num_trained=sum(e.num_trained for e in lot.examples))
    for number, micro in enumerate(cut(lot.examples, token_budget, packing)):
        rows = rows_of(lot.take(micro.index), packing, device)
        torch.manual_seed(key(address[0], "dropout", *address[1:], number))
        raw = method.loss(rows)
        losses[torch.from_numpy(micro.index)] = raw[first_term].detach().double().cpu()
        terms = {name: per_row.sum() / totals[name] for name, per_row in raw.items()}
        counted = [coefficients.get(name, 1.0) * value for name, value in terms.items() if coefficients.get(name, 1.0)]
        loss = torch.stack(counted).sum()
        loss.backward()
        sums.loss += float(loss.detach())
        for name, value in terms.items():
            sums.terms[name] = sums.terms.get(name, 0.0) + float(value.detach())
        sums.num_computed += rows.stream.num_tokens
        sums.num_streams += 1
        sums.num_over_budget += micro.over_budget
    weights = method.weights(lot)[first_term]
    if len(method.order.weights) > 1:
        sums.by_dataset = {n: float(losses[datasets == n].sum() / weights[datasets == n].sum()) for n in datasets.unique().tolist()}
    return sums
