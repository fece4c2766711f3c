"""Models to start from: those on this machine, which of them fit it, and open ones that could be downloaded. Without torch."""

import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from luthier.errors import ModelError, UserError
from luthier.spec import yaml_core
from luthier.spec.run import ModelSpec
from luthier.text.folder import STARTER, cached_models, context_length, local_folder
from luthier.text.renderer import Renderer

FLOATS = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}
"""Bytes of each type that weights can be trained from, as safetensors names them."""

OVERHEAD_BYTES = 1.0e9
"""The program with its libraries, and the activations of a short stream."""

BYTES_PER_PARAMETER = {False: 2.6, True: 18.0}
"""Rules of thumb, by whether every weight learns: a frozen base in bf16 with its adapter; fp32 weights, gradients, two moments of Adam and
a copy in the type of the computation. `luthier plan` computes it part by part."""

FLOPS_PER_PARAMETER = {False: 4.0, True: 6.0}
"""Of one token: forward 2, gradient of the inputs 2, and of the weights 2 where they learn. (Kaplan et al., 2020, arXiv:2001.08361)"""

LONGEST_S = 10 * 3600.0
"""A night."""


@dataclass(frozen=True)
class Machine:
    """`memory_bytes` that can be taken; `flops` of matrix products a second, roughly."""

    memory_bytes: float
    flops: float


@dataclass(frozen=True)
class Candidate:
    """A model. `path` is what `model.path` would say; `folder` None: it would have to be downloaded first."""

    path: str
    parameters: float
    context: int | None
    chat: bool
    """It has a chat template."""
    folder: Path | None = None
    licence: str = ""

    def memory_bytes(self, whole: bool) -> float:
        """Needed to train it, roughly. `whole`: every weight learns."""
        return OVERHEAD_BYTES + BYTES_PER_PARAMETER[whole] * self.parameters

    def seconds(self, num_tokens: float, whole: bool, machine: Machine) -> float:
        return FLOPS_PER_PARAMETER[whole] * self.parameters * num_tokens / machine.flops

    def fits(self, num_tokens: float, whole: bool, machine: Machine) -> bool:
        """Into the memory, and into a night."""
        return self.memory_bytes(whole) <= machine.memory_bytes and self.seconds(num_tokens, whole, machine) <= LONGEST_S


@dataclass(frozen=True)
class Unusable:
    """A model folder that cannot be trained from, and why."""

    path: str
    why: str


def look(path: str, folder: Path) -> Candidate | Unusable:
    """A model folder, from its config, tokenizer and the headers of its weights."""
    try:
        parameters = _num_parameters(folder)
        renderer = Renderer.load(folder)
        return Candidate(path, parameters, context_length(folder), bool(renderer.template_sources), folder)
    except UserError as error:
        return Unusable(path, str(error))


def on_this_machine(places: Iterable[Path], environment: Mapping[str, str] = os.environ) -> list[Candidate | Unusable]:
    """The starter, Hugging Face's cache, and the model folders in `places`, each once."""
    named = [("starter", STARTER), *cached_models(environment), *_folders(places)]
    seen = dict[Path, str]()
    for path, folder in named:
        seen.setdefault(folder.resolve(), path)
    return [look(path, folder) for folder, path in seen.items()]


def downloadable() -> list[Candidate]:
    """Open models by size."""
    text = (resources.files("luthier") / "recipes" / "open_models.yaml").read_text(encoding="utf-8")
    entries: list[dict[str, Any]] = yaml_core.parse(text, "open_models.yaml")[0]
    return [Candidate(e["id"], e["parameters"], e["context"], e["chat"], None, e["licence"]) for e in entries]


def named(path: str) -> Candidate:
    """A model that the user names: one on this machine, or an open one that is known.

    Raises:
        ModelError: neither, or it can't be trained from.
    """
    known = [candidate for candidate in downloadable() if candidate.path == path]
    try:
        folder = local_folder(ModelSpec(path=path))
    except ModelError:
        if known:
            return known[0]
        raise
    found = look(path, folder)
    if isinstance(found, Unusable):
        raise ModelError(found.why)
    return found


def by_fitness(candidates: Iterable[Candidate], chat: bool, num_tokens: float, machine: Machine) -> list[Candidate]:
    """Those that fit, with a frozen base, before those that do not; then those with a chat template where it is wanted; then the largest.

    Of those that do not fit the smallest comes first.
    """

    def key(candidate: Candidate) -> tuple[bool, bool, float]:
        fits = candidate.fits(num_tokens, False, machine)
        return not fits, chat and not candidate.chat, -candidate.parameters if fits else candidate.parameters

    return sorted(candidates, key=key)


def _folders(places: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """`places` themselves and what lies directly in them, where it looks like a model."""
    for place in places:
        inside = sorted(entry for entry in place.iterdir() if entry.is_dir()) if place.is_dir() else []
        for folder in (place, *inside):
            if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
                yield str(folder), folder


def _num_parameters(folder: Path) -> int:
    """From the headers alone. Raises `ModelError` where weights are missing, damaged or quantized."""
    total = 0
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in _header(file).items():
            if name == "__metadata__":
                continue
            if tensor["dtype"] not in FLOATS:
                raise ModelError(f"{file} holds weights in {tensor['dtype']}: a quantized model, which can't be trained from yet.")
            total += math.prod(tensor["shape"])
    if not total:
        raise ModelError(f"{folder} holds no model.safetensors.")
    return total


def _header(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header: dict[str, Any] = json.loads(opened.read(min(length, 1 << 28)))
            return header
    except (struct.error, ValueError, OSError) as error:
        raise ModelError(f"{file} is damaged or cut short ({error}). Copy or download it again.") from None
