"""A run's settings from a YAML file, from `key=value`, and from what a command or Python gives; each fault is one sentence."""

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from luthier.errors import SettingsError
from luthier.spec import yaml_core
from luthier.spec.base import Component
from luthier.spec.faults import dotted, found_value, sentences
from luthier.spec.nearest import did_you_mean
from luthier.spec.run import RunSpec
from luthier.spec.schema import component_settings
from luthier.spec.settings import table

Values = dict[str, Any]
Places = dict[str, str]
"""The beginning of a sentence about each dotted key: `run.yaml:12: `."""

SHORT = {"model": "path", "data": "train"} | {name: "name" for name, field in RunSpec.model_fields.items() if field.annotation is Component}
"""The key that a bare word stands for: `model: starter` is `model: {path: starter}`, `adapter: lora` is `adapter: {name: lora}`."""


def load_run(path: str | None, overrides: Sequence[str] = (), **given: Any) -> RunSpec:
    """The settings of a run. What is given by keyword stands over the file, and `key=value` over both; a group is merged key by key.

    Args:
        path: a YAML file, or None.
        overrides: `optimizer.learning_rate=1e-4`, `data.train=[a.jsonl,b.jsonl]`, `data.train[1].weight=2`.
        given: keys of `RunSpec`, dotted ones too (`**{"train.epochs": 2}`); None means not given.
    Raises:
        SettingsError: one sentence for each fault: file and line, key, what was found, what may stand there.
    """
    values, places = _from_file(path) if path else ({}, {})
    for key, value in given.items():
        if value is not None:
            put(values, places, key, _plain(value), "")
    for override in overrides:
        key, value = split(override)
        put(values, places, key, value, f"`{override}`: ")
    return _validated(_with_names(values), places)


def load_part(values: Mapping[str, Any], places: Mapping[str, str], path: str | None = None) -> RunSpec:
    """The settings of a run that stand as a part of another file, over those of a run file.

    Args:
        places: the beginning of a sentence about each dotted key. path: the run file, or None.
    Raises:
        SettingsError: as `load_run`.
    """
    merged, known = _from_file(path) if path else ({}, {})
    for key, value in values.items():
        if value is not None:
            put(merged, known, key, value, places.get(key, ""))
    return _validated(_with_names(merged), {**known, **places})


def load_request(
    method: str = "sft",
    overrides: Sequence[str] = (),
    *,
    model: Any = None,
    data: Any = None,
    validation: Any = None,
    out: str | PathLike[str] | None = None,
    **settings: Any,
) -> RunSpec:
    """The settings of a run as `luthier train` and `luthier.train` are asked for it.

    Args:
        method: a method's name, a run file, a Python file; or a first `key=value`, and then it is sft.
        data, validation: a file, or several; in Python also with weights, or the whole group `data`.
        settings: as `given` of `load_run`.
    Raises:
        SettingsError: as `load_run`.
    """
    path = method if method.endswith((".yaml", ".yml")) else None
    if path is None and "=" in method:
        overrides, method = [method, *overrides], "sft"
    given: Values = {"model": model, "out": out, "method": method if path is None else None}
    if isinstance(data, Mapping) and "path" not in data:
        given["data"] = data
    elif data is not None:
        given["data"] = {"train": data}
    if validation is not None:
        given["data.validation"] = validation
    return load_run(path, overrides, **given, **settings)


def to_yaml(spec: RunSpec) -> str:
    """All settings as a run file that loads to the same run."""
    return yaml_core.dump(spec.model_dump(mode="json"))


def _from_file(path: str) -> tuple[Values, Places]:
    values, lines = yaml_core.parse(read_text(Path(path)), path)
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: a run file holds keys and values, such as `model: starter`. This one holds {found_value(values)}.")
    places = {key: f"{path}:{line}: " for key, line in lines.items()}
    merged: Values = {}
    for key, value in values.items():  # dotted keys work in a file, too
        if value is not None:  # a group with nothing under it
            put(merged, places, key, value, places[key])
    return merged, places


