"""Data files as numbered lines of bytes, compressed or not. What is not UTF-8 text is named for what it is."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from luthier.errors import DataError
from luthier.spec.nearest import did_you_mean

BOM = b"\xef\xbb\xbf"

SIGNATURES = (
    (b"\xff\xfe", "is UTF-16"),
    (b"\xfe\xff", "is UTF-16"),
    (b"PAR1", "is a Parquet file"),
    (b"ARROW1", "is an Arrow file"),
    (b"PK\x03\x04", "is a zip archive (or a spreadsheet)"),
    (b"SQLite format 3", "is an SQLite database"),
    (b"%PDF", "is a PDF file"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd"),
    (b"BZh", "is compressed with bzip2"),
    (b"\xfd7zXZ", "is compressed with xz"),
)
"""How files begin that people take for text."""


def existing(path: str) -> Path:
    """The path of a data file.

    Raises:
        DataError: no such file (names the nearest), a folder (names files in it), or an empty file.
    """
    file = Path(path)
    if file.is_dir():
        inside = sorted(entry.name for entry in file.iterdir() if entry.is_file() and not entry.name.startswith("."))
        example = f", such as {file / inside[0]}" if inside else ""
        raise DataError(f"{path} is a folder. Name a data file in it{example}.")
    if not file.exists():
        beside = [str(entry) for entry in file.parent.iterdir() if entry.is_file()] if file.parent.is_dir() else []
        raise DataError(f"There is no file {path}.{did_you_mean(str(file), beside)}")
    if not file.is_file():
        raise DataError(f"{path} is a device or a pipe. Its rows are read more than once: write them to a file first.")
    return file


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each line with its number, counted from 1, without its end. A `.gz` is read through; a byte order mark is left out.

    Raises:
        DataError: a file of another kind, or a compressed file that ends in the middle. (What is wrong within a line, `text` says.)
    """
    number = 0
    try:
        with opened(path) as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    _refuse_binary(line, path)
                    line = line.removeprefix(BOM)
                yield number, line.rstrip(b"\r\n")
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(
            f"{path}:{number + 1}: here the file breaks off. It is a compressed file that is cut off or damaged. Copy or download it again."
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def content(path: Path) -> bytes:
    """A whole file, unpacked, without a byte order mark.

    Raises:
        DataError: as `lines`.
    """
    try:
        with opened(path) as file:
            data = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(f"{path} is a compressed file that is cut off or damaged. Copy or download it again.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    _refuse_binary(data[:32], path)
    return data.removeprefix(BOM)


def is_parquet(path: Path) -> bool:
    try:
        with opened(path) as file:
            return file.read(4) == b"PAR1"
    except (OSError, EOFError, zlib.error):
        return False  # whoever reads it says what is wrong


def text(line: bytes, path: Path, number: int) -> str:
    """A line as text.

    Raises:
        DataError: not UTF-8, or NUL bytes in it.
    """
    if b"\0" in line:
        raise DataError(f"{path}:{number}: this line holds NUL bytes, so the file is not text, or is damaged. Save it as UTF-8 text.")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number}: byte {error.start + 1} of this line (0x{line[error.start]:02x}) is not UTF-8. "
            f"Convert the file, for instance with `iconv -f LATIN1 -t UTF-8 {path.name} > utf8-{path.name}`."
        ) from None


def fingerprint(path: str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with existing(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def opened(path: Path) -> BinaryIO:
    """A file's bytes, unpacked where they are gzip's, whatever its name."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")  # type: ignore[return-value]


def _refuse_binary(line: bytes, path: Path) -> None:
    for signature, what in SIGNATURES:
        if line.startswith(signature):
            raise DataError(f"{path} {what}. {_remedy(what, path)}")
    if line[1:2] == b"\0" or line[:1] == b"\0":
        raise DataError(f"{path} looks like UTF-16 or is not text. {_remedy('is UTF-16', path)}")


def _remedy(what: str, path: Path) -> str:
    if what == "is UTF-16":
        return f"Save it as UTF-8, for instance with `iconv -f UTF-16 -t UTF-8 {path.name} > utf8-{path.name}`."
    if "compressed" in what:
        return "Unpack it first, or compress it with gzip."
    return "Export its rows as JSONL: one JSON object per line, in UTF-8."
