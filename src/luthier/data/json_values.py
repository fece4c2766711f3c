"""JSON files that are one value: an array of rows, or an object of arrays, of columns, or of rows by key."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from luthier.data import files, names
from luthier.data.jsonl import Fields, shown
from luthier.errors import DataError
from luthier.spec.rows import Faulty, Origin

ROW_FIELDS = {
    "messages",
    "conversations",
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "chosen_messages",
    "instruction",
    "input",
    "answers",
}
"""An object with one of these is a row itself."""

SPLIT = "split"
"""The field that says which array of an object a row stood in."""

BEGINNING = 64
"""Rows by which the columns of lists are named."""

_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Broken(msgspec.Struct, frozen=True):
    """Where the text of an array stops being JSON, in place of the row that would follow."""

    line: int
    column: int
    what: str


def holds_rows(value: dict[str, Any]) -> bool:
    """Whether a JSON object is a whole file of rows and not a row itself."""
    return not ROW_FIELDS & value.keys() and bool(_arrays(value) or _columns(value) or _keyed(value))


def records(path: Path) -> Iterator[tuple[Origin, Fields] | Faulty]:
    """Each row with its number, counted from 1, or what is wrong with it. The file is held in memory; of an array's rows, one at a time.

    Raises:
        DataError: a file that is no array and no object of rows.
    """
    data = files.content(path)
    rows = _elements(data, path) if data.lstrip()[:1] == b"[" else _rows(_object(data, path), path)
    for number, row in enumerate(_named(rows), start=1):
        origin = Origin(str(path), number)
        if isinstance(row, dict):
            yield origin, row
        elif isinstance(row, _Broken):
            where = f"line {row.line}, column {row.column}"
            yield Faulty(f"{origin}: in this row, at {where} of the file, it stops being JSON: {row.what}. Mend it there.", origin)
        else:
            yield Faulty(f'{origin}: this row is {shown(row)}. Each must be an object, such as {{"messages": […]}}.', origin)


def parts(path: Path) -> list[str]:
    """The names of a file's arrays of rows, where it is an object of several."""
    data = files.content(path)
    value = {} if data.lstrip()[:1] == b"[" else _object(data, path)
    arrays = {} if ROW_FIELDS & value.keys() or _columns(value) else _arrays(value)
    return list(arrays) if len(arrays) > 1 else []


def _named(rows: Iterable[Any]) -> Iterator[Any]:
    """Rows that are lists as objects, where all the first have one length."""
    rows = iter(rows)
    beginning = list(islice(rows, BEGINNING))
    lists = [row for row in beginning if isinstance(row, list) and row]
    known = names.of_columns(lists) if lists and len({len(row) for row in lists}) == 1 else ()
    for part in (beginning, rows):
        for row in part:
            yield dict(zip(known, row, strict=True)) if isinstance(row, list) and row and len(row) == len(known) else row


def _elements(data: bytes, path: Path) -> Iterator[Any]:
    """The elements of an array, one after the other."""
    try:
        raws = _raws(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        yield from _until_it_breaks(_text(data, path))
        return
    place = counted = 0
    line = 1
    for raw in raws:
        place = data.find(raw, place)
        try:
            yield msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            fault = place + (_first_fault(bytes(raw)) if isinstance(error, UnicodeDecodeError) else 0)
            line, counted = line + data.count(b"\n", counted, fault), fault
            yield _Broken(line, fault - data.rfind(b"\n", 0, fault), _why(error, data[fault]))
        place += memoryview(raw).nbytes


def _why(error: Exception, byte: int) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply to be a row"
    return f"the byte 0x{byte:02x} is not UTF-8" if isinstance(error, UnicodeDecodeError) else f"{error}"


def _until_it_breaks(text: str) -> Iterator[Any]:
    """Elements up to where an array breaks off. Slower than decoding at once, and says where."""
    decoder = json.JSONDecoder()
    place = _after_space(text, text.index("[") + 1)
    while True:
        try:
            value, place = decoder.raw_decode(text, place)
        except RecursionError:
            yield _broken(text, place, "it is nested too deeply to be a row")
            return
        except json.JSONDecodeError as error:
            yield _broken(text, error.pos, _lower(error.msg))
            return
        yield value
        place = _after_space(text, place)
        if text[place : place + 1] != ",":
            break
        place = _after_space(text, place + 1)
    rest = _after_space(text, place + 1)
    if text[place : place + 1] != "]":
        yield _broken(text, place, "the array is not closed" if place >= len(text) else 'a "," or "]" is missing')
    elif rest < len(text):
        yield _broken(text, rest, "the array ends before the file does")
    else:
        yield _broken(text, place, "a row before has NaN, Infinity or half a surrogate pair, which JSON has not")


def _after_space(text: str, place: int) -> int:
    while text[place : place + 1] in ("\t", "\n", "\r", " "):
        place += 1
    return place


def _broken(text: str, place: int, what: str) -> _Broken:
    return _Broken(text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place), what)


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def _text(data: bytes, path: Path) -> str:
    """The file as text. Raises DataError naming the line that is none."""
    number = 1 + data.count(b"\n", 0, _first_fault(data))
    return files.text(data.split(b"\n")[number - 1], path, number) and data.decode("utf-8")