def read_text(path: Path, what: str = "run file") -> str:
    """The text of a settings file.

    Raises:
        SettingsError: there is none, or it is no text.
    """
    if path.is_dir():
        raise SettingsError(f"{path} is a folder. Name the {what} in it, such as {path / 'run.yaml'}.")
    if not path.exists():
        beside = [str(file) for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise SettingsError(f"There is no {what} {path}.{did_you_mean(str(path), beside)}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text. A {what} is YAML, saved as UTF-8.") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None


def split(override: str) -> tuple[str, Any]:
    """Key and value of `train.epochs=2`. Raises `SettingsError` where it is not of that form."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise SettingsError(f"`{override}` is not of the form `key=value`, such as `train.epochs=2`.")
    return key, yaml_core.parse_value(text.strip(), key)


def expanded(values: Mapping[str, Any]) -> Values:
    """Short forms written out, so that a later `adapter.rank=8` finds a group to stand in; groups with nothing in them left out."""
    given = {key: value for key, value in values.items() if value is not None}
    return {key: {SHORT[key]: value} if key in SHORT and isinstance(value, str | list | tuple) else value for key, value in given.items()}


def _plain(value: Any) -> Any:
    """What Python gives, as YAML would have: paths as text, settings as groups of what was set."""
    if isinstance(value, PathLike):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def put(values: Values, places: Places, key: str, value: Any, place: str) -> None:
    """Set one dotted key. A mapping is merged into what stands there; another component's name drops the settings of the one before."""
    first, *rest = _parts(key)
    for part in reversed(rest):
        value = {part: value}
    new = expanded({str(first): value}).get(str(first))
    old = values.get(str(first))
    values[str(first)] = merge({} if _renames(old, new) else old, new, key)
    written = dotted((first, *rest))
    _cover(places, written, place)


def _cover(places: Places, key: str, place: str) -> None:
    """A key set later, and whatever is in it, no longer stands where the earlier one stood."""
    if places.get(key) == place:
        return
    for covered in [other for other in places if other.startswith((f"{key}.", f"{key}["))]:
        del places[covered]
    places[key] = place


def _renames(old: Any, new: Any) -> bool:
    """Whether another component is named, to which the settings of the one before do not belong."""
    return isinstance(old, dict) and isinstance(new, dict) and "name" in new and "name" in old and new["name"] != old["name"]


def _parts(key: str) -> list[int | str]:
    """`data.train[1].weight` as `["data", "train", 1, "weight"]`."""
    words = key.replace("[", ".").replace("]", "").split(".")
    return [int(word) if word.isdigit() else word for word in words]


def merge(old: Any, new: Any, key: str) -> Any:
    """A value put over another one: groups key by key. Raises `SettingsError` where `key` goes into what is no group."""
    if not isinstance(new, dict):
        return new
    if new and all(isinstance(part, int) for part in new):
        return _with_item(old, next(iter(new.items())), key)
    if not isinstance(old, dict | None):
        raise SettingsError(f"`{key}` is one setting of a group, but the group was given as {found_value(old)}.")
    old = old or {}
    return {**old, **{part: merge(old.get(part), value, key) for part, value in new.items()}}


def _with_item(old: Any, item: tuple[int, Any], key: str) -> list[Any]:
    """A list with one element changed. Elements written as a path alone become `{path: …}` first."""
    index, value = item
    elements = [
        {"path": element} if isinstance(element, str) else element for element in ([old] if isinstance(old, str | dict) else old or [])
    ]
    if index >= len(elements):
        raise SettingsError(f"`{key}` names element {index}, counted from 0, of a list that has {len(elements)}.")
    return [merge(element, value, key) if i == index else element for i, element in enumerate(elements)]


def _with_names(values: Values) -> Values:
    """Settings of a method or adapter that is not named belong to the default one."""
    named = dict(values)
    for key, value in values.items():
        field = RunSpec.model_fields.get(key)
        if field is not None and isinstance(field.default, Component) and isinstance(value, dict):
            named[key] = {"name": field.default.name, **value}
    return named


def _validated(values: Values, places: Places) -> RunSpec:
    try:
        return RunSpec(**values)
    except ValidationError as error:
        own = table(RunSpec.model_json_schema())
        everywhere = {**own, **dict(_component_settings(values))}
        raise SettingsError("\n".join(sentences(error, own, everywhere, lambda key: _place(key, places)))) from None


def _component_settings(values: Values) -> Iterator[tuple[str, Any]]:
    """The settings of the chosen method and adapter, as far as schema.json knows them."""
    for key, field in RunSpec.model_fields.items():
        if isinstance(field.default, Component):
            chosen = values.get(key)
            name = chosen.get("name") if isinstance(chosen, dict) else None
            yield from component_settings(key, str(name or field.default.name)).items()


def _place(key: str, places: Places) -> str:
    """The place of a key, or of the nearest group around it that was given."""
    while key and key not in places:
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return places.get(key, "")
