"""A run's adapter added to its base: a plain model that anything can load, kept only if it answers like base and adapter."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedModel

from luthier.adapters import lora
from luthier.adapters.routing import Routing, routed
from luthier.data.load import stream
from luthier.engine.artefact import copy_tokenizer
from luthier.engine.folder import RunFolder
from luthier.engine.setup import POLICY
from luthier.errors import ModelError, RunError, SettingsError, UserError
from luthier.models import device as devices
from luthier.models import load as models
from luthier.models.load import load_model
from luthier.recipes.assistant import checked_base, checked_renderer, load_weights
from luthier.spec import folder as registry
from luthier.spec.load import load_run
from luthier.spec.paths import shown
from luthier.spec.rows import Conversation, Document, Message
from luthier.spec.run import RunSpec
from luthier.text.renderer import Renderer

EXACT = 1e-5
"""Relative difference of logits that fp32 arithmetic alone makes; no merge is refused for less."""

ROUNDINGS = 4
"""A merged model may differ by so many roundings of its type (`torch.finfo(dtype).eps`)."""

NOISES = 4
"""… or by so many times what computing base and adapter in that type, instead of in fp32, changes. That rounds what flows through the
layers; merging rounds the weights as well, which made 2.9 times as much in 28 random layers."""

KEPT = 0.5
"""In any case by at most this share of what the adapter changes: nearer to the adapter's answers than to the base's."""

NUM_ROWS, ROW_TOKENS = 4, 256
"""Real rows that logits are compared on, and how much of each."""


@dataclass(frozen=True)
class Merged:
    """The merged model's folder; layers changed; relative differences of logits, in fp32.

    `difference`: merged and loaded again, against base and adapter. `effect`: base and adapter, against the base alone. `noise`: base and
    adapter computed in the merged model's type, against fp32.
    """

    path: Path
    num_layers: int
    dtype: str
    difference: float
    effect: float
    noise: float
    tolerance: float
    num_rows: int


def merge(run: Path, out: Path, dtype: str | None = None, say: Callable[[str], None] = lambda _: None) -> Merged:
    """Write base plus adapter of a finished run into the new folder `out`, with tokenizer and template.

    Args:
        dtype: of the weights; None: that of the base's files.
    Raises:
        RunError: no finished run with an adapter, or a folder that holds something. ModelError: the merged model answers differently.
    """
    folder, spec, record = _finished(run)
    _refuse_full(out)
    base = checked_base(run, spec, record)
    renderer = checked_renderer(run, spec, record, base, saved=False)
    kind = _dtype(dtype) if dtype else models.stored_dtype(base)
    rows = list(real_rows(spec, renderer))
    say(f"Adding the adapter to {shown(spec.model.path)}, in {str(kind).removeprefix('torch.')}")
    partial = out.with_name(f".partial-{out.name}")
    try:
        in_its_type = None if kind == torch.float32 else _logits(_with_adapter(folder, base, kind), rows)
        num_layers, before, with_adapter = _write(folder, base, renderer, kind, rows, partial)
        say("Loading it again and comparing its answers")
        after = _logits(load_model(partial, torch.float32, devices.default_device()), rows)
        effect, difference = _relative(with_adapter, before), _relative(after, with_adapter)
        noise = _relative(in_its_type, with_adapter) if in_its_type else 0.0
        tolerance = max(EXACT, min(max(ROUNDINGS * torch.finfo(kind).eps, NOISES * noise), KEPT * effect))
        if not difference <= tolerance:
            raise ModelError(_refusal(difference, tolerance, effect, kind))
        if out.is_dir():
            out.rmdir()
        partial.replace(out)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{out} could not be written ({error}). Make room, or choose another folder.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Merged(out, num_layers, str(kind).removeprefix("torch."), difference, effect, noise, tolerance, len(rows))


def _finished(run: Path) -> tuple[RunFolder, RunSpec, dict[str, Any]]:
    folder = RunFolder(run)
    if not folder.is_run:
        raise RunError(f"{run} holds no run (there is no run.yaml). Give a folder that `luthier train` made.")
    spec, record = load_run(str(folder.run_file)), folder.read_record()
    if record["status"] != "succeeded":
        raise RunError(f"{run} is {record['status']}; only a finished run is merged. Go on with it first: luthier resume {run}")
    if registry.load("luthier.adapters", spec.adapter.name).WHOLE_MODEL:
        raise RunError(
            f"{run} tuned the model's own weights (`adapter: {spec.adapter.name}`): there is nothing to merge. "
            f"The model lies in {folder.model}."
        )
    return folder, spec, record


def _refuse_full(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RunError(f"{out} is there already, and nothing is written over. Choose a new folder.")
    if not out.parent.is_dir():
        raise RunError(f"There is no folder {out.parent}. Make it first, or choose another place.")


def _dtype(name: str) -> torch.dtype:
    known = {str(dtype).removeprefix("torch."): dtype for dtype in models.DTYPES.values()}
    if name not in known:
        raise SettingsError(f"`dtype` is {name}; it must be one of {', '.join(known)}.")
    return known[name]


def real_rows(spec: RunSpec, renderer: Renderer) -> Iterator[np.ndarray]:
    """The beginnings of a few rows of the run's data, or its fixed prompts where the data is gone."""
    found = 0
    for source in (*spec.data.validation, *spec.data.train):
        try:
            rows = [r for r in islice(stream(source), NUM_ROWS) if isinstance(r, Conversation | Document)]
            ids = [renderer.document(r.text).ids if isinstance(r, Document) else renderer.sequences(r).sequences[0].ids for r in rows]
        except UserError:
            continue
        yield from (row[:ROW_TOKENS] for row in ids[: NUM_ROWS - found])
        found += len(ids[: NUM_ROWS - found])
    if not found:
        for prompt in spec.evaluation.prompts or ("The",):
            yield renderer.prompt_ids([Message("user", prompt)]) if renderer.template_sources else renderer.document(prompt).ids


