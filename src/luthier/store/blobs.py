"""Bytes by the hash of their content: in a folder, or in S3 by URL. What is there is whole, and never changes."""

import errno
import fcntl
import os
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256 as new_hash
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from luthier.errors import UserError
from luthier.store.home import Home

VARIABLE = "LUTHIER_FILES"
"""Where the platform keeps its files: a folder, or s3://BUCKET/PREFIX. By default the folder `blobs` in its home."""

CHUNK_BYTES = 2**20
PARTIAL = "partial"
"""The folder of what is on its way in."""
LEFT_S = 60.0
"""Bytes on their way in that nobody holds a lock on and that are older are what a crash has left."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StorageError(UserError):
    """Bytes that could not be kept or read: the disk fails, the store cannot be reached."""


class StorageFull(StorageError):
    """There is no room left for them."""


class BlobGone(StorageError):
    """No bytes of this hash are there."""


class TooLarge(UserError):
    """More bytes than are taken. `limit`: how many are."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"There are more than {limit:,} bytes. Send less, or send it in parts.")
        self.limit = limit


@dataclass(frozen=True)
class Blob:
    """`sha256`: of the content, in hexadecimal digits. `bytes`: how many there are."""

    sha256: str
    bytes: int


class Incoming:
    """Bytes on their way in, written to a file of their own, hashed and counted. As a context, it leaves nothing unless it was finished.

    `keep`: takes the whole file over, to where `Blobs` has its content. Raises `StorageError`.
    """

    def __init__(self, folder: Path, limit: int | None, keep: Callable[[Path, Blob], None]) -> None:
        self.bytes, self._limit, self._keep, self._hash = 0, limit, keep, new_hash()
        self._file: BinaryIO | None = None
        self._path = folder / PARTIAL / secrets.token_hex(16)
        with storing(folder):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = self._path.open("xb", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX)  # whoever sweeps sees that somebody writes

    def write(self, data: bytes) -> None:
        """Raises `TooLarge`, `StorageFull`, or another `StorageError`."""
        assert self._file is not None, "it is finished"
        self.bytes += len(data)
        if self._limit is not None and self.bytes > self._limit:
            raise TooLarge(self._limit)
        self._hash.update(data)
        with storing(self._path.parent):
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]

    def finish(self) -> Blob:
        """All of it is there, for good when this returns. Raises `StorageError`."""
        assert self._file is not None, "it is finished"
        blob = Blob(self._hash.hexdigest(), self.bytes)
        with storing(self._path.parent):
            os.fchmod(self._file.fileno(), 0o400)
            os.fsync(self._file.fileno())
            self._keep(self._path, blob)
            self._file.close()
        self._file = None
        return blob

    def discard(self) -> None:
        """Leave nothing, unless it is finished."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.discard()


class Chunks(Iterator[bytes], Protocol):
    """Bytes, piece by piece. Whoever does not read to the end closes it."""

    def close(self) -> None: ...


class FileChunks:
    """A file's bytes. It is closed at their end."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        chunk = b"" if self.file.closed else self.file.read(CHUNK_BYTES)
        if not chunk:
            self.close()
            raise StopIteration
        return chunk

    def close(self) -> None:
        self.file.close()


class Blobs(ABC):
    """A store of bytes by the hash of their content. The same bytes are there once, however often they are put."""

    @abstractmethod
    def begin(self, limit: int | None = None) -> Incoming:
        """Take bytes in, at most `limit`. Raises `StorageError`."""

    @abstractmethod
    def open(self, sha256: str) -> Chunks:
        """The bytes, in pieces. Raises `BlobGone`, or another `StorageError`."""

    @abstractmethod
    def path(self, sha256: str) -> Path:
        """A file on this machine that holds the bytes. Nobody may write to it. Raises as `open`."""

    @abstractmethod
    def exists(self, sha256: str) -> bool:
        """Raises `StorageError` where that cannot be found out."""

    @abstractmethod
    def delete(self, sha256: str) -> None:
        """Forget these bytes, if they are there. Who calls it makes sure that nothing names them (`garbage.py`)."""

    @abstractmethod
    def older(self, than_s: float) -> Iterator[str]:
        """The hashes of what was last put more than so many seconds ago."""

    @abstractmethod
    def sweep(self) -> None:
        """Remove what writers have left that are no more."""

    def put(self, chunks: Iterable[bytes], limit: int | None = None) -> Blob:
        """Keep bytes, at most `limit`; for good when this returns, and without a trace where it fails.

        Raises:
            TooLarge: there are more. StorageError: they cannot be kept.
        """
        with self.begin(limit) as incoming:
            for chunk in chunks:
                incoming.write(chunk)
            return incoming.finish()

    def put_file(self, path: Path) -> Blob:
        """Keep a copy of a file's bytes. Raises as `put`, and `OSError` for a file that cannot be read."""
        with path.open("rb") as file:
            return self.put(FileChunks(file))


