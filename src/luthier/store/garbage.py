"""Which bytes are still named by a row, and the end of those that are not.

A row that names bytes is written by `keep`, in the same transaction; bytes go by `collect`. Both hold one lock, so that bytes are never
taken from under a row. The rows go first, for good: a crash in between leaves bytes that nobody names, and `sweep` finds those.
"""

import logging
from collections.abc import Iterable, Sequence
from itertools import islice

from sqlalchemy import Connection, select, text

from luthier.store.blobs import BlobGone, Blobs, StorageError
from luthier.store.database import Database, DatabaseError
from luthier.store.tables import files, models, upload_parts

log = logging.getLogger("luthier.store")

LOCK = 0x6C757468
"""The number of this lock among those of a PostgreSQL database. SQLite has one writer at a time anyway."""
GRACE_S = 3600.0
"""So long ago were bytes put that no row is about to name any more."""
AT_ONCE = 50
"""Bytes looked at in one transaction."""


def keep(connection: Connection, blobs: Blobs, hashes: Iterable[str]) -> None:
    """From here to the end of the transaction nobody deletes these bytes: a row that names them may be written.

    Raises:
        BlobGone: they were deleted since they were put, by whoever named the same bytes last. Put them again.
    """
    _lock(connection)
    for sha256 in hashes:
        if not blobs.exists(sha256):
            raise BlobGone(f"The bytes {sha256} were being deleted at this moment. Send them again.")


def collect(database: Database, blobs: Blobs, hashes: Iterable[str]) -> int:
    """Delete those of these bytes that no row names. Returns how many."""
    deleted = 0
    wanted = iter(sorted(set(hashes)))
    while batch := list(islice(wanted, AT_ONCE)):
        with database.write() as connection:
            _lock(connection)
            for sha256 in sorted(set(batch) - named(connection, batch)):
                blobs.delete(sha256)
                deleted += 1
    return deleted


def release(database: Database, blobs: Blobs, hashes: Iterable[str]) -> None:
    """As `collect`, after rows that named these bytes are gone for good: what cannot be deleted now is left to a sweep."""
    try:
        collect(database, blobs, hashes)
    except (StorageError, DatabaseError) as error:
        log.warning("bytes that nobody names could not be deleted, which is tried again later: %s", error)


def sweep(database: Database, blobs: Blobs, older_than_s: float = GRACE_S) -> int:
    """Delete what crashes have left: bytes that nobody names, put longer ago than that. Returns how many."""
    blobs.sweep()
    with database.read() as connection:
        kept = named(connection)
    return collect(database, blobs, (sha256 for sha256 in blobs.older(older_than_s) if sha256 not in kept))


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))


def named(connection: Connection, hashes: Sequence[str] | None = None) -> set[str]:
    """The hashes of all bytes that a row names; or those of `hashes` that one does, and of all models."""
    found: set[str] = set()
    for table in (files, upload_parts):
        query = select(table.c.sha256)
        found |= set(connection.execute(query if hashes is None else query.where(table.c.sha256.in_(hashes))).scalars())
    for weights in connection.execute(select(models.c.weights)).scalars():
        found |= set(weights.values())
    return found