def _first_fault(data: bytes) -> int:
    """Where the bytes stop being UTF-8 without NUL; 0 where they don't."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return max(data.find(b"\0"), 0)


def _object(data: bytes, path: Path) -> dict[str, Any]:
    """Raises DataError: not one JSON object."""
    try:
        value = msgspec.json.decode(data)
    except RecursionError:
        raise DataError(f"{path}:1: this file is nested too deeply to hold rows.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as found:
        raise DataError(_no_object(_text(data, path), path, str(found))) from None
    assert isinstance(value, dict)
    return value


def _no_object(text: str, path: Path, found: str) -> str:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return (
                f"{path}:{error.lineno}: this file spreads each object over several lines. Write each row on one line (JSONL), "
                f"for instance with `jq -c . {path.name} > rows.jsonl`."
            )
        return f"{path}:{error.lineno}: this file is not valid JSON at column {error.colno}: {_lower(error.msg)}. Mend it there."
    return f"{path} is not valid JSON: {found}. JSON has no NaN or Infinity."


def _rows(value: dict[str, Any], path: Path) -> Iterator[Any]:
    """The rows in a JSON object."""
    if ROW_FIELDS & value.keys():
        yield value
    elif columns := _columns(value):
        yield from (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    elif arrays := _arrays(value):
        yield from arrays[next(iter(arrays))] if len(arrays) == 1 else _splits(arrays)
    elif _keyed(value):
        yield from ({"id": key, **row} for key, row in value.items())
    else:
        raise DataError(
            f"{path} is one JSON object, {shown(value)}, and holds no rows. Write an array of rows, or one row per line (JSONL)."
        )


def _arrays(value: dict[str, Any]) -> dict[str, list[Any]]:
    """The arrays of rows in an object, by name. Numbers and texts beside them (a version, a date) are no rows."""
    arrays = {key: rows for key, rows in value.items() if isinstance(rows, list) and all(isinstance(row, dict | list) for row in rows[:8])}
    others = [key for key, other in value.items() if isinstance(other, dict | list) and key not in arrays]
    return arrays if any(arrays.values()) and not others else {}


def _columns(value: dict[str, Any]) -> dict[str, list[Any]]:
    """The columns of an object of at least two lists of one length, whose values are no rows."""
    lists = [column for column in value.values() if isinstance(column, list)]
    if len(lists) < 2 or len(lists) < len(value) or len({len(column) for column in lists}) > 1:
        return {}
    return value if all(column and isinstance(column[0], str | int | float) for column in lists) else {}


def _keyed(value: dict[str, Any]) -> bool:
    return len(value) > 1 and all(isinstance(row, dict) for row in value.values())


def _splits(arrays: dict[str, list[Any]]) -> Iterator[Any]:
    for split, rows in arrays.items():
        for row in _named(rows):
            yield {**row, SPLIT: split} if isinstance(row, dict) else row
