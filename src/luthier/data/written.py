"""Rows written as JSONL that is read back as the same rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from luthier.errors import DataError
from luthier.spec.rows import Conversation, Document, Labeled, Row

FORMATS: dict[type, str] = {Conversation: "chat", Document: "text", Labeled: "labels"}
"""The format in which each kind is written."""


def format_of(rows: Sequence[Row]) -> str:
    """The one format in which all of these rows can be written.

    Raises:
        DataError: rows of several kinds, or of one that is not written.
    """
    kinds = {type(row) for row in rows}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind not in FORMATS:
        raise DataError(
            f"{rows[0].origin}: only conversations, texts with a label, and raw texts can be copied, each kind in a file of its own."
        )
    return FORMATS[kind]


def write_rows(path: Path, rows: Sequence[Row]) -> str:
    """Write rows of one kind, a line each; returns the format."""
    name = format_of(rows)
    with path.open("wb") as file:
        for row in rows:
            file.write(msgspec.json.encode(_fields(row)) + b"\n")
    return name


def _fields(row: Row) -> Mapping[str, object]:
    if isinstance(row, Conversation):
        return {"messages": row.messages} | ({"tools": row.tools} if row.tools else {})
    assert isinstance(row, Document | Labeled)
    return {"text": row.text} | ({"label": row.label} if isinstance(row, Labeled) else {})
