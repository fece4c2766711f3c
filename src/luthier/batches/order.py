"""Which rows make each optimizer step of an epoch: a pure function of data sets, weights, batch size, seed and epoch."""

from collections.abc import Sequence as Seq

import numpy as np

from luthier.data.mix import order


def steps(datasets: Seq[int], weights: Seq[float], batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Row indices of each step. The last step takes what is left.

    Args:
        datasets: (R,) the data set of each row. weights: of each data set.
    """
    belongs = np.asarray(datasets)
    members = [np.flatnonzero(belongs == i) for i in range(len(weights))]
    drawn = order([len(m) for m in members], weights, seed, epoch)
    index = np.array([members[dataset][row] for dataset, row in drawn], dtype=np.int64)
    return [index[start : start + batch_size] for start in range(0, len(index), batch_size)]
