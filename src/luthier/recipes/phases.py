"""The phases of a run, and what the process holds in each besides tensors."""

from dataclasses import dataclass

import torch

from luthier.models.memory import KEPT, Held
from luthier.recipes.rehearsal import Sizes

STATE_BYTES = 12
"""Of a full state for each number that learns: the fp32 master and AdamW's two moments."""

LIBRARIES = 170 * 2**20
"""What comes after the rows are read and before the first step is done, besides tensors: libraries, compiled products, threads."""

SCATTERED = {"activations": 0.32, "evaluation": 0.32}
"""Of what tensors of these parts hold, what the allocator holds besides, in freed pieces between those in use. What comes and goes in each
step leaves most; weights and what belongs to them are made once. Tensors that are taken from the system one by one leave nothing."""

SCATTERED_AGAIN = {**SCATTERED, "activations": 1.1}
"""The same where layers are computed again: their tensors come and go many times in a step, among those that stay."""

ORDER = ("load", "probe", "certificate", "validation", "rollout", "scoring", "training step", "save", "reload")
"""In which a run goes through them."""

JUDGED = ("scoring", "training step", "save", "reload")
"""Those in which reward models are loaded."""


@dataclass(frozen=True)
class Phase:
    """A phase of the run: the most that the process holds in it, and which parts that is made of."""

    name: str
    bytes: int
    parts: dict[str, int]


def phases_of(
    sizes: Sizes, probe_bytes: int, base: int, stored: torch.dtype | None, dtype: torch.dtype, judges: int, again: bool
) -> tuple[Phase, ...]:
    """Every phase, in order.

    Args:
        base: bytes that the process holds before. stored: type of the model's file. judges: bytes of reward models. again: whether layers
        are computed again in the backward pass.
    """
    weights = float(sizes.weight_bytes)
    read = sizes.parameters * stored.itemsize if stored is not None and stored != dtype else 0
    kept = {"weights": weights, "reference": float(sizes.reference_bytes)}
    state = {**kept, "optimizer": float((STATE_BYTES if dtype == torch.bfloat16 else STATE_BYTES - 4) * sizes.trainable)}
    held = {
        "load": Held({"weights": weights, "file": float(read)}),
        "probe": Held({"weights": weights, "copy": float(probe_bytes)}),
        **sizes.phases,
        "save": Held({**state, "copy": float(read)}),
        "reload": Held({**state, "copy": weights + read}),
    }
    shares = SCATTERED_AGAIN if again else SCATTERED
    return tuple(_phase(name, held[name], base, judges if name in JUDGED else 0, shares) for name in ORDER if name in held)


def _phase(name: str, held: Held, base: int, judges: int, shares: dict[str, float]) -> Phase:
    """With what the process holds besides tensors."""
    pieces = sum(shares.get(part, 0.0) * max(0.0, size - held.apart.get(part, 0.0)) for part, size in held.parts.items())
    parts = {"program": float(base + LIBRARIES), **held.parts, "reward models": float(judges), KEPT: held.parts.get(KEPT, 0.0) + pieces}
    rounded = {part: round(size) for part, size in parts.items() if round(size) > 0}
    return Phase(name, sum(rounded.values()), rounded)
