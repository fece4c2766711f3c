"""Which lots a run has, in which order, and where they are kept: a lot with columns is written down before its first step."""

import json
import math
import time
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from luthier.batches.examples import Example, Lot, column
from luthier.batches.order import steps as in_order
from luthier.engine.checkpoint import Progress
from luthier.engine.folder import RunFolder, fsync
from luthier.errors import RunError
from luthier.methods.base import Method
from luthier.models.world import ALONE, World
from luthier.spec.base import Spec
from luthier.spec.run import LoopSpec
from luthier.text.sequence import Sequence


@dataclass(eq=False)
class LotPlan:
    """Lots of `epochs` passes each, `total_steps` optimizer steps in all.

    `groups`: which examples each lot is made of. Off-policy there is one lot, the data itself; on-policy one for every
    `prompts_per_lot` examples, collected when its turn comes. `epoch_ends`: the steps that end a pass over the data; empty on-policy,
    where answers may be left out and nobody knows before.
    """

    examples: Seq[Example]
    groups: list[np.ndarray]
    epochs: int
    total_steps: int
    epoch_ends: tuple[int, ...] = ()
    _latest: tuple[int, Lot] | None = None

    @property
    def number(self) -> int:
        return len(self.groups)

    def get(self, method: Method[Spec, Spec], state: Spec, number: int, folder: RunFolder, world: World = ALONE) -> Lot:
        """Lot `number`: from the run folder if it is there, so that a killed run does not sample again. Written by the first process."""
        if self._latest is None or self._latest[0] != number:
            path = folder.lots / f"lot-{number:06d}.safetensors"
            if world.once(path.is_file):
                lot = read(path)
            else:
                group = [self.examples[i] for i in self.groups[number]] if method.on_policy else self.examples
                began = time.perf_counter()
                lot = method.collect(group, state, number)
                if lot.metrics:
                    lot.metrics["seconds"] = time.perf_counter() - began
                if lot.row_columns or lot.token_columns:
                    world.once(lambda: write(lot, path))
            self._latest = number, lot
        return self._latest[1]

    def epoch_of(self, progress: Progress, epochs: int) -> float:
        """Passes over the data done so far, of `epochs`, as a fraction."""
        return progress.step / self.total_steps * epochs


def plan(method: Method[Spec, Spec], examples: Seq[Example], spec: LoopSpec) -> LotPlan:
    """Lots and steps of a run."""
    epochs = method.lot_epochs(spec.epochs)
    if method.on_policy:
        datasets = column(examples, "dataset")
        passes = range(spec.epochs)
        groups = [g for number in passes for g in in_order(datasets, method.order.weights, method.prompts_per_lot, spec.seed, number)]
        ends: list[int] = []
        steps = epochs * sum(math.ceil(len(group) * method.rows_per_prompt / spec.batch_size) for group in groups)
    else:
        groups = [np.arange(len(examples))]
        ends = list(accumulate(method.num_batches(Lot(examples), epoch) for epoch in range(epochs)))
        steps = ends[-1]
    total = min(steps, spec.max_steps or steps)
    return LotPlan(examples, groups, epochs, total, tuple(end for end in ends if end <= total))


def write(lot: Lot, path: Path) -> None:
    """A lot as one safetensors file: token ids, weights and shapes of its sequences, and its columns.

    Raises:
        RunError: the disk is full or read-only.
    """
    sequences = [s for e in lot.examples for s in e.sequences]
    tensors: dict[str, Tensor] = {
        "ids": torch.from_numpy(np.concatenate([np.empty(0, np.int64), *(s.ids for s in sequences)])),
        "weights": torch.from_numpy(np.concatenate([np.empty(0, np.float32), *(s.weights for s in sequences)])),
        "lengths": torch.tensor([len(s) for s in sequences], dtype=torch.long),
        "branches": torch.tensor([len(e.sequences) for e in lot.examples], dtype=torch.long),
        "datasets": torch.tensor([e.dataset for e in lot.examples], dtype=torch.long),
        **{f"row/{name}": c.contiguous() for name, c in lot.row_columns.items()},
        **{f"token/{name}": c.contiguous() for name, c in lot.token_columns.items()},
    }
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(exist_ok=True)
        about = {"origins": json.dumps([e.origin for e in lot.examples]), "metrics": json.dumps(lot.metrics)}
        save_file(tensors, partial, metadata=about)
        fsync(partial)
        partial.replace(path)
        fsync(path.parent)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} could not be written ({error}). Make room, then continue with `luthier resume`.") from error


def read(path: Path) -> Lot:
    """The inverse of `write`; facts, which only `collect` looks at, are left out."""
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    origins = json.loads(about["origins"])
    ends = np.cumsum(tensors["lengths"].numpy())
    ids, weights = (np.split(tensors[name].numpy(), ends[:-1])[: len(ends)] for name in ("ids", "weights"))
    sequences = iter(Sequence(i, w) for i, w in zip(ids, weights, strict=True))
    examples = tuple(
        Example(tuple(next(sequences) for _ in range(branches)), dataset, origin)
        for branches, dataset, origin in zip(tensors["branches"].tolist(), tensors["datasets"].tolist(), origins, strict=True)
    )
    columns = {kind: {k[len(kind) :]: v for k, v in tensors.items() if k.startswith(kind)} for kind in ("row/", "token/")}
    return Lot(examples, columns["row/"], columns["token/"], json.loads(about["metrics"]))
