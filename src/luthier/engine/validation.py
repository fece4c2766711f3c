"""Validation: what the method measures, averaged over rows it never trains on, without a gradient and without a logits blow-up."""

import math
from collections.abc import Sequence as Seq

import numpy as np
import torch

from luthier.batches.examples import Example, Lot, column
from luthier.batches.packing import Packing
from luthier.batches.plan import shares
from luthier.batches.rows import rows_of
from luthier.data.seeded import generator
from luthier.engine.folder import RunFolder, read_lines
from luthier.methods.base import TEXT_LOSS, Method
from luthier.models.forward import Root
from luthier.models.world import ALONE, World
from luthier.spec.base import Spec


@torch.no_grad()
def measure(
    method: Method[Spec, Spec],
    lot: Lot,
    token_budget: int,
    packing: Packing,
    device: torch.device,
    model: Root,
    world: World = ALONE,
) -> dict[str, float]:
    """Name → average over all rows of `lot`, in evaluation mode, of which each process measures its share.

    `loss` is the sum of the terms times their coefficients.

    Where rows say how many bytes of text their scored tokens spell, `bits_per_byte` is what the model needs to spell them, comparable
    between tokenizers: -Σ log2 π over those tokens, over their bytes in UTF-8. Special tokens spell no byte and count in neither: whether
    an answer ends here says `loss`. A message's weight does not change how well its text is known, and counts in neither, too.
    """
    totals: dict[str, float] = {}
    counts: dict[str, float] = {}
    training = model.training
    model.eval()
    try:
        with world.together():
            for micro in shares(lot.examples, token_budget, packing, world.size)[world.rank]:
                part = lot.take(micro.index)
                weights = {name: weight.to(device) for name, weight in method.weights(part).items()}
                rows = rows_of(part, packing, device).with_special(model.special_ids)
                for name, found in method.measure(rows, weights).items():
                    totals[name] = totals.get(name, 0.0) + float(found.total.double().sum()) * (not micro.idle)
                    counts[name] = counts.get(name, 0.0) + float(found.count.double().sum()) * (not micro.idle)
    finally:
        model.train(training)
    totals, counts = (_summed(world.gather(own)) for own in (totals, counts))
    text_loss, num_bytes = totals.pop(TEXT_LOSS, None), int(column(lot.examples, "num_bytes").sum())
    averages = {name: total / counts[name] for name, total in totals.items() if counts[name]}
    if num_bytes and text_loss is not None:
        averages["bits_per_byte"] = text_loss / math.log(2) / num_bytes
    if "loss" in averages:
        return averages
    coefficients, terms = method.coefficients(), method.weights(lot)
    return {"loss": sum(coefficients.get(name, 1.0) * averages[name] for name in terms if name in averages), **averages}


def _summed(parts: Seq[dict[str, float]]) -> dict[str, float]:
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def drawn_anew(num_rows: int, wanted: int, seed: int, step: int) -> np.ndarray:
    """(n,) int64, n ≤ `wanted`: other rows of `num_rows` at each step, in their order."""
    if num_rows <= wanted:
        return np.arange(num_rows)
    return np.sort(generator(seed, "glance", step).choice(num_rows, wanted, replace=False))


def best_steps(folder: RunFolder, number: int) -> list[int]:
    """Of the steps that were validated, those with the lowest loss; none where only the best one is wanted, which the loop knows."""
    if number == 1:
        return []
    found = {line["step"]: line["loss"] for line in read_lines(folder.metrics_file) if line["kind"] == "validation"}
    return sorted(found, key=lambda step: found[step])[:number]


def by_dataset(examples: Seq[Example], names: Seq[str]) -> dict[str, list[int]]:
    """Name of each data set → indices of its examples; empty where there is only one set."""
    if len(names) < 2:
        return {}
    datasets = column(examples, "dataset")
    return {name: np.flatnonzero(datasets == number).tolist() for number, name in enumerate(names)}
