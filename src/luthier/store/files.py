"""Files by id: what projects have uploaded, and what jobs have made for them. Another project's file does not exist."""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, or_, select, update

from luthier.errors import UserError
from luthier.store import garbage
from luthier.store.blobs import Blob, Blobs, Chunks
from luthier.store.database import Database, now
from luthier.store.ids import new
from luthier.store.tables import batches, comparisons, files, jobs, tunings

LIMIT_VARIABLE = "LUTHIER_FILE_BYTES"
"""The largest file that is taken in one request, in bytes."""
MOST_BYTES = 512 * 10**6
LONGEST_NAME = 512
"""Characters of a file's name."""


WORKING = ("validating", "in_progress", "finalizing", "cancelling")
"""Statuses of a batch that has not ended."""


class FileNotFound(UserError):
    """No file of this project has this id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"No such File object: {id}")


class BadName(UserError):
    """What no file can be called."""


@dataclass(frozen=True)
class File:
    """`filename`: as it was told, never a path here. `sha256`, `bytes`: of its content. Times are seconds since the epoch."""

    id: str
    project: str
    purpose: str
    filename: str
    sha256: str
    bytes: int
    created_at: float
    expires_at: float | None = None


class Files:
    """All files of a database whose tables are up to date. `most_bytes`: of one, in one request; None for what LUTHIER_FILE_BYTES says."""

    def __init__(self, database: Database, blobs: Blobs, most_bytes: int | None = None) -> None:
        self.database, self.blobs = database, blobs
        self.most_bytes = most_bytes if most_bytes is not None else _told(LIMIT_VARIABLE, MOST_BYTES)

    def create(self, project: str, filename: str, purpose: str, chunks: Iterable[bytes], expires_after_s: int | None = None) -> File:
        """A file with these bytes, for good when this returns.

        Raises:
            BadName: a name that is none. StorageError: the bytes cannot be kept.
        """
        return self.add(project, filename, purpose, self.blobs.put(chunks), expires_after_s)

    def add(self, project: str, filename: str, purpose: str, blob: Blob, expires_after_s: int | None = None) -> File:
        """A file of bytes that were just put. Raises as `create`."""
        try:
            with self.database.write() as connection:
                return insert_file(connection, self.blobs, project, filename, purpose, blob, expires_after_s)
        except BaseException:
            garbage.release(self.database, self.blobs, [blob.sha256])
            raise

    def get(self, project: str, id: str) -> File | None:
        """None where the project has no such file."""
        with self.database.read() as connection:
            return _file(connection, id, files.c.project == project, _alive())

    def find(self, project: str, id: str) -> File:
        """Raises `FileNotFound`."""
        file = self.get(project, id)
        if file is None:
            raise FileNotFound(id)
        return file

    def for_job(self, project: str, id: str) -> File:
        """As `find`, for a job or a batch that was made while the file was there: a deleted one is found until that has ended."""
        with self.database.read() as connection:
            file = _file(connection, id, files.c.project == project)
        if file is None:
            raise FileNotFound(id)
        return file

    def open(self, project: str, id: str) -> Chunks:
        """Its bytes. Raises `FileNotFound`, or `StorageError`."""
        return self.blobs.open(self.find(project, id).sha256)

    def delete(self, project: str, id: str) -> None:
        """It is gone at once; who reads it goes on reading, and jobs that need it keep it until they have ended. Raises `FileNotFound`."""
        with self.database.write() as connection:
            file = _file(connection, id, files.c.project == project, _alive())
            if file is None:
                raise FileNotFound(id)
            connection.execute(update(files).where(files.c.id == id).values(expires_at=0.0))
            connection.execute(delete(files).where(files.c.id == id, _not_needed()))
        garbage.release(self.database, self.blobs, [file.sha256])

    def sweep(self) -> None:
        """Delete what has expired, and bytes that nobody names."""
        with self.database.write() as connection:
            connection.execute(delete(files).where(files.c.expires_at <= now(), _not_needed()))
        garbage.sweep(self.database, self.blobs)

    def list(
        self,
        project: str,
        purpose: str | None = None,
        after: str | None = None,
        limit: int = 10_000,
        order: Literal["asc", "desc"] = "desc",
    ) -> Sequence[File]:
        """The newest first, or the oldest; those that come after the one with the id `after`. Raises `FileNotFound` for that one."""
        wanted = select(files).where(files.c.project == project, _alive())
        if purpose is not None:
            wanted = wanted.where(files.c.purpose == purpose)
        at, id = files.c.created_at, files.c.id
        if after is not None:
            last = self.find(project, after)
            wanted = wanted.where(
                or_(at < last.created_at, (at == last.created_at) & (id < last.id))
                if order == "desc"
                else or_(at > last.created_at, (at == last.created_at) & (id > last.id))
            )
        wanted = wanted.order_by(at.desc(), id.desc()) if order == "desc" else wanted.order_by(at, id)
        with self.database.read() as connection:
            return [File(**row._mapping) for row in connection.execute(wanted.limit(limit))]


def insert_file(
    connection: Connection, blobs: Blobs, project: str, filename: str, purpose: str, blob: Blob, expires_after_s: int | None = None
) -> File:
    """A new file, inside somebody's transaction. Raises `BadName`, or `StorageError`."""
    refuse_filename(filename)
    garbage.keep(connection, blobs, [blob.sha256])
    created_at: float = connection.execute(select(now())).scalar_one()
    file = File(
        id=new("file-", 22),
        project=project,
        purpose=purpose,
        filename=filename,
        sha256=blob.sha256,
        bytes=blob.bytes,
        created_at=created_at,
        expires_at=None if expires_after_s is None else created_at + expires_after_s,
    )
    connection.execute(insert(files).values(**vars(file)))
    return file


def refuse_filename(name: str) -> None:
    """Raises `BadName`."""
    if not name.strip():
        raise BadName("A file needs a name, such as train.jsonl.")
    if len(name) > LONGEST_NAME:
        raise BadName(f"A file's name has at most {LONGEST_NAME} characters; this one has {len(name):,}.")
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        raise BadName(f"A file's name has no control characters and is one line; {name!r} is not.")


def _file(connection: Connection, id: str, *where: ColumnElement[bool]) -> File | None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", id):  # what no database holds cannot be asked for either
        return None
    row = connection.execute(select(files).where(files.c.id == id, *where)).first()
    return File(**row._mapping) if row is not None else None


def _not_needed() -> ColumnElement[bool]:
    """Of files that nothing needs which has not ended: no job, no comparison, no batch."""
    tuned = select(tunings.c.job).join(jobs, jobs.c.id == tunings.c.job).where(jobs.c.finished_at.is_(None))
    compared = select(comparisons.c.job).join(jobs, jobs.c.id == comparisons.c.job).where(jobs.c.finished_at.is_(None))
    asked = select(batches.c.id).where(batches.c.status.in_(WORKING), batches.c.input_file == files.c.id)
    trained = tuned.where(or_(tunings.c.training_file == files.c.id, tunings.c.validation_file == files.c.id))
    return ~exists(trained) & ~exists(compared.where(comparisons.c.prompts == files.c.id)) & ~exists(asked)


def _alive() -> ColumnElement[bool]:
    return or_(files.c.expires_at.is_(None), files.c.expires_at > now())


def _told(variable: str, otherwise: int) -> int:
    """A number of bytes from the environment. Raises `UserError`."""
    told = os.environ.get(variable)
    if told is None:
        return otherwise
    if not told.isdecimal() or int(told) < 1:
        raise UserError(f"{variable} is {told!r}; give it as a number of bytes, such as {otherwise}.")
    return int(told)
