"""The beginning of a data file, from which formats tell whether it is theirs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from luthier.data import files, json_values, jsonl, tables
from luthier.data.records import Container, container, of_split, records, suffix
from luthier.errors import DataError
from luthier.spec.nearest import listed
from luthier.spec.rows import Faulty, Origin

ROWS = 32
BYTES = 1 << 16


@dataclass(frozen=True)
class Sample:
    """`suffix`: the file's ending without `.gz`, in lower case. `objects`: the fields of its first rows, where it has rows.

    `lines`: its first lines that are not blank, of text and JSONL. `num`: how many rows (of text: lines) these are, the unreadable
    among them. `unnamed`: whether the columns' names are ours, because the file has none. `parts`: the names of its arrays, where it is a
    JSON object of several.
    """

    suffix: str
    container: Container
    lines: tuple[str, ...]
    objects: tuple[dict[str, Any], ...]
    num: int
    unnamed: bool = False
    parts: tuple[str, ...] = ()

    def share(self, *keys: str) -> float:
        """The share of readable rows with all of these keys."""
        return self.fitting(lambda row: all(key in row for key in keys))

    def fitting(self, fits: Callable[[dict[str, Any]], bool]) -> float:
        """The share of readable rows that fit."""
        return sum(fits(row) for row in self.objects) / len(self.objects) if self.objects else 0.0

    def columns(self) -> list[str]:
        """Every name in the rows, in order of first appearance; not the one that we gave the parts of a file."""
        ours = json_values.SPLIT if self.parts else None
        return list(dict.fromkeys(key for row in self.objects for key in row if key != ours))

    def unread(self, read: Iterable[str]) -> str:
        """What a mapping says about the columns that it does not read: `; not read: …`, or nothing."""
        extra = [key for key in self.columns() if key not in set(read)]
        return f"; not read: {listed(extra[:12], 'and')}{' …' if len(extra) > 12 else ''}" if extra else ""


def sample(path: Path, split: str | None = None) -> Sample:
    """The first rows of a file: at most 32, and of lines no more after 64 KiB.

    Args:
        split: only rows of this part.

    Raises:
        DataError: as `files.lines`, and what makes a whole file unreadable.
    """
    kind = container(path)
    if kind in ("text", "jsonl"):
        return _of_lines(path, kind)
    beginning = list(islice((record for record in records(path, kind) if split is None or of_split(record, split)), ROWS))
    objects = tuple(record[1] for record in beginning if not isinstance(record, Faulty))
    if beginning and not objects:
        raise DataError(next(record.why for record in beginning if isinstance(record, Faulty)))
    unnamed = kind in ("csv", "tsv") and not tables.has_header(path, kind)
    parts = tuple(json_values.parts(path)) if kind == "json" and objects and json_values.SPLIT in objects[0] else ()
    return Sample(suffix(path), kind, (), objects, len(beginning), unnamed, parts)


def _of_lines(path: Path, kind: Container) -> Sample:
    taken: list[tuple[int, bytes]] = []
    size = 0
    for number, line in files.lines(path):
        if line and not line.isspace():
            taken.append((number, line))
            size += len(line)
        if len(taken) >= ROWS or size >= BYTES:
            break
    found = [_object(line, path, number) for number, line in taken] if kind == "jsonl" else []
    texts = tuple(line.decode("utf-8", errors="replace") for _, line in taken)
    return Sample(suffix(path), kind, texts, tuple(value for value in found if value is not None), len(taken))


def _object(line: bytes, path: Path, number: int) -> dict[str, Any] | None:
    """A line's fields, or None: a line that is not JSON is evidence here, and is named when it is read."""
    try:
        return jsonl.fields(line, Origin(str(path), number))
    except DataError:
        return None