def _with_adapter(folder: RunFolder, base: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Base and adapter, unmerged, in a type."""
    model = load_model(base, dtype, devices.default_device())
    load_weights(model, folder.adapter, whole=False, on_base=True)
    model.eval()
    return model


def _write(
    folder: RunFolder, base: Path, renderer: Renderer, dtype: torch.dtype, rows: list[np.ndarray], out: Path
) -> tuple[int, list[Tensor], list[Tensor]]:
    """Merge and save into `out`; the number of layers, and the logits of the base alone and with its adapter, both in fp32."""
    model = load_model(base, torch.float32, devices.default_device())
    before = _logits(model, rows)
    load_weights(model, folder.adapter, whole=False, on_base=True)
    with_adapter = _logits(model.eval(), rows)
    num_layers = lora.merge(model, POLICY)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    model.to(dtype)  # type: ignore[arg-type]
    model.save_pretrained(out)
    copy_tokenizer(base, renderer, out)
    return num_layers, before, with_adapter


@torch.no_grad()
def _logits(model: PreTrainedModel, rows: list[np.ndarray]) -> list[Tensor]:
    device = next(model.parameters()).device
    with routed(Routing(POLICY)):
        return [model(input_ids=torch.from_numpy(row)[None].to(device), use_cache=False).logits[0].float() for row in rows]


def _relative(a: list[Tensor], b: list[Tensor]) -> float:
    """‖a - b‖ / ‖b‖ over all rows together."""
    difference = sum(float((x - y).double().square().sum()) for x, y in zip(a, b, strict=True))
    return float((difference / sum(float(y.double().square().sum()) for y in b)) ** 0.5)


def _refusal(difference: float, tolerance: float, effect: float, dtype: torch.dtype) -> str:
    name = str(dtype).removeprefix("torch.")
    remedy = "" if dtype == torch.float32 else " `--dtype float32` keeps the adapter's effect whole."
    return (
        f"The merged model's logits differ from those of base and adapter by {difference:.1e} (allowed {tolerance:.1e}; the adapter itself "
        f"changes them by {effect:.1e}), so it is not kept.{remedy or f' In {name} this should not happen: use the adapter unmerged.'}"
    )
