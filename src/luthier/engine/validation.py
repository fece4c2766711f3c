"""Validation: what the method measures, averaged over rows it never trains on, without a gradient and without a logits blow-up."""

import math
from collections.abc import Sequence as Seq

import numpy as np
import torch

from luthier.batches.examples import Example, Lot, column
from luthier.batches.packing import Packing
from luthier.batches.plan import cut
from luthier.batches.rows import rows_of
from luthier.methods.base import TEXT_LOSS, Method
from luthier.models.forward import Root
from luthier.spec.base import Spec


@torch.no_grad()
def measure(
    method: Method[Spec, Spec], lot: Lot, token_budget: int, packing: Packing, device: torch.device, model: Root
) -> dict[str, float]:
    """Name → average over all rows of `lot`, in evaluation mode. `loss` is the sum of the terms times their coefficients.

    Where rows say how many bytes of text their scored tokens spell, `bits_per_byte` is what the model needs to spell them, comparable
    between tokenizers: -Σ log2 π over those tokens, over their bytes in UTF-8. Special tokens spell no byte and count in neither: whether
    an answer ends here says `loss`. A message's weight does not change how well its text is known, and counts in neither, too.
    """
    totals: dict[str, float] = {}
    counts: dict[str, float] = {}
    training = model.training
    model.eval()
    try:
        for micro in cut(lot.examples, token_budget, packing):
            part = lot.take(micro.index)
            weights = {name: weight.to(device) for name, weight in method.weights(part).items()}
            rows = rows_of(part, packing, device).with_special(model.special_ids)
            for name, found in method.measure(rows, weights).items():
                totals[name] = totals.get(name, 0.0) + float(found.total.double().sum())
                counts[name] = counts.get(name, 0.0) + float(found.count.double().sum())
    finally:
        model.train(training)
    text_loss, num_bytes = totals.pop(TEXT_LOSS, None), int(column(lot.examples, "num_bytes").sum())
    averages = {name: total / counts[name] for name, total in totals.items() if counts[name]}
    if num_bytes and text_loss is not None:
        averages["bits_per_byte"] = text_loss / math.log(2) / num_bytes
    if "loss" in averages:
        return averages
    coefficients, terms = method.coefficients(), method.weights(lot)
    return {"loss": sum(coefficients.get(name, 1.0) * averages[name] for name in terms if name in averages), **averages}


def by_dataset(examples: Seq[Example], names: Seq[str]) -> dict[str, list[int]]:
    """Name of each data set → indices of its examples; empty where there is only one set."""
    if len(names) < 2:
        return {}
    datasets = column(examples, "dataset")
    return {name: np.flatnonzero(datasets == number).tolist() for number, name in enumerate(names)}
