"""Paths in a run's settings: relative to the current folder where a person writes them, absolute in what a run keeps."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from luthier.spec.base import Component
from luthier.spec.folder import is_path
from luthier.spec.run import DataSource, RunSpec, Sources

Part = TypeVar("Part", bound=Component)

PLACES = frozenset({"path", "schema", "model", "embedding_model", "start"})
"""Settings of adapters, rewards and graders that may name a folder or a file."""


def anchored(spec: RunSpec) -> RunSpec:
    """The same settings with every path absolute, so that they hold from any folder. Names and Hugging Face ids stay."""
    model = {"path": _model(spec.model.path), "chat_template": spec.model.chat_template and _template(spec.model.chat_template)}
    data = {"train": _sources(spec.data.train), "validation": _sources(spec.data.validation)}
    changed: dict[str, Any] = {
        "model": spec.model.model_copy(update=model),
        "data": spec.data.model_copy(update=data),
        "method": _component(spec.method),
        "adapter": _placed(spec.adapter),
        "reward": tuple(_placed(source) for source in spec.reward),
        "check": spec.check and _placed(spec.check),
        "out": spec.out and absolute(spec.out),
    }
    return spec.model_copy(update=changed)


def absolute(path: str) -> str:
    return os.path.abspath(Path(path).expanduser())


def shown(path: str) -> str:
    """As a person in the current folder would type it, where it lies below; else as it is."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) and Path(path) != here else path


def _model(path: str) -> str:
    """A folder that is there. What is not may be a Hugging Face id; what is wrong is told in the words it was given in."""
    return absolute(path) if path != "starter" and Path(path).expanduser().is_dir() else path


def _template(setting: str) -> str:
    return setting if setting == "plain" else absolute(setting)


def _sources(sources: Sources) -> Sources:
    return tuple(_source(source) for source in sources)


def _source(source: DataSource) -> DataSource:
    return source.model_copy(update={"path": absolute(source.path), "format": _file(source.format)})


def _component(component: Component) -> Component:
    return component.model_copy(update={"name": _file(component.name)})


def _placed(source: Part) -> Part:
    """An adapter or a reward, with the runs, models, adapters and schemas that its settings name."""
    return type(source).model_validate({**source.model_dump(), **_places(source.settings), "name": _file(source.name)})


def _places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which what names a place that is there is absolute."""
    return {key: _places(value) if isinstance(value, Mapping) else _place(key, value) for key, value in settings.items()}


def _place(key: str, value: Any) -> Any:
    there = key in PLACES and isinstance(value, str) and value != "starter" and Path(value).expanduser().exists()
    return absolute(value) if there else value


def _file(name: str) -> str:
    """A name from a room stays; a Python file of the user's own is a path."""
    return absolute(name) if is_path(name) else name
