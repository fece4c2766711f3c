"""Bytes by the hash of their content, in S3 or what speaks its language; what was read lies beside, on this machine."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.store.blobs import (
    CHUNK_BYTES,
    PARTIAL,
    Blob,
    BlobGone,
    Blobs,
    Chunks,
    FolderBlobs,
    Incoming,
    StorageError,
    is_hash,
    remove_if_left,
)

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ClientConfig, S3Store

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Variables that name a server other than Amazon's. Keys and region come from the usual AWS_… variables, too."""

PART_BYTES = 16 * 2**20
"""Larger ones are sent in parts of so many bytes; 10,000 of them are the most that S3 takes."""
PARTS_AT_ONCE = 4
CACHED_S = 7 * 86400.0
"""So long is kept on this machine what nobody asks for."""


class S3Blobs(Blobs):
    """`url`: s3://BUCKET/PREFIX. `cache`: a folder of this machine, for files that are read by path and for bytes on their way in.

    Raises:
        StorageError: a URL that is none, or the package for S3 is missing.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self.url, self.cache, self.local = url, cache, FolderBlobs(cache)
        self.store = _opened(url)

    def begin(self, limit: int | None = None) -> Incoming:
        return Incoming(self.cache, limit, self._keep)

    def open(self, sha256: str) -> Chunks:
        import obstore

        with self._answering(sha256):
            found = obstore.get(self.store, _key(sha256))
        return self._streamed(sha256, found)

    def path(self, sha256: str) -> Path:
        """Fetched where it is not on this machine yet; its hash is checked."""
        place = self.cache / sha256[:2] / sha256
        try:
            os.utime(place)
            return place
        except FileNotFoundError:
            pass
        fetched = self.local.put(self.open(sha256))
        if fetched.sha256 != sha256:
            self.local.delete(fetched.sha256)
            raise StorageError(f"{self.url}/{_key(sha256)} does not hold the bytes of that hash: it is damaged. Restore it from a backup.")
        return place

    def exists(self, sha256: str) -> bool:
        return self._head(sha256) is not None

    def delete(self, sha256: str) -> None:
        import obstore

        with self._answering(sha256):
            obstore.delete(self.store, _key(sha256))
        self.local.delete(sha256)

    def older(self, than_s: float) -> Iterator[str]:
        import obstore

        with self._answering(""):
            for page in obstore.list(self.store):
                for found in page:
                    name = found["path"].rpartition("/")[2]
                    if is_hash(name) and _age_s(found["last_modified"]) > than_s:
                        yield name

    def sweep(self) -> None:
        """What writers have left on this machine; and what nobody has read for a week, since it can be fetched again."""
        for partial in (self.cache / PARTIAL).glob("*"):
            remove_if_left(partial)
        for sha256 in self.local.older(CACHED_S):
            self.local.delete(sha256)

    def _keep(self, partial: Path, blob: Blob) -> None:
        """In S3, and then on this machine, where a job is likely to read it next."""
        import obstore

        found = self._head(blob.sha256)
        # What is there but old might be about to be swept: it is put anew.
        if found is None or found[0] != blob.bytes or found[1] > 60:
            try:
                with self._answering(blob.sha256):
                    obstore.put(self.store, _key(blob.sha256), partial, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
            except BlobGone as error:
                raise StorageError(f"There is no such place as {self.url}: make the bucket, or name another one.") from error
        self.local.keep(partial, blob)

    def _streamed(self, sha256: str, found: "GetResult") -> Generator[bytes, None, None]:
        with self._answering(sha256):
            for chunk in found.stream(CHUNK_BYTES):
                yield bytes(chunk)

    def _head(self, sha256: str) -> tuple[int, float] | None:
        """(bytes, age in seconds) of what is there."""
        import obstore

        try:
            with self._answering(sha256):
                found = obstore.head(self.store, _key(sha256))
        except BlobGone:
            return None
        return found["size"], _age_s(found["last_modified"])

    @contextmanager
    def _answering(self, sha256: str) -> Iterator[None]:
        """Within it, what S3 answers instead of doing it is a `StorageError`."""
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError as error:
            raise BlobGone(f"The bytes {sha256} are not in {self.url} any more.") from error
        except BaseError as error:
            reason = str(error).strip().partition("\n")[0]
            raise StorageError(f"The store of files {self.url} does not answer as it should: {reason}") from error


def _opened(url: str) -> "S3Store":
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise StorageError("Files in S3 need a package: pip install 'luthier[s3]'.") from error
    if not url.startswith("s3://") or not url.removeprefix("s3://").partition("/")[0]:
        raise StorageError(f"`{url}` is no place for files. Name a folder, or s3://BUCKET/PREFIX.")
    endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)
    options: ClientConfig = {"connect_timeout": "10s", "allow_http": (endpoint or "").startswith("http://")}
    return S3Store.from_url(url, config={"endpoint": endpoint} if endpoint else {}, client_options=options)


def _key(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"


def _age_s(when: datetime) -> float:
    return (datetime.now(UTC) - when).total_seconds()
