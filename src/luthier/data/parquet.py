"""Parquet files as rows, a few thousand at a time."""

import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pyarrow
import pyarrow.parquet

from luthier.data import files
from luthier.data.jsonl import Fields
from luthier.errors import DataError
from luthier.spec.rows import Origin

BATCH = 2048
"""Rows that are in memory at a time."""


def records(path: Path) -> Iterator[tuple[Origin, Fields]]:
    """Each row with its number, counted from 1. A `.gz` is unpacked into a temporary file, because Parquet is not read in order.

    Raises:
        DataError: a file that is cut off or damaged.
    """
    name, number = str(path), 0
    try:
        with _seekable(path) as file, pyarrow.parquet.ParquetFile(file) as table:
            classes = _classes(table.schema_arrow.metadata or {})
            for batch in table.iter_batches(BATCH):
                for fields in batch.to_pylist():
                    number += 1
                    for column, names in classes.items():
                        if fields.get(column) in names:
                            fields[column] = names[fields[column]]
                    yield Origin(name, number), fields
    except (pyarrow.ArrowException, OSError, EOFError, zlib.error) as error:
        where = f"after row {number}" if number else "at its beginning or end"
        raise DataError(
            f"{path} is a Parquet file that is cut off or damaged {where} ({str(error).splitlines()[0]}). Copy or download it again."
        ) from None


def _seekable(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            return path.open("rb")
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - whoever asked closes it
    try:
        with files.opened(path) as packed:
            shutil.copyfileobj(packed, unpacked)
    except BaseException:
        unpacked.close()
        raise
    unpacked.seek(0)
    return unpacked


def _classes(metadata: Mapping[bytes, bytes]) -> dict[str, dict[int, str]]:
    """The names of numbered classes by column, where Hugging Face's `datasets` left them in the schema."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        named = {column: feature["names"] for column, feature in features.items() if feature.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # a note that other programs leave; what it can't say, the rows still can
    return {column: {i: str(name) for i, name in enumerate(names)} for column, names in named.items()}
