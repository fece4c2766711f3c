"""CSV and TSV files as rows. A header is expected, and its absence noticed; a broken row does not take the rest of the file with it."""

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import msgspec

from luthier.data import files, names
from luthier.data.jsonl import Fields
from luthier.errors import DataError
from luthier.spec.nearest import listed
from luthier.spec.rows import Faulty, Origin

DELIMITERS = ",;\t|"

LONGEST = 1 << 26
"""Characters of a cell, at most. Python's own limit of 131,072 is below what people train on."""

FURTHEST = 10_000
"""Lines of a row, at most: a quote that is never closed would take the rest of the file into its cell."""

BEGINNING = 64
"""Rows by which the columns of a table without a header are named."""

NAME = re.compile(r"(?!\d)\w[\w./#()&:+-]*( [\w./#()&:+-]+){0,3}")
"""What stands in a header: up to four words, without the marks of a sentence."""


class _Row(msgspec.Struct, frozen=True):
    line: int
    cells: Sequence[str]
    fault: str = ""


def records(path: Path, kind: str) -> Iterator[tuple[Origin, Fields] | Faulty]:
    """Each row with the line that it begins in, or what is wrong with it. All values are text.

    Args:
        kind: `csv`, whose delimiter (comma, semicolon, tab or bar) is the one most frequent in the first line, or `tsv`.
    Raises:
        DataError: a header that has one name twice.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
    lines = _Lines(path)
    delimiter = "\t" if kind == "tsv" else _delimiter(lines)
    first = next(iter(_rows(lines, delimiter, None)), None)
    if first is None:
        return
    header, rows = _header(first, lines, delimiter, path)
    for row in rows:
        origin = Origin(str(path), row.line)
        if row.fault:
            yield Faulty(f"{origin}: {row.fault}", origin)
        elif len(row.cells) != len(header):
            yield Faulty(f"{origin}: {_wrong_width(row.cells, header)}", origin)
        else:
            yield origin, dict(zip(header, row.cells, strict=True))


def has_header(path: Path, kind: str) -> bool:
    """Whether the first row names the columns."""
    lines = _Lines(path)
    first = next(iter(_rows(lines, "\t" if kind == "tsv" else _delimiter(lines), None)), None)
    return first is None or _names_columns(first)


def _header(first: _Row, lines: "_Lines", delimiter: str, path: Path) -> tuple[tuple[str, ...], Iterator[_Row]]:
    """The columns' names, and the rows under them."""
    width = len(first.cells)
    if _names_columns(first):
        header = tuple(cell.strip() or f"column {i}" for i, cell in enumerate(first.cells, start=1))
        if twice := [name for i, name in enumerate(header) if name in header[:i]]:
            raise DataError(
                f"{path}:{first.line}: the header has {listed(list(dict.fromkeys(twice)), 'and')} twice. Give each column its own name."
            )
        return header, _rows(lines, delimiter, width)
    beginning = [first, *islice(_rows(lines, delimiter, width), BEGINNING)]
    known = names.of_columns([row.cells for row in beginning if not row.fault and len(row.cells) == width] or [first.cells])
    return known, chain(beginning, _rows(lines, delimiter, width))


def _names_columns(first: _Row) -> bool:
    cells = [cell.strip() for cell in first.cells]
    return not first.fault and any(cells) and all(not cell or (NAME.fullmatch(cell) and len(cell) <= 60) for cell in cells)


def _rows(lines: "_Lines", delimiter: str, width: int | None) -> Iterator[_Row]:
    """Rows as cells. Where quotes make no sense, only the line that opens them is given up (a TSV's may be meant literally)."""
    for number, line in lines:
        if not line:
            continue
        if b'"' not in line and b"\0" not in line:
            try:
                yield _Row(number, line.decode("utf-8").split(delimiter))
            except UnicodeDecodeError:
                yield _faulty(number, line, lines.path)
            continue
        row, taken = _quoted(number, line, lines, delimiter)
        if row.fault or (taken and width is not None and len(row.cells) != width):
            lines.put_back(taken)
            literal = line.decode("utf-8", errors="replace").split(delimiter)
            fault = (
                row.fault or "a quote that is opened in this row is closed only in a later one. Close it, or double it where it is meant."
            )
            row = _Row(number, literal) if delimiter == "\t" and len(literal) == width else _Row(number, (), fault)
        yield row


def _quoted(number: int, line: bytes, lines: "_Lines", delimiter: str) -> tuple[_Row, list[tuple[int, bytes]]]:
    """A row with quotes in it, and the further lines that were read for it."""
    taken: list[tuple[int, bytes]] = []

    def feed() -> Iterator[str]:
        yield files.text(line, lines.path, number) + "\n"
        for later, more in islice(lines, FURTHEST):
            taken.append((later, more))
            yield files.text(more, lines.path, later) + "\n"

    try:
        return _Row(number, next(csv.reader(feed(), delimiter=delimiter, strict=True))), taken
    except csv.Error as error:
        return _Row(number, (), _why(str(error))), taken
    except DataError as error:
        return _Row(number, (), str(error).split(": ", 1)[1]), taken


def _why(error: str) -> str:
    if "unexpected end" in error:
        return "a quote is opened in this row and never closed. Close it, or double it where it is meant."
    if "limit" in error:
        return f"a cell of this row is longer than {LONGEST:,} characters. Is a quote not closed?"
    return 'a quoted cell goes on after its closing quote. Write a quote within a quoted cell twice: "".'


def _faulty(number: int, line: bytes, path: Path) -> _Row:
    try:
        files.text(line, path, number)
    except DataError as error:
        return _Row(number, (), str(error).split(": ", 1)[1])
    raise AssertionError("this line is text")


def _wrong_width(cells: Sequence[str], header: Sequence[str]) -> str:
    remedy = "Put cells that hold the delimiter or a line break in quotes." if len(cells) > len(header) else "Fill in what is missing."
    number = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
    return f"this row has {number}, but there are {len(header)} columns: {listed(header[:12], 'and')}. {remedy}"


def _delimiter(lines: "_Lines") -> str:
    """The most frequent of the four outside of quotes in the first line that is not blank."""
    taken = []
    for taken_line in lines:
        taken.append(taken_line)
        if taken_line[1].strip():
            break
    lines.put_back(taken)
    outside = re.sub(rb'"[^"]*"', b"", taken[-1][1] if taken else b"").decode("utf-8", errors="replace")
    return max(DELIMITERS, key=outside.count)


class _Lines:
    """The numbered lines of a file, which can be put back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = files.lines(path)
        self._ahead: deque[tuple[int, bytes]] = deque()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> tuple[int, bytes]:
        return self._ahead.popleft() if self._ahead else next(self._file)

    def put_back(self, lines: Sequence[tuple[int, bytes]]) -> None:
        self._ahead.extendleft(reversed(lines))
