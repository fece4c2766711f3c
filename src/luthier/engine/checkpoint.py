"""Checkpoints: whole or not there, checked by hash, from which a run goes on bit for bit.

A checkpoint is a folder `checkpoints/step-00000120` with the weights in the adapter's own format and, while it is kept as a full state,
`state.safetensors` (masters and optimizer) and `state.json` (counters). It is written beside its place, synced, and renamed.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from luthier.engine.folder import RunFolder, fsync
from luthier.errors import RunError

STATE_TENSORS, STATE, HASHES = "state.safetensors", "state.json", "hashes.json"


@dataclass
class Progress:
    """Where a run stands: everything that is not a tensor. A step is counted when it is done."""

    step: int = 0
    lot: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    token_budget: int = 0
    num_tokens: int = 0
    seconds: float = 0.0
    energy_wh: float = 0.0
    lot_terms: dict[str, float] = field(default_factory=dict)
    """Each term, added up over the steps of this lot."""
    lot_steps: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    evaluations_since_best: int = 0
    stopped_early: bool = False
    alarm: str | None = None
    """Why the run stopped by itself."""
    certificate: list[dict[str, Any]] = field(default_factory=list)
    method_state: dict[str, Any] = field(default_factory=dict)


def path_of(folder: RunFolder, step: int) -> Path:
    return folder.checkpoints / f"step-{step:08d}"


def steps_kept(folder: RunFolder, with_state: bool = False) -> list[int]:
    """Steps of the checkpoints there are, in order."""
    found = [p for p in folder.checkpoints.glob("step-*") if p.is_dir()]
    return sorted(int(p.name[5:]) for p in found if not with_state or (p / STATE).is_file())


def save(folder: RunFolder, progress: Progress, tensors: dict[str, Tensor], write_weights: Callable[[Path], None]) -> Path:
    """Write a full state.

    Raises:
        RunError: the disk is full or read-only; checkpoints that are there stay.
    """
    final = path_of(folder, progress.step)
    if (final / STATE).is_file():
        return final
    partial = folder.checkpoints / f".partial-{final.name}"
    try:
        folder.checkpoints.mkdir(exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write_weights(partial)
        save_file({name: value.contiguous() for name, value in tensors.items()}, partial / STATE_TENSORS)
        (partial / STATE).write_text(json.dumps(asdict(progress), indent=2) + "\n", encoding="utf-8")
        (partial / HASHES).write_text(json.dumps(_hashes(partial), indent=2) + "\n", encoding="utf-8")
        for path in partial.iterdir():
            fsync(path)
        fsync(partial)
        if final.exists():  # weights of this step whose state was pruned: a resumed run writes them again, the same
            shutil.rmtree(final)
        partial.replace(final)
        fsync(folder.checkpoints)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(f"{final} could not be written ({error}). Make room, then continue with `luthier resume {folder.path}`.") from error
    return final


def _hashes(path: Path) -> dict[str, str]:
    return {p.name: sha256(p) for p in sorted(path.iterdir()) if p.name != HASHES}


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_latest(folder: RunFolder, device: torch.device) -> tuple[Progress, dict[str, Tensor]] | None:
    """The newest full state that is whole, or None. A damaged one is passed over, and said so in `events.jsonl`."""
    for step in reversed(steps_kept(folder, with_state=True)):
        path = path_of(folder, step)
        if (damage := find_damage(path)) is None:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            return Progress(**state), load_file(path / STATE_TENSORS, device=str(device))
        folder.event("damaged", f"{path.name} is damaged ({damage}) and was passed over", step=step)
    return None


def find_damage(path: Path) -> str | None:
    """Which file is missing or differs from its hash."""
    try:
        expected: dict[str, str] = json.loads((path / HASHES).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        return HASHES
    pruned = not (path / STATE).exists()
    for name, digest in expected.items():
        if pruned and name in (STATE, STATE_TENSORS):
            continue
        if not (path / name).is_file() or sha256(path / name) != digest:
            return name
    return None


def prune(folder: RunFolder, keep_states: int, keep_weights: int, best: int | None, others: Collection[int] = ()) -> None:
    """Keep the newest `keep_states` full states and `keep_weights` weights; the best weights, and those of `others`, besides."""
    steps = steps_kept(folder)
    whole = steps_kept(folder, with_state=True)[-keep_states:]
    for step in [step for step in steps if step not in whole]:
        for name in (STATE, STATE_TENSORS):  # the small file first: without it the checkpoint counts as weights alone
            (path_of(folder, step) / name).unlink(missing_ok=True)
    for step in steps[: -max(keep_weights, keep_states)]:
        if step != best and step not in others:
            shutil.rmtree(path_of(folder, step))
