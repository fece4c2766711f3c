"""The run file that a translation writes: every line says where it comes from."""

from collections.abc import Iterator
from typing import Any

import yaml

from luthier.arrivals.sheet import Line, Sheet
from luthier.spec import yaml_core
from luthier.spec.load import merge
from luthier.spec.run import RunSpec

SHORT = 100
"""Characters of a value that still stands on its key's line."""
INDENT = "  "


def text_of(sheet: Sheet) -> str:
    """YAML that loads to `sheet.values`, with a comment a line, and what did not carry over at the end."""
    nested: dict[str, Any] = {}
    for key, value in sheet.values.items():
        part: Any = _brief(value) if key in ("data.train", "data.validation") else value
        for word in reversed(key.split(".")):
            part = {word: part}
        nested = merge(nested, part, key)
    ordered = {key: nested[key] for key in RunSpec.model_fields if key in nested}
    lines = [f"# Made of {sheet.document.path} ({sheet.tool}) by `luthier migrate`. Every setting: docs/reference.md"]
    lines += _lines(ordered, "", sheet.notes, 0)
    lines += _left(sheet.lines)
    return "\n".join(lines) + "\n"


def _brief(sources: Any) -> Any:
    """A list of one file as the file, where nothing else is said of it."""
    if isinstance(sources, list) and len(sources) == 1 and isinstance(sources[0], dict) and set(sources[0]) == {"path"}:
        return sources[0]["path"]
    return sources


def _lines(values: dict[str, Any], prefix: str, notes: dict[str, str], depth: int) -> Iterator[str]:
    names = sorted(values, key=lambda name: name != "name")
    for name in names:
        value, key = values[name], f"{prefix}{name}"
        indent = INDENT * depth
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:"
            yield from _lines(value, f"{key}.", notes, depth + 1)
            continue
        note = _one_line(notes.get(key, ""))
        written = _flow(value)
        if len(written) > SHORT and isinstance(value, list):
            yield f"{indent}{name}:{f'  # {note}' if note else ''}"
            block = yaml_core.dump(value).rstrip("\n")
            yield from (f"{indent}{INDENT}{line}" for line in block.split("\n"))
        else:
            yield f"{indent}{name}: {written}{f'  # {note}' if note else ''}"


def _left(lines: list[Line]) -> Iterator[str]:
    """What has no equivalent, for whoever reads the run file alone."""
    left = [line for line in lines if line.fate in ("todo", "without", "unknown")]
    if left:
        yield "#"
        yield "# Not carried over:"
    for line in left:
        value = "" if line.value is None else f": {_flow(line.value)}"
        why = line.text or "not known here"
        yield f"#   {_one_line(f'{line.source}{value}'[:SHORT])}  ({_one_line(why)})"


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, float) and value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        mantissa, exponent = f"{value:e}".split("e")
        written = f"{float(mantissa):g}e{int(exponent)}"
        if float(written) == value:
            return written
    text: str = yaml.dump(value, Dumper=yaml_core.CoreDumper, default_flow_style=True, allow_unicode=True, width=1_000_000, sort_keys=False)
    return text.removesuffix("...\n").strip()


def _one_line(text: str) -> str:
    return " ".join(text.split())
