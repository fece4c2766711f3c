"""One JSON object per line: decoding, and the sentences for lines and fields that are not what they should be."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from luthier.data import files
from luthier.errors import DataError
from luthier.spec.nearest import listed
from luthier.spec.rows import Origin

Fields = dict[str, Any]

ARRAY = "this is a JSON array. Write one object per line instead (JSONL), for instance with `jq -c '.[]' rows.json > rows.jsonl`."


def fields(line: bytes, origin: Origin) -> Fields:
    """A line as a JSON object.

    Raises:
        DataError: not JSON, or JSON of another kind.
    """
    value = _decoded(line, origin)
    if isinstance(value, dict):
        return value
    if isinstance(value, list) or line.lstrip().startswith(b"["):
        raise DataError(f"{origin}: {ARRAY}")
    raise DataError(f'{origin}: this line is {shown(value)}. Each line must hold one JSON object, such as {{"messages": […]}}.')


def missing(origin: Origin, wanted: Sequence[str], found: Mapping[str, Any], format: str) -> DataError:
    """The error for a row that lacks a field."""
    has = f"It has {listed(list(found)[:8], 'and')}." if found else "It is empty."
    return DataError(
        f"{origin}: this row has no {listed(wanted)}. {has} All rows of a file have one format, here `{format}`: "
        f"mend the row, or move rows of another format to a file of their own."
    )


def wrong(origin: Origin, what: str, value: Any, remedy: str) -> DataError:
    """The error for a field of the wrong kind."""
    return DataError(f"{origin}: {what} is {shown(value)}; {remedy}.")


def shown(value: Any, longest: int = 60) -> str:
    """A value for a message: what it is, and its beginning where that helps."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return f"an object with {listed(list(value)[:5], 'and')}" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bytes):
        return "1 byte" if len(value) == 1 else f"{len(value)} bytes"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= longest else text[: longest - 2] + '…"'


def _decoded(line: bytes, origin: Origin) -> Any:
    try:
        return msgspec.json.decode(line)
    except RecursionError:
        raise DataError(f"{origin}: this line is nested too deeply to be a row. Remove it.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = files.text(line, Path(origin.path), origin.line)
        raise DataError(f"{origin}: {_malformed(text, error)}") from None


def _malformed(line: str, error: msgspec.DecodeError | UnicodeDecodeError) -> str:
    """Python's own decoder says more clearly where JSON breaks off."""
    if line.lstrip().startswith("["):
        return ARRAY
    if line.strip() == "{":
        return "this file spreads an object over several lines. Write each row on one line (JSONL), for instance with `jq -c`."
    try:
        json.loads(line)
    except json.JSONDecodeError as found:
        return f"this line is not valid JSON at column {found.colno}: {found.msg[:1].lower()}{found.msg[1:]}. Mend it or remove it."
    if "\\ud" in line.lower():
        return "this line holds half a surrogate pair (such as \\ud83d alone), which is no character. Remove it."
    return f"this line is not valid JSON: {error}. JSON has no NaN or Infinity."
