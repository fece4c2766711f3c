"""A data file as checked rows, its format recognized or as said."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from luthier.data import files, jsonl
from luthier.data.check import check
from luthier.data.recognize import FORMATS, Recognized, recognize
from luthier.data.records import of_split, records
from luthier.errors import DataError
from luthier.spec.nearest import listed
from luthier.spec.rows import Faulty, Origin, Row, Skipped
from luthier.spec.run import DataSource

__all__ = ["FORMATS", "DataSet", "Recognized", "load", "read", "recognize", "stream"]

KINDS = get_args(Row)


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
    recognized = one_part(source)
    skipped: list[Skipped] = []
    found = list(rows(source, recognized, skipped))
    if not found:
        raise DataError(f"{source.path} holds no row of the format `{recognized.format}`.")
    return DataSet(source, recognized, found, tuple(notes_on(skipped, source.path)), files.fingerprint(source.path))


def one_part(source: DataSource) -> Recognized:
    """How a file that is to be learned from is read. See `recognize`.

    Raises:
        DataError: besides, a file of several parts where none is named.
    """
    recognized = recognize(source)
    if recognized.parts and source.split is None:
        raise DataError(
            f"{source.path} holds several parts: {listed(recognized.parts, 'and')}. Say which to read, so that none is learned by mistake: "
            f"`{{path: {source.path}, split: {'train' if 'train' in recognized.parts else recognized.parts[0]}}}`."
        )
    return recognized


def rows(source: DataSource, recognized: Recognized, skipped: list[Skipped]) -> Iterator[Row]:
    """The rows alone, one after the other; stretches that are left out are added to `skipped`.

    Raises:
        DataError: the first fault.
    """
    for row in stream(source, recognized):
        if isinstance(row, Faulty):
            raise DataError(row.why)
        if isinstance(row, Skipped):
            skipped.append(row)
        else:
            yield row


def read(source: DataSource) -> list[Row]:
    """The checked rows of a file alone. See `load`."""
    return load(source).rows


def stream(source: DataSource, recognized: Recognized | None = None) -> Iterator[Row | Skipped | Faulty]:
    """Every row of a file, checked, in one pass, which goes on after a faulty one.

    It ends early only where nothing can follow: a file that breaks off, or a reader of one's own that
    raises. The last thing it yields then says so.

    Raises:
        DataError: a file that holds no rows at all. SettingsError: an unknown format.
    """
    recognized = recognized or recognize(source)
    path = files.existing(source.path)
    last = Origin(str(path), 0)
    try:
        for row in _rows(path, recognized, source.split):
            if isinstance(row, KINDS):
                last = row.origin
                try:
                    check(row)
                except DataError as error:
                    yield Faulty(str(error), row.origin)
                    continue
            elif not isinstance(row, Skipped | Faulty):
                raise DataError(
                    f"{recognized.format} yielded {type(row).__name__} from {source.path}; "
                    f"a format yields rows such as `Conversation` (luthier.spec.rows)."
                )
            yield row
    except DataError as error:
        yield Faulty(str(error), Origin(last.path, last.line + 1))


def _rows(path: Path, recognized: Recognized, split: str | None) -> Iterator[Row | Skipped | Faulty]:
    module = recognized.module
    if hasattr(module, "read") and (recognized.container == "text" or not hasattr(module, "row")):
        yield from module.read(path)
    elif recognized.container == "jsonl" and hasattr(module, "quick") and split is None:
        yield from _quick_rows(path, module)
    else:
        for record in records(path, recognized.container):
            if isinstance(record, Faulty):
                yield record
            elif split is None or of_split(record, split):
                yield from _of_fields(record[1], record[0], module)


def _quick_rows(path: Path, module: ModuleType) -> Iterator[Row | Skipped | Faulty]:
    """JSONL of a format that decodes most lines without making fields of them first."""
    name, quick = str(path), module.quick
    for number, line in files.lines(path):
        if not line or line.isspace():
            continue
        origin = Origin(name, number)
        if (row := quick(line, origin)) is not None:
            yield row
            continue
        try:
            fields = jsonl.fields(line, origin)
        except DataError as error:
            yield Faulty(str(error), origin)
            continue
        yield from _of_fields(fields, origin, module)


def _of_fields(fields: dict[str, Any], origin: Origin, module: ModuleType) -> Iterable[Row | Faulty]:
    """A record's row; several where several people judged it."""
    try:
        row = module.row(fields, origin)
    except DataError as error:
        return (Faulty(str(error), origin),)
    return row if isinstance(row, tuple) else (row,)


def notes_on(skipped: Iterable[Skipped], path: str) -> Iterator[str]:
    """What was left out of a file, a sentence for each reason."""
    reasons: dict[str, list[Skipped]] = {}
    for stretch in skipped:
        reasons.setdefault(stretch.why, []).append(stretch)
    for why, stretches in reasons.items():
        places = ", ".join(str(stretch.origin.line) for stretch in stretches[:3]) + (", …" if len(stretches) > 3 else "")
        number = "1 stretch was" if len(stretches) == 1 else f"{len(stretches)} stretches were"
        yield f"{path}: {number} left out ({why}), at line {places}."
