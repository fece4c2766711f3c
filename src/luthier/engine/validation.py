"""Validation: what the method measures, averaged over rows it never trains on, without a gradient and without a logits blow-up."""

import math
from collections.abc import Sequence as Seq

import torch

from luthier.batches.examples import Example, Lot
from luthier.batches.packing import Packing
from luthier.batches.plan import cut
from luthier.batches.rows import rows_of
from luthier.methods.base import Method
from luthier.spec.base import Spec


@torch.no_grad()
def measure(
    method: Method[Spec, Spec], lot: Lot, token_budget: int, packing: Packing, device: torch.device, model: torch.nn.Module
) -> dict[str, float]:
    """Name → average over all rows of `lot`, in evaluation mode. `loss` is the sum of the terms times their coefficients.

    Where rows say how many bytes of text their scored tokens spell, `bits_per_byte` is the same loss, comparable between tokenizers.
    """
    totals: dict[str, float] = {}
    counts: dict[str, float] = {}
    training = model.training
    model.eval()
    try:
        for micro in cut(lot.examples, token_budget, packing):
            part = lot.take(micro.index)
            weights = {name: weight.to(device) for name, weight in method.weights(part).items()}
            for name, found in method.measure(rows_of(part, packing, device), weights).items():
                totals[name] = totals.get(name, 0.0) + float(found.total.double().sum())
                counts[name] = counts.get(name, 0.0) + float(found.count.double().sum())
    finally:
        model.train(training)
    averages = {name: total / counts[name] for name, total in totals.items() if counts[name]}
    num_bytes, num_scored = sum(e.num_bytes for e in lot.examples), sum(e.num_trained for e in lot.examples)
    if num_bytes and counts.get("loss") == num_scored:  # with other weights the loss is not that of the text
        averages["bits_per_byte"] = totals["loss"] / math.log(2) / num_bytes
    if "loss" in averages:
        return averages
    coefficients, terms = method.coefficients(), method.weights(lot)
    return {"loss": sum(coefficients.get(name, 1.0) * averages[name] for name in terms if name in averages), **averages}


def by_dataset(examples: Seq[Example], names: Seq[str]) -> dict[str, list[int]]:
    """Name of each data set → indices of its examples; empty where there is only one set."""
    if len(names) < 2:
        return {}
    return {name: [i for i, e in enumerate(examples) if e.dataset == number] for number, name in enumerate(names)}
