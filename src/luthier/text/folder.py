"""Model folders on this machine, found and looked at without torch: the bundled one, those given by path, and Hugging Face's cache."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from luthier.errors import ModelError
from luthier.spec.nearest import did_you_mean
from luthier.spec.run import ModelSpec

STARTER = Path(__file__).resolve().parent.parent / "starter"

DEFAULT_CONTEXT = 2048
"""Longest row where a model's config does not say how many positions it has."""


def local_folder(model: ModelSpec, environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of a model that is on this machine; nothing is downloaded.

    Raises:
        ModelError: it is not here.
    """
    if model.path == "starter":
        return STARTER
    folder = Path(model.path).expanduser()
    if folder.is_dir():
        return folder
    cached = _snapshot(cache(environment) / f"models--{model.path.replace('/', '--')}", model.revision or "main")
    if model.path.count("/") == 1 and cached is not None:
        return cached
    beside = [entry.name for entry in folder.parent.iterdir() if entry.is_dir()] if folder.parent.is_dir() else []
    raise ModelError(
        f"`model.path`: {model.path} is neither a folder here nor in the Hugging Face cache ({cache(environment)})."
        f"{did_you_mean(folder.name, beside)} Give a model folder, or `starter`; `luthier train` and `hf download` fetch a model by its id."
    )


def cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Where Hugging Face's libraries keep what they download."""
    if hub := environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE"):
        return Path(hub).expanduser()
    home = environment.get("HF_HOME") or str(Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(home).expanduser() / "hub"


def cached_models(environment: Mapping[str, str] = os.environ) -> Iterator[tuple[str, Path]]:
    """(id, folder) of each model in the cache that has a config, by id."""
    for entry in sorted(cache(environment).glob("models--*--*")):
        snapshot = _snapshot(entry, "main")
        if snapshot is not None and (snapshot / "config.json").is_file():
            yield entry.name.removeprefix("models--").replace("--", "/", 1), snapshot


def read_config(folder: Path) -> dict[str, Any]:
    """config.json as it stands, the text part of a model for several media merged over it; empty where there is none.

    Raises:
        ModelError: not JSON.
    """
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} can't be read as JSON ({error}). Download or copy it again.") from error
    return {**config, **(config.get("text_config") or {})} if isinstance(config, dict) else {}


def context_length(folder: Path) -> int | None:
    """How many positions a model has; None where its config does not say."""
    config = read_config(folder)
    return next((int(config[key]) for key in ("max_position_embeddings", "n_positions", "n_ctx") if config.get(key)), None)


def _snapshot(entry: Path, revision: str) -> Path | None:
    """The folder of one revision (branch, tag or commit) in a cache entry."""
    reference = entry / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    folder = entry / "snapshots" / commit
    return folder if folder.is_dir() else None
