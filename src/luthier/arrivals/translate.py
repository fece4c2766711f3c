"""A settings file of another tool as a run file of ours: which tool it is of, what carries over, and what does not."""

import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import jsonschema

from luthier.arrivals import settings
from luthier.arrivals.documents import Document, read
from luthier.arrivals.run_file import text_of
from luthier.arrivals.sheet import Line, Sheet
from luthier.errors import SettingsError
from luthier.spec.effective import refuse_ineffective
from luthier.spec.load import load_part
from luthier.spec.nearest import did_you_mean, listed
from luthier.spec.run import RunSpec
from luthier.spec.schema import stored

COMPONENTS = {"method": "methods", "adapter": "adapters"}
"""Settings whose own settings stand beside their name, and their part of schema.json."""

METHODS = ("sft", "pretrain", "dpo", "orpo", "kto", "reward_model", "ppo", "grpo")


@dataclass(frozen=True)
class Translation:
    """`text`: the run file. `spec`: the same, loaded. `lines`: what became of each of theirs. `differences`: what else changes."""

    path: str
    tool: str
    text: str
    spec: RunSpec
    lines: tuple[Line, ...]
    differences: tuple[str, ...]

    def of(self, *fates: str) -> list[Line]:
        return [line for line in self.lines if line.fate in fates]


def tools() -> dict[str, ModuleType]:
    """Every tool whose settings can be brought along, by the name of its file."""
    return {found.name: import_module(f"{settings.__name__}.{found.name}") for found in pkgutil.iter_modules(settings.__path__)}


def recognized(document: Document) -> ModuleType:
    """The tool that a file is of, by its keys.

    Raises:
        SettingsError: of none that is known; or it is a run file of ours.
    """
    marks = {name: tool.recognizes(document) for name, tool in tools().items()}
    best = max(marks, key=lambda name: marks[name])
    if marks[best]:
        return tools()[best]
    if {"model", "method"} <= document.values.keys() or {"data", "train", "adapter"} & document.values.keys() == {
        "data",
        "train",
        "adapter",
    }:
        raise SettingsError(f"{document.path} looks like a run file of Luthier's own: start it with `luthier train {document.path}`.")
    keys = ", ".join(f"`{key}`" for key in list(document.values)[:6])
    found = f"Its keys are {keys}" if keys else "It calls none of their trainers"
    raise SettingsError(
        f"{document.path}: no tool is recognized by its settings. {found}. Known are {', '.join(tool.NAME for tool in tools().values())}; "
        f"name the one it is of with `--tool`."
    )


def translated(path: str, tool: str | None = None, method: str | None = None, devices: int = 1) -> Translation:
    """A run file made of another tool's settings.

    Args:
        tool: whose they are; None to recognize it. method: ours, where the file does not say which. devices: on how many it ran.
    Raises:
        SettingsError: a file that cannot be read, or of no known tool; a tool or method that is none.
    """
    if tool is not None and tool.replace("-", "_").lower() not in tools():
        raise SettingsError(f"There is no tool `{tool}` here.{did_you_mean(tool, tools())} Known are {listed(list(tools()), 'and')}.")
    if method is not None and method not in METHODS:
        raise SettingsError(f"There is no method `{method}`.{did_you_mean(method, METHODS)} Known are {listed(METHODS, 'and')}.")
    document = read(path)
    module = tools()[tool.replace("-", "_").lower()] if tool else recognized(document)
    sheet = Sheet(document, module.NAME, devices, method)
    module.translate(sheet)
    return finished(sheet)


def finished(sheet: Sheet) -> Translation:
    """A sheet that every key was taken from, checked. Raises `SettingsError` where what came out does not go together."""
    sheet.rest()
    _have_effect(sheet)
    for key, why in _out_of_range(sheet):
        sheet.values.pop(key, None)
        sheet.lines = [_refused(line, why) if line.to == key else line for line in sheet.lines]
    spec = load_part(sheet.values, {})
    refuse_ineffective(spec, spec.method.name != "pretrain")
    return Translation(sheet.document.path, sheet.tool, text_of(sheet), spec, tuple(sheet.lines), tuple(dict.fromkeys(sheet.differences)))


def _refused(line: Line, why: str) -> Line:
    return Line("without", line.source, line.value, "", None, why, line.line)


def _have_effect(sheet: Sheet) -> None:
    """Leave out what would do nothing: it would be refused."""
    values = sheet.values
    validated = values.get("data.validation") or values.get("data.validation_share")
    if values.get("optimizer.schedule") == "constant":
        _drop(sheet, "optimizer.final_share", "a constant rate does not fall")
    if values.get("data.validation"):
        _drop(sheet, "data.validation_share", "rows to validate on are named")
    if not validated:
        _drop(sheet, "evaluation.patience", "there is nothing to validate on")
    if values.get("method.name") == "pretrain":
        for key in ("data.too_long", "model.chat_template"):
            _drop(sheet, key, "documents need none")
    if not values.get("data.train"):
        sheet.ask("data", "the file names no rows: set `data.train`")


def _drop(sheet: Sheet, key: str, why: str) -> None:
    if sheet.values.pop(key, None) is not None:
        sheet.lines = [
            Line("automatic", line.source, line.value, "", None, why, line.line) if line.to == key else line for line in sheet.lines
        ]


def _out_of_range(sheet: Sheet) -> Iterator[tuple[str, str]]:
    """Keys whose value cannot stand here, with the reason."""
    for key, value in list(sheet.values.items()):
        group, _, name = key.partition(".")
        if group in COMPONENTS and name and name != "name":
            fault = _fault_of_part(group, str(sheet.values.get(f"{group}.name")), name, value)
            if fault:
                yield key, fault
            continue
        try:
            load_part({key: value}, {})
        except SettingsError as error:
            yield key, str(error).partition("\n")[0]


def _fault_of_part(group: str, name: str, key: str, value: Any) -> str | None:
    """What is wrong with one setting of a method or adapter, by schema.json."""
    part = stored()[COMPONENTS[group]].get(name)
    if part is None:
        return None
    nested: Any = value
    for word in reversed(key.split(".")):
        nested = {word: nested}
    try:
        jsonschema.validate(nested, {**part["settings"], "required": []})
    except jsonschema.ValidationError as error:
        return f"`{group}.{key}` cannot be {value!r} here: {error.message}"
    return None


def summary(translations: Sequence[Translation]) -> dict[str, int]:
    """How many settings had which fate."""
    counts: dict[str, int] = {}
    for translation in translations:
        for line in translation.lines:
            counts[line.fate] = counts.get(line.fate, 0) + 1
    return counts
