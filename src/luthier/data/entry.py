"""One entry of a cache: raw arrays beside a header that says their types, lengths and checksums."""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from luthier.errors import DataError

HEADER = "header.json"
LOCK = ".lock"
"""Held by who writes; an entry that is whole has none."""

GIB = 2**30
RESERVE_BYTES = GIB
"""Room on the disk that is left to others: nothing more is kept beyond it."""


class DamagedEntry(DataError):
    """An entry whose header, lengths or checksums are not what they should be. Nothing of it is used."""


class NoRoom(Exception):
    """The disk, or the cache's own limit, has no room for this entry. Never fatal: what is not kept is computed again."""


@dataclass(frozen=True)
class Entry:
    """`arrays`: by name, one-dimensional, mapped from the disk. `about`: what its maker noted."""

    path: Path
    arrays: dict[str, np.ndarray]
    about: dict[str, Any]


class Writer:
    """Appends to the arrays of one entry, straight to the disk."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._limit = folder, limit_bytes
        self.entry: Entry | None = None
        """What was written, once it is; it stays usable whatever becomes of the folder."""
        self._files: dict[str, IO[bytes]] = {}
        self._about: dict[str, Any] = {}
        self._arrays: dict[str, dict[str, Any]] = {}
        self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            with suppress(OSError):  # a disk that is full, which was said already
                file.close()

    def append(self, name: str, array: np.ndarray) -> None:
        """Add to the end of array `name`, whose type is that of its first part.

        Raises:
            NoRoom: the entry alone would be larger than the cache may be, or leave the disk without reserve.
        """
        if name not in self._files:
            with said(self._folder):
                self._files[name] = (self._folder / f"{name}.bin").open("wb")
            self._arrays[name] = {"dtype": array.dtype.str, "length": 0, "crc32": 0}
        known, data = self._arrays[name], np.ascontiguousarray(array)
        assert array.ndim == 1 and array.dtype.str == known["dtype"]
        self._written += data.nbytes
        if self._written > self._limit:
            raise NoRoom(f"more than LUTHIER_CACHE_GIB allows ({self._limit / GIB:g} GiB)")
        known["length"] += len(data)
        known["crc32"] = zlib.crc32(data.data, known["crc32"])
        with said(self._folder):
            self._files[name].write(data.data)

    def check_room(self) -> None:
        """Raise `NoRoom` where the disk is nearly full."""
        if shutil.disk_usage(self._folder).free < RESERVE_BYTES:
            raise NoRoom(f"less than {RESERVE_BYTES / GIB:g} GiB is free on the disk of {self._folder.parent}")

    def note(self, about: dict[str, Any]) -> None:
        """What the entry says about itself; JSON."""
        self._about = about

    def close(self) -> None:
        """All of it onto the disk, the header last."""
        content = json.dumps({"arrays": self._arrays, "about": self._about}).encode()
        with said(self._folder):
            self._files[HEADER] = (self._folder / HEADER).open("wb")
            self._files[HEADER].write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content + b"\n")
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
                file.close()
            (self._folder / LOCK).unlink()
        self.entry = read_entry(self._folder, unread=frozenset(self._arrays))


@contextmanager
def said(folder: Path) -> Iterator[None]:
    """What the disk refuses is `NoRoom`."""
    try:
        yield
    except OSError as error:
        raise NoRoom(f"{folder.parent} could not be written to ({error.strerror})") from error


def read_entry(path: Path, unread: frozenset[str]) -> Entry:
    """Raises `DamagedEntry` where it is not as it was written, and `OSError` where it cannot be read."""
    digest, _, content = (path / HEADER).read_bytes().partition(b"\n")
    content = content.removesuffix(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise DamagedEntry(f"{path} is damaged: {HEADER} is not as it was written.")
    header = json.loads(content)
    arrays = {}
    for name, known in header["arrays"].items():
        dtype = np.dtype(known["dtype"])
        file = path / f"{name}.bin"
        if file.stat().st_size != known["length"] * dtype.itemsize:
            raise DamagedEntry(f"{path} is damaged: {file.name} has {file.stat().st_size:,} bytes instead of what was written.")
        array = np.asarray(np.memmap(file, dtype, "r")) if known["length"] else np.empty(0, dtype)
        if name not in unread and zlib.crc32(array.data) != known["crc32"]:
            raise DamagedEntry(f"{path} is damaged: {file.name} is not as it was written.")
        arrays[name] = array
    return Entry(path, arrays, header["about"])
