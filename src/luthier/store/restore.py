"""A platform from a backup: in a folder and a database that hold nothing yet. What does not match the backup's manifest is refused."""

import json
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import JSON, Connection, MetaData, Table, delete, func, insert, inspect, select, text

from luthier.store.backup import BLOBS, FORMAT, JOBS, MANIFEST, SECRET, TABLES, BackupError, Hashed, Manifest, Member
from luthier.store.blobs import CHUNK_BYTES, VARIABLE, blobs_at, storing
from luthier.store.database import Database
from luthier.store.migrate import knows, make_tables, migrate
from luthier.store.tables import metadata

ROWS_AT_ONCE = 500


def restore(archive: Path, folder: Path, database: str | None = None) -> Manifest:
    """Make a platform of a backup. Where it fails, nothing of it is there.

    Args:
        folder: the platform's, which is empty or not there. database: its URL, or None for a file in that folder.
    Raises:
        BackupError: it is no whole backup, it is damaged or of a newer version; or something is there already.
        StorageError: no room left. DatabaseError: the database cannot be reached.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"{folder} is not empty. Nothing is overwritten: name another folder with --home.")
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    with _Reader(archive) as reader, storing(folder):
        try:
            partial.mkdir(mode=0o700, parents=True)
            reader.read_into(partial, folder, database or f"sqlite:///{partial / 'luthier.db'}")
            if folder.exists():
                folder.rmdir()
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return reader.manifest


class _Reader:
    def __init__(self, archive: Path) -> None:
        self.archive = archive
        with ExitStack() as opened:
            try:
                self.tar = opened.enter_context(tarfile.open(archive))
                self.infos = {info.name: info for info in self.tar if info.isfile()}
            except tarfile.TarError as error:
                raise self._broken("it cannot be read as a tar file") from error
            self.manifest = self._manifest()
            self._opened = opened.pop_all()

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def read_into(self, partial: Path, folder: Path, database: str) -> None:
        """Everything, to a folder that will be `folder`."""
        with closing(Database(database)) as opened:
            self._refuse_filled(opened)
            blobs = blobs_at(os.environ.get(VARIABLE), partial)
            for name in self.manifest.within(BLOBS):
                expected = PurePosixPath(name).name
                if blobs.put(self._content(name)).sha256 != expected:
                    raise self._broken(f"{name} has other content than its name says")
            for name in [*self.manifest.within(JOBS), *([SECRET] if SECRET in self.manifest.members else [])]:
                self._file(name, partial)
            with opened.write() as connection:
                self._rows(connection, folder)
            migrate(opened)

    def _manifest(self) -> Manifest:
        if MANIFEST not in self.infos:
            raise self._broken("it has no manifest, which is written last")
        try:
            told = json.loads(b"".join(self._chunks(MANIFEST)))
            told["members"] = {name: Member(**member) for name, member in told["members"].items()}
            manifest = Manifest(**told)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._broken("its manifest cannot be read") from error
        if manifest.format != FORMAT or not knows(manifest.revision):
            raise BackupError(f"{self.archive} was made by Luthier {manifest.luthier}, which is newer than this one. Update Luthier.")
        for name, member in manifest.members.items():
            if name not in self.infos or self.infos[name].size != member.bytes:
                raise self._broken(f"{name} is missing or has another length")
        return manifest

    def _chunks(self, name: str) -> Iterator[bytes]:
        file = self.tar.extractfile(self.infos[name])
        assert file is not None
        while chunk := file.read(CHUNK_BYTES):
            yield chunk

    def _content(self, name: str) -> Iterator[bytes]:
        """The bytes of a member; after the last of them, its hash is checked."""
        file = self.tar.extractfile(self.infos[name])
        assert file is not None
        hashed = Hashed(file)
        while chunk := hashed.read(CHUNK_BYTES):
            yield chunk
        if hashed.hexdigest != self.manifest.members[name].sha256:
            raise self._broken(f"{name} has other content than its manifest says")

    def _file(self, name: str, folder: Path) -> None:
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts:
            raise self._broken(f"{name} leads out of its folder")
        target = folder.joinpath(*parts)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(target, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.writelines(self._content(name))
            os.fsync(file.fileno())

    def _refuse_filled(self, database: Database) -> None:
        with database.read() as connection:
            there = set(inspect(connection).get_table_names())
        if there & {"alembic_version", *metadata.tables}:
            raise BackupError(f"The database {database} is in use already. Nothing is overwritten: name an empty one with --database.")

    def _rows(self, connection: Connection, folder: Path) -> None:
        """All tables, as they were then, and their rows."""
        make_tables(connection, self.manifest.revision)
        then = MetaData()
        then.reflect(connection, only=list(self.manifest.rows))
        for table in reversed(then.sorted_tables):
            connection.execute(delete(table))  # what the migrations put there
        for table in then.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, JSON):
                    column.type.none_as_null = True
            name = f"{TABLES}/{table.name}.jsonl"
            for _ in self._content(name):  # its hash is checked at the end: no row of it is read before
                pass
            rows = (self._moved(table, json.loads(line), folder) for line in _lines(self._chunks(name)))
            number = 0
            while some := list(islice(rows, ROWS_AT_ONCE)):
                connection.execute(insert(table), some)
                number += len(some)
            if number != self.manifest.rows[table.name]:
                raise self._broken(f"the table {table.name} has {number:,} rows, not {self.manifest.rows[table.name]:,}")
            _go_on_counting(connection, table)

    def _moved(self, table: Table, row: dict[str, Any], folder: Path) -> dict[str, Any]:
        """A job's folder lies where the platform's now is."""
        if table.name == "jobs" and Path(row["folder"]).is_relative_to(self.manifest.home):
            row["folder"] = str(folder / Path(row["folder"]).relative_to(self.manifest.home))
        return row

    def _broken(self, why: str) -> BackupError:
        return BackupError(f"{self.archive} is no whole backup: {why}. Use another one.")


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of what comes in pieces."""
    left = b""
    for chunk in chunks:
        *lines, left = (left + chunk).split(b"\n")
        yield from lines
    if left:
        yield left


def _go_on_counting(connection: Connection, table: Table) -> None:
    """PostgreSQL numbers rows by a counter of its own, which rows that come with their numbers do not move."""
    if connection.dialect.name != "postgresql":
        return
    for column in table.primary_key.columns:
        counter = connection.execute(select(func.pg_get_serial_sequence(table.name, column.name))).scalar()
        if counter is not None:
            highest = connection.execute(select(func.max(column))).scalar()
            if highest is not None:
                connection.execute(text("SELECT setval(:counter, :highest)"), {"counter": counter, "highest": highest})
