"""A data file as checked rows, its format recognized or as said."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import get_args

from luthier.data import files, jsonl
from luthier.data.check import check
from luthier.data.sample import Sample, sample
from luthier.errors import DataError
from luthier.spec import folder
from luthier.spec.nearest import listed
from luthier.spec.rows import Origin, Row, Skipped
from luthier.spec.run import DataSource

FORMATS = "luthier.data.formats"

REMEDIES = {
    "chosen": "They are pairs of a better and a worse answer, which methods for preferences learn from, not this one.",
    "rejected": "They are pairs of a better and a worse answer, which methods for preferences learn from, not this one.",
    "label": "A `label` judges a text or names its class; what is to be imitated must stand as a `completion`.",
    "conversations": 'They look like ShareGPT\'s: write `{"messages": [{"role": "user", "content": …}, …]}`.',
    "instruction": 'They look like Alpaca\'s: write `{"prompt": …, "completion": …}`, the input joined to the instruction.',
}
"""What to do about rows that other tools know, by a field that gives them away."""


@dataclass(frozen=True)
class Recognized:
    """How a file is read. `mapping` says what becomes of its fields, for people; `automatic` whether it was recognized or given."""

    format: str
    mapping: str
    automatic: bool
    module: ModuleType

    def __str__(self) -> str:
        return f"{self.format}{' (recognized)' if self.automatic else ''}" + (f": {self.mapping}" if self.mapping else "")


@dataclass(frozen=True)
class DataSet:
    """The rows of one file, in its order, and what a record says about it."""

    source: DataSource
    recognized: Recognized
    rows: list[Row]
    notes: tuple[str, ...]
    """What was left out, as sentences. Shown, and kept in the record."""
    fingerprint: str
    """SHA-256 of the file."""


def load(source: DataSource) -> DataSet:
    """Read a file whole, each row checked.

    Raises:
        DataError: a file or row that cannot be used: where, what was found, what to do.
        SettingsError: an unknown format.
    """
    recognized = recognize(source)
    rows: list[Row] = []
    skipped: list[Skipped] = []
    for row in recognized.module.read(files.existing(source.path)):
        if isinstance(row, Skipped):
            skipped.append(row)
            continue
        if not isinstance(row, get_args(Row)):
            raise DataError(
                f"{source.format} yielded {type(row).__name__} from {source.path}; a format yields `Conversation` or `Document` rows."
            )
        check(row)
        rows.append(row)
    if not rows:
        raise DataError(f"{source.path} holds no row of the format `{recognized.format}`.")
    return DataSet(source, recognized, rows, tuple(_notes(skipped, source.path)), files.fingerprint(source.path))


def read(source: DataSource) -> list[Row]:
    """The checked rows of a file alone. See `load`."""
    return load(source).rows


def recognize(source: DataSource) -> Recognized:
    """The format of a file: the one given, or the one that fits best.

    Raises:
        DataError: no format fits, or several do equally; an empty, binary or missing file.
        SettingsError: an unknown format.
    """
    path = files.existing(source.path)
    beginning = sample(path)
    if not beginning.lines:
        raise DataError(f"{source.path} is empty. Give a file with at least one row.")
    automatic = source.format == "auto"
    name = _fitting(beginning, source.path) if automatic else source.format
    module = folder.load(FORMATS, name)
    describe = getattr(module, "mapping", None)
    return Recognized(name, describe(beginning) if describe else "", automatic, module)


def _fitting(beginning: Sample, path: str) -> str:
    scores = {name: folder.load(FORMATS, name).sniff(beginning) for name in folder.names(FORMATS)}
    best = max(scores.values())
    if best < 0.5:
        raise DataError(_unrecognized(beginning, path))
    fitting = [name for name, score in scores.items() if score == best]
    if len(fitting) > 1:
        if best < 1:
            raise DataError(
                f"{path} holds rows of the formats {listed(fitting, 'and')}. All rows of a file have one format: give each a file."
            )
        raise DataError(f"{path} fits the formats {listed(fitting, 'and')}. Say which: `{{path: {path}, format: {fitting[0]}}}`.")
    return fitting[0]


def _unrecognized(beginning: Sample, path: str) -> str:
    """What the file looks like instead, and what to do."""
    known = f"Known formats: {'; '.join(f'`{name}` ({folder.load(FORMATS, name).DESCRIPTION})' for name in folder.names(FORMATS))}."
    if not beginning.objects:
        if beginning.lines[0].lstrip().startswith(("{", "[")):
            jsonl.fields(beginning.lines[0].encode(), Origin(path, 1))
        first = jsonl.shown(beginning.lines[0])
        return f"{path} is not in a format that can be read: its first line is {first}. {_text_remedy(beginning)} {known}"
    keys = list(beginning.objects[0])
    remedy = next((f" {REMEDIES[key]}" for key in REMEDIES if key in keys), "")
    return f"{path} is not in a format that can be read: its rows have {listed(keys[:8], 'and') or 'no fields'}.{remedy} {known}"


def _text_remedy(beginning: Sample) -> str:
    if beginning.suffix in (".csv", ".tsv"):
        return "A table must be turned into JSONL, with one column as `prompt` and one as `completion`."
    return "Raw text in a file not named `.txt` is read with `format: text`."


def _notes(skipped: Iterable[Skipped], path: str) -> Iterator[str]:
    reasons: dict[str, list[Skipped]] = {}
    for stretch in skipped:
        reasons.setdefault(stretch.why, []).append(stretch)
    for why, stretches in reasons.items():
        places = ", ".join(str(stretch.origin.line) for stretch in stretches[:3]) + (", …" if len(stretches) > 3 else "")
        number = "1 stretch was" if len(stretches) == 1 else f"{len(stretches)} stretches were"
        yield f"{path}: {number} left out ({why}), at line {places}."
