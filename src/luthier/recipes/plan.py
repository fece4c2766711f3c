"""What a run will need, before anything is loaded: parameters, memory by phase and part, disk, time, energy, money; what to change."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from luthier.engine.setup import AdapterChoice
from luthier.models import device as devices
from luthier.models import load as models
from luthier.models.estimate import forward_flops, step_flops
from luthier.recipes.components import resolve
from luthier.recipes.effort import Effort, Share, Work, effort_of
from luthier.recipes.judge_size import judge_bytes
from luthier.recipes.phases import LIBRARIES, STATE_BYTES, Phase, phases_of
from luthier.recipes.preflight import lay_grounds
from luthier.recipes.rehearsal import Rehearsal, Sizes, is_rehearsed
from luthier.recipes.workload import Workload, assumed, of_examples
from luthier.spec.run import RunSpec

WEIGHT_BYTES = 4
"""Of saved weights that learn: masters are fp32."""

PROBED = 1024
"""Widest product that the speed of this machine is measured with."""


@dataclass(frozen=True)
class Error:
    """How far the estimate of memory was off where it was measured: median and largest share of what was above the base."""

    median: float
    largest: float
    num: int
    date: str


@dataclass(frozen=True)
class Disk:
    """Bytes that stay: checkpoints as the settings keep them, and the tuned adapter or model; and what is free where runs are written."""

    checkpoints: int
    artefact: int
    free: int


@dataclass(frozen=True)
class Plan:
    """`room`: what this machine can give. `assumed`: what was not known and taken to be so."""

    model: str
    method: str
    adapter: str
    dtype: str
    token_budget: int
    parameters: int
    trainable: int
    workload: Workload
    phases: tuple[Phase, ...]
    room: int
    disk: Disk
    effort: Effort
    certified_layers: str
    assumed: tuple[str, ...]
    error: Error | None

    @property
    def peak(self) -> Phase:
        return max(self.phases, key=lambda phase: phase.bytes)

    @property
    def fits(self) -> bool:
        return self.peak.bytes <= self.room

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "peak": self.peak.name, "peak_bytes": self.peak.bytes, "fits": self.fits}


@dataclass(frozen=True, eq=False)
class Surveyed:
    """What a plan stands on, read once; settings may then change."""

    config: Any
    workload: Workload
    dtype: devices.DtypeChoice
    stored: torch.dtype | None
    base: int
    assumed: tuple[str, ...]
    judge_bytes: int = 0


def plan(spec: RunSpec, price: float | None = None, room: int | None = None, share: Share | None = None) -> Plan:
    """The plan of a run.

    Args:
        price: of an hour of this machine, in any currency. room: bytes it may take; default what this machine has. share: what a probe of
        real steps measured.
    Raises:
        UserError: settings, data or model that cannot be used.
    """
    return estimate(spec, survey(spec), price, room, share)


def survey(spec: RunSpec) -> Surveyed:
    """Read the model's config and the rows. Without rows, rows that fill the token budget are assumed."""
    parts = resolve(spec)
    device = devices.default_device()
    notes: list[str] = []
    judges = 0
    if spec.data.train:
        grounds = lay_grounds(spec, datetime.now().replace(microsecond=0), lambda _: None)
        config = grounds.config
        workload = of_examples(spec, parts, grounds.examples.train, len(grounds.examples.validation), _budget(spec, device))
        judges = judge_bytes(grounds)
    else:
        config = models.load_config(models.model_folder(spec.model))
        workload = assumed(spec, parts, config, _budget(spec, device))
        notes.append(_of_no_data(workload))
    if parts.draws:
        notes.append(f"every answer is as long as it may be, {workload.load.drawing.length} tokens")  # type: ignore[union-attr]
    if not is_rehearsed(parts):
        notes.append(f"`{spec.method.name}` is counted as `sft` on the same rows: what it collects from the policy comes on top")
    text = config.get_text_config()
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    dtype = _measured(spec, text.hidden_size, inner, device)
    stored = config.dtype if isinstance(getattr(config, "dtype", None), torch.dtype) else None
    return Surveyed(config, workload, dtype, stored, devices.held_bytes(device), tuple(notes), judges)


def _measured(spec: RunSpec, width: int, inner: int, device: torch.device) -> devices.DtypeChoice:
    """Both types measured, and the one that the settings ask for."""
    both = devices.choose_dtype("auto", min(width, PROBED), min(inner, PROBED), device)
    return both if spec.train.dtype == "auto" else replace(both, dtype=getattr(torch, spec.train.dtype))


