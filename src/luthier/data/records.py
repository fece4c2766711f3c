"""A data file's rows as fields, whatever holds them: JSONL, a JSON array or object, CSV, TSV, Parquet, each also as `.gz`.

What a file is, its content says; its name only where the content can't.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec

from luthier.data import files, json_values, jsonl, tables
from luthier.data.jsonl import Fields
from luthier.errors import DataError
from luthier.spec.rows import Faulty, Origin

Container = Literal["jsonl", "json", "csv", "tsv", "parquet", "text"]

TEXTS = (".txt", ".text", ".md")
LINES = (".jsonl", ".ndjson")
TABLES: dict[str, Container] = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv"}


def suffix(path: Path) -> str:
    """A file's ending without `.gz`, in lower case."""
    endings = [ending.lower() for ending in path.suffixes if ending.lower() != ".gz"]
    return endings[-1] if endings else ""


def container(path: Path) -> Container:
    """What holds the rows of a file. `text`: nothing; a format reads its lines.

    Raises:
        DataError: as `files.lines`.
    """
    if files.is_parquet(path):
        return "parquet"
    first, *more = [line for _, line in islice(_not_blank(path), 2)] or [b""]
    if first.lstrip().startswith((b"{", b"[")):
        return _json_or_lines(first, bool(more), suffix(path))
    return TABLES.get(suffix(path)) or ("jsonl" if suffix(path) in (*LINES, ".json") else "text")


def records(path: Path, kind: Container | None = None) -> Iterator[tuple[Origin, Fields] | Faulty]:
    """Each row's place and fields, in the file's order, or what is wrong with it. JSONL, tables and Parquet are never held whole.

    `Origin.line` is the line in JSONL and tables, the row counted from 1 in a JSON array or object and in Parquet.

    Raises:
        DataError: a file that can't be read on.
    """
    kind = kind or container(path)
    if kind == "jsonl":
        yield from _lines(path)
    elif kind == "json":
        yield from json_values.records(path)
    elif kind == "parquet":
        from luthier.data import parquet  # here, because pyarrow takes 0.2 s to import

        yield from parquet.records(path)
    elif kind != "text":
        yield from tables.records(path, kind)


def of_split(record: tuple[Origin, Fields] | Faulty, split: str) -> bool:
    """Whether a record belongs to one part of its file. What can't be read belongs to any."""
    return isinstance(record, Faulty) or str(record[1].get(json_values.SPLIT)) == split


def _not_blank(path: Path) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in files.lines(path) if line and not line.isspace())


def _json_or_lines(first: bytes, more: bool, ending: str) -> Container:
    """The kind of a file that begins like JSON."""
    try:
        value = msgspec.json.decode(first)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if isinstance(value, dict):
        whole = not more and ending not in LINES and json_values.holds_rows(value)
        return "json" if whole else "jsonl"
    if ending in TEXTS:
        return "text"
    begins_object = first.lstrip().startswith(b"{")
    spread = value is None and (first.strip() == b"{" or (ending == ".json" and more))
    return "jsonl" if begins_object and not spread else "json"


def _lines(path: Path) -> Iterator[tuple[Origin, Fields] | Faulty]:
    name = str(path)
    for number, line in _not_blank(path):
        origin = Origin(name, number)
        try:
            fields = jsonl.fields(line, origin)
        except DataError as error:
            yield Faulty(str(error), origin)
            continue
        yield origin, fields
