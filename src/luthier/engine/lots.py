"""Which lots a run has, in which order, and where they are kept: a lot with columns is written down before its first step."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from luthier.batches.examples import Example, Lot
from luthier.data.seeded import generator
from luthier.engine.checkpoint import Progress
from luthier.engine.folder import RunFolder
from luthier.methods.base import Method
from luthier.spec.base import Spec
from luthier.spec.run import LoopSpec
from luthier.text.sequence import Sequence


@dataclass(eq=False)
class LotPlan:
    """`number` lots of `epochs` passes each, `total_steps` optimizer steps in all.

    Off-policy there is one lot, the data itself; on-policy one for every `prompts_per_lot` prompts, collected when its turn comes.
    """

    examples: tuple[Example, ...]
    number: int
    epochs: int
    total_steps: int
    prompts_per_lot: int | None
    seed: int
    _latest: tuple[int, Lot] | None = None

    def get(self, method: Method[Spec, Spec], state: Spec, number: int, folder: RunFolder) -> Lot:
        """Lot `number`: from the run folder if it is there, so that a killed run does not sample again."""
        if self._latest is None or self._latest[0] != number:
            path = folder.lots / f"lot-{number:06d}.safetensors"
            if path.is_file():
                lot = read(path)
            else:
                lot = method.collect(self._group(number), state, number)
                if lot.row_columns or lot.token_columns:
                    write(lot, path)
            self._latest = number, lot
        return self._latest[1]

    def _group(self, number: int) -> list[Example]:
        if self.prompts_per_lot is None:
            return list(self.examples)
        per_pass = math.ceil(len(self.examples) / self.prompts_per_lot)
        order = generator(self.seed, "prompts", number // per_pass).permutation(len(self.examples))
        start = number % per_pass * self.prompts_per_lot
        return [self.examples[i] for i in order[start : start + self.prompts_per_lot]]

    def epoch_of(self, progress: Progress) -> float:
        """Passes over the data done so far, as a fraction."""
        return progress.step / self.total_steps * self.number * self.epochs if self.prompts_per_lot is None else float(progress.lot)


def plan(method: Method[Spec, Spec], examples: tuple[Example, ...], spec: LoopSpec) -> LotPlan:
    """Lots and steps of a run."""
    if method.on_policy:
        size = method.prompts_per_lot
        number = spec.epochs * math.ceil(len(examples) / size)
        epochs = method.lot_epochs(spec.epochs)
        steps = number * epochs * math.ceil(size * method.rows_per_prompt / spec.batch_size)
        return LotPlan(examples, number, epochs, min(steps, spec.max_steps or steps), size, spec.seed)
    epochs = method.lot_epochs(spec.epochs)
    bare = Lot(examples)
    steps = sum(len(method.batches(bare, epoch)) for epoch in range(epochs))
    return LotPlan(examples, 1, epochs, min(steps, spec.max_steps or steps), None, spec.seed)


def write(lot: Lot, path: Path) -> None:
    """A lot as one safetensors file: token ids, weights and shapes of its sequences, and its columns."""
    path.parent.mkdir(exist_ok=True)
    sequences = [s for e in lot.examples for s in e.sequences]
    tensors: dict[str, Tensor] = {
        "ids": torch.from_numpy(np.concatenate([s.ids for s in sequences])),
        "weights": torch.from_numpy(np.concatenate([s.weights for s in sequences])),
        "lengths": torch.tensor([len(s) for s in sequences]),
        "branches": torch.tensor([len(e.sequences) for e in lot.examples]),
        "datasets": torch.tensor([e.dataset for e in lot.examples]),
        **{f"row/{name}": c.contiguous() for name, c in lot.row_columns.items()},
        **{f"token/{name}": c.contiguous() for name, c in lot.token_columns.items()},
    }
    partial = path.with_name(f".{path.name}.partial")
    save_file(tensors, partial, metadata={"origins": json.dumps([e.origin for e in lot.examples])})
    partial.replace(path)


def read(path: Path) -> Lot:
    """The inverse of `write`; origins are left out."""
    tensors = load_file(path)
    ends = np.cumsum(tensors["lengths"].numpy())
    ids, weights = (np.split(tensors[name].numpy(), ends[:-1]) for name in ("ids", "weights"))
    sequences = iter(Sequence(i, w) for i, w in zip(ids, weights, strict=True))
    examples = tuple(
        Example(tuple(next(sequences) for _ in range(branches)), dataset)
        for branches, dataset in zip(tensors["branches"].tolist(), tensors["datasets"].tolist(), strict=True)
    )
    columns = {kind: {k[len(kind) :]: v for k, v in tensors.items() if k.startswith(kind)} for kind in ("row/", "token/")}
    return Lot(examples, columns["row/"], columns["token/"])