class FolderBlobs(Blobs):
    """In a folder of this machine, or of a disk that several share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, limit: int | None = None) -> Incoming:
        return Incoming(self.folder, limit, self.keep)

    def open(self, sha256: str) -> Chunks:
        with storing(self.folder), there(sha256):
            return FileChunks(self._place(sha256).open("rb"))

    def path(self, sha256: str) -> Path:
        place = self._place(sha256)
        with storing(self.folder), there(sha256):
            place.stat()
        return place

    def exists(self, sha256: str) -> bool:
        return self._place(sha256).is_file()

    def delete(self, sha256: str) -> None:
        with storing(self.folder):
            self._place(sha256).unlink(missing_ok=True)

    def older(self, than_s: float) -> Iterator[str]:
        for place in self.folder.glob("??/*"):
            try:
                old = time.time() - place.stat().st_mtime > than_s
            except FileNotFoundError:  # deleted meanwhile
                continue
            if old and is_hash(place.name):
                yield place.name

    def sweep(self) -> None:
        for partial in (self.folder / PARTIAL).glob("*"):
            remove_if_left(partial)

    def keep(self, partial: Path, blob: Blob) -> None:
        """Take a written file over, as the content that it is."""
        place = self._place(blob.sha256)
        try:
            if place.stat().st_size == blob.bytes:
                os.utime(place)  # as if put anew: no sweep takes it before a row names it
                partial.unlink()
                return
        except FileNotFoundError:
            place.parent.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self.folder)
        partial.replace(place)
        sync_folder(place.parent)

    def _place(self, sha256: str) -> Path:
        assert is_hash(sha256), sha256
        return self.folder / sha256[:2] / sha256


def blobs_of(home: Home) -> Blobs:
    """Where a platform keeps its files. Raises as `blobs_at`."""
    return blobs_at(os.environ.get(VARIABLE), home.folder)


def blobs_at(where: str | None, folder: Path) -> Blobs:
    """A store of files.

    Args:
        where: a folder, or s3://BUCKET/PREFIX; None for the folder `blobs` in `folder`.
        folder: the platform's.
    Raises:
        StorageError: `where` is neither, or the package for S3 is missing.
    """
    if where and "://" in where:
        from luthier.store.blobs_s3 import S3Blobs

        return S3Blobs(where, folder / "cache" / "blobs")
    return FolderBlobs(Path(where).expanduser().absolute() if where else folder / "blobs")


def is_hash(text: str) -> bool:
    return re.fullmatch("[0-9a-f]{64}", text) is not None


@contextmanager
def storing(folder: Path) -> Iterator[None]:
    """Within it, what goes wrong with the disk is a `StorageError`. `folder`: where."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StorageFull(f"There is no room left in {folder}. Nothing of this was kept. Make room, then send it again.") from error
        raise StorageError(f"The store of files in {folder} fails: {error.strerror or error}. Nothing of this was kept.") from error


@contextmanager
def there(sha256: str) -> Iterator[None]:
    """Within it, a file that is not there is `BlobGone`."""
    try:
        yield
    except FileNotFoundError as error:
        raise BlobGone(f"The bytes {sha256} are not in the store of files any more.") from error


def remove_if_left(partial: Path) -> None:
    """Remove it if nobody writes to it: its lock is free, and it is older than the moment between making and locking it."""
    try:
        with partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - os.fstat(file.fileno()).st_mtime > LEFT_S:
                partial.unlink()
    except (BlockingIOError, FileNotFoundError):
        return


def sync_folder(folder: Path) -> None:
    """A new name is on the disk only when its folder is."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
