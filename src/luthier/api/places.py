"""Places on the server, which are not told to clients: bases go by their names, and the platform's own folder is left out."""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from luthier.api.platform import Platform


def places(here: Platform, project: str) -> dict[str, str]:
    """What is hidden, and what stands for it, the longest first: one folder may lie in another."""
    known = {model.base: model.name for model in here.models.of(project) if model.project is None and model.base.startswith("/")}
    known[f"{here.home.folder}/"] = ""
    return dict(sorted(known.items(), key=lambda pair: -len(pair[0])))


def named_alone(settings: Any) -> dict[str, str]:
    """The paths that somebody at the server wrote into settings: files and folders by their names alone."""
    return {text: PurePosixPath(text).name for text in sorted(_paths(settings), key=len, reverse=True)}


def _paths(settings: Any) -> Iterator[str]:
    if isinstance(settings, str):
        if settings.startswith("/") and PurePosixPath(settings).name:
            yield settings
    elif isinstance(settings, Mapping):
        for value in settings.values():
            yield from _paths(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _paths(value)


def without(text: str, hidden: Mapping[str, str]) -> str:
    """The same text, with what stands for each place."""
    for place, shown in hidden.items():
        text = text.replace(place, shown)
    return text