def _budget(spec: RunSpec, device: torch.device) -> int:
    return devices.token_budget(spec.train.token_budget, device)


def estimate(spec: RunSpec, known: Surveyed, price: float | None = None, room: int | None = None, share: Share | None = None) -> Plan:
    """The plan of `spec`, whose rows and config are `known`."""
    parts, device = resolve(spec), devices.default_device()
    budget = _budget(spec, device)
    workload = known.workload.within(spec, budget)
    dtype = known.dtype.dtype if spec.train.dtype == "auto" else getattr(torch, spec.train.dtype)
    room = room or devices.available_bytes() + (known.base if device.type == "cpu" else 0)
    mapped = device.type == "cpu" and known.stored == dtype
    rehearsal = Rehearsal(spec, parts, known.config, dtype, budget, mapped)
    whole = _fits_whole(rehearsal, room - known.base)
    sizes = rehearsal.sizes(workload.load, whole)
    gflops = known.dtype.bfloat16_gflops if dtype == torch.bfloat16 else known.dtype.float32_gflops
    work = _work(rehearsal, workload)
    again = spec.train.gradient_checkpointing
    return Plan(
        model=spec.model.path,
        method=spec.method.name,
        adapter=spec.adapter.name,
        dtype=str(dtype).removeprefix("torch."),
        token_budget=budget,
        parameters=sizes.parameters,
        trainable=sizes.trainable,
        workload=workload,
        phases=phases_of(sizes, rehearsal.probe_bytes, known.base, known.stored, dtype, known.judge_bytes, again),
        room=room,
        disk=_disk(spec, parts.adapter, sizes, dtype),
        effort=effort_of(work, workload, gflops, again, price, share),
        certified_layers="all" if whole else "first and last 2",
        assumed=(*known.assumed, "rows share streams (what the model allows is found when it is loaded)"),
        error=measured_error(),
    )


def _fits_whole(rehearsal: Rehearsal, room: int) -> bool:
    """Whether the certificate will find room to compute in fp32 on all layers, by its own rule."""
    wider = sum(p.numel() * (4 - p.element_size()) for p in rehearsal.model.parameters())
    learning = sum(p.numel() for p in rehearsal.parts.adapter.trainable(rehearsal.root).values())
    held = sum(p.numel() * p.element_size() for p in rehearsal.weights) + STATE_BYTES * learning
    return room - held - LIBRARIES > 1.5 * (wider + 4 * 4 * learning)


def _work(rehearsal: Rehearsal, workload: Workload) -> Work:
    """A critic is a second forward and backward pass of the base, without the head."""
    root, learning, passes = rehearsal.root, rehearsal.parts.adapter.trainable(rehearsal.root), workload.passes
    scored = 0 if "scorer" in rehearsal.parts.needs else workload.num_scored
    steps = step_flops(root, learning, workload.num_tokens, scored) * passes
    if "critic" in rehearsal.parts.needs:
        steps += step_flops(root, learning, workload.num_tokens, 0) * passes
    a_token = workload.num_scored / max(1, workload.num_tokens)
    scoring = forward_flops(root, workload.scored_apart, workload.scored_apart * a_token)
    return Work(steps, scoring, forward_flops(root, workload.drawn, workload.drawn))


def _of_no_data(workload: Workload) -> str:
    """What is taken for rows where none were named."""
    load = workload.load
    if load.drawing is not None:
        return f"no data was named: {workload.num_rows:,} prompts of {load.longest} tokens"
    what = f"two answers of {load.longest} tokens each, a third of them the prompt" if load.shape.branches > 1 else f"{load.longest} tokens"
    return f"no data was named: rows of {what}" + ("" if load.shape.branches > 1 else ", all of them learned")


def _disk(spec: RunSpec, adapter: AdapterChoice, sizes: Sizes, dtype: torch.dtype) -> Disk:
    kept = spec.checkpoints
    weights = WEIGHT_BYTES * sizes.trainable
    only_weights = max(0, kept.keep_weights - kept.keep_states) + 1  # the best besides
    artefact = sizes.parameters * dtype.itemsize if adapter.module.WHOLE_MODEL else weights
    place = Path(spec.out or "runs").absolute()
    while not place.exists():
        place = place.parent
    return Disk(
        kept.keep_states * (weights + STATE_BYTES * sizes.trainable) + only_weights * weights, artefact, shutil.disk_usage(place).free
    )


def measured_error() -> Error | None:
    """From `plan_error.json`, which `python -m benchmarks.plan_error` writes; None where it was never measured."""
    path = resources.files("luthier.recipes") / "plan_error.json"
    return Error(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
