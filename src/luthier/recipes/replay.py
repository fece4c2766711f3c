"""A stretch of a finished run computed again in a folder of its own, from a full state to the next weights that were kept."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from luthier.engine import checkpoint
from luthier.engine.folder import RunFolder, read_lines
from luthier.engine.loop import Loop
from luthier.engine.report import Silent
from luthier.engine.setup import Setup
from luthier.engine.stop import StopSignal
from luthier.engine.trainable import Masters
from luthier.engine.validation import measure
from luthier.methods.base import VALIDATION
from luthier.models import device as devices
from luthier.models.load import load_model
from luthier.recipes.train import prepare_again
from luthier.recipes.trust import judged
from luthier.recipes.versions import versions

TIMES = {"seconds", "tokens_per_second", "share_of_limit"}
"""Metrics that are another each time."""

SETTINGS: dict[str, Any] = {
    "checkpoints.keep_states": 1_000_000,  # what is not pruned here is not missed there: files are shared with the run
    "checkpoints.keep_weights": 1_000_000,
    "report.tensorboard": False,
    "report.wandb": False,
    "report.mlflow": False,
}
"""Over the run's own. None of them touches the arithmetic."""


@dataclass(frozen=True)
class Replayed:
    """`wrong`: what came out differently, as sentences. `has_result`: the run's adapter or model was compared, too."""

    wrong: list[str]
    has_result: bool


def machine_now(record: dict[str, Any]) -> list[str]:
    """What this machine has otherwise than the run's, of all that the last bit depends on. Threads can be set, so they do not count."""
    now: dict[str, dict[str, Any]] = {"machine": devices.machine(), "versions": versions()}
    return [
        f"{key}: {said} → {now[part].get(key)}"
        for part in now
        for key, said in record[part].items()
        if key != "threads" and now[part].get(key) != said
    ]


def replayable(folder: RunFolder) -> tuple[int, int] | None:
    """The last full state from which weights of a later step are kept, and that step; both whole."""
    whole = [step for step in checkpoint.steps_kept(folder) if checkpoint.find_damage(checkpoint.path_of(folder, step)) is None]
    states = set(checkpoint.steps_kept(folder, with_state=True))
    pairs = [(first, last) for first, last in pairwise(whole) if first in states]
    return pairs[-1] if pairs else None


def replay(folder: RunFolder, record: dict[str, Any], first: int, last: int) -> Replayed:
    """Compute steps `first` + 1 to `last` again, and compare everything that they wrote."""
    with _again(folder, record, first) as setup:
        stop = StopSignal()
        loop = Loop(setup, _StopAt(last, stop), stop)
        outcome = loop.run()
        wrong = _tensors_differ(folder, setup, last)
        for name in ("metrics_file", "samples_file"):
            said, found = (
                [line for line in read_lines(getattr(run, name)) if first < line["step"] <= last] for run in (folder, setup.folder)
            )
            wrong += differences(said, found)
        has_result = outcome.status == "succeeded" and record["status"] == "succeeded"
        if has_result:
            wrong += _result_differs(folder, setup, loop.masters)
        return Replayed(wrong, has_result)


def evaluate_again(folder: RunFolder, record: dict[str, Any]) -> dict[str, Any]:
    """The last validation, measured again on the weights of the last step."""
    step = record["steps"]
    with _again(folder, record, step) as setup:
        method = setup.make_method(setup.root)
        masters = Masters(setup.adapter.trainable(setup.root))
        masters.load({**masters.values(), **setup.read_weights(checkpoint.path_of(folder, step))})
        lot = method.refresh(method.collect(setup.validation, method.first_state(), VALIDATION))
        found = measure(method, lot, record["token_budget"], setup.root.packing, setup.device, setup.root)
    return {"step": step, "kind": "validation", **found}


def differences(said: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[str]:
    """Where lines of metrics or samples are not the same; only what both have is compared, but for the times."""
    if len(said) != len(found):
        return [f"{len(found)} lines were written where the run wrote {len(said)}"]
    return [
        f"step {a['step']}: `{key}` was {a[key]} and is {b[key]}"
        for a, b in zip(said, found, strict=True)
        for key in a.keys() & b.keys() - TIMES
        if a[key] != b[key]
    ]


class _StopAt(Silent):
    """Asks the loop to pause after a step."""

    def __init__(self, last: int, stop: StopSignal) -> None:
        self.last, self.stop = last, stop

    def step(self, metrics: dict[str, float], seconds_left: float) -> None:
        if metrics["step"] >= self.last:
            self.stop.request()


def judged_again(folder: RunFolder, record: dict[str, Any], step: int) -> dict[str, Any]:
    """A reward model's `trust` and `verdict`, found again with the weights of `step`."""
    with _again(folder, record, step) as setup:
        masters = Masters(setup.adapter.trainable(setup.root))
        masters.load({**masters.values(), **setup.read_weights(checkpoint.path_of(folder, step))})
        return judged(setup)


@contextmanager
def _again(folder: RunFolder, record: dict[str, Any], first: int) -> Iterator[Setup]:
    """The run's setup in a temporary folder with its checkpoints up to step `first`, on as many threads."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="luthier-verify-") as temporary:
        again = RunFolder(Path(temporary))
        for step in checkpoint.steps_kept(folder):
            if step <= first:
                shutil.copytree(checkpoint.path_of(folder, step), checkpoint.path_of(again, step), copy_function=_link)
        if folder.lots.is_dir():
            shutil.copytree(folder.lots, again.lots, copy_function=_link)
        torch.set_num_threads(record["machine"]["threads"])
        try:
            yield prepare_again(folder, again, lambda _: None, **SETTINGS)
        finally:
            torch.set_num_threads(threads)


def _link(source: str, target: str) -> None:
    """A second name for a file; a copy where the temporary folder lies on another disk. No file of a checkpoint is ever written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _tensors_differ(folder: RunFolder, setup: Setup, step: int) -> list[str]:
    """Weights, and the optimizer's memory where it was kept."""
    wrong = []
    for name in (setup.adapter.module.WEIGHTS, checkpoint.STATE_TENSORS):
        said, found = (checkpoint.path_of(run, step) / name for run in (folder, setup.folder))
        if said.is_file():
            wrong += [f"{said}: `{key}` is not the same" for key in _unequal(load_file(said), load_file(found))[:1]]
    return wrong


def _result_differs(folder: RunFolder, setup: Setup, masters: Masters) -> list[str]:
    """The adapter, or the model, that the run left."""
    if setup.adapter.module.WHOLE_MODEL:
        saved = load_model(folder.model, setup.dtype.dtype, setup.device)
        return [f"{folder.model}: `{key}` is not the same" for key in _unequal(saved.state_dict(), setup.root.model.state_dict())[:1]]
    saved_weights = load_file(folder.adapter / setup.adapter.module.WEIGHTS)
    found = {name: value for name, value in masters.values().items() if name in saved_weights}
    return [f"{folder.adapter}: `{key}` is not the same" for key in _unequal(saved_weights, found)[:1]]


def _unequal(said: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    return sorted(
        key
        for key in said.keys() | found.keys()
        if key not in said or key not in found or not torch.equal(said[key].cpu(), found[key].cpu())
    )
