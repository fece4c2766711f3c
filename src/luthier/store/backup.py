"""A backup: one tar file with the database's rows, the bytes of all files and models, the folders of jobs, the secret, and a manifest.

The rows are written as text, so that what was kept on SQLite can be restored to PostgreSQL, and the other way round. The platform goes on
working meanwhile: first come the bytes, which never change, and then the rows as they are at one moment; bytes that they name and that came
in between follow. The manifest stands last: a file without it is not whole.
"""

import hashlib
import json
import os
import secrets
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Table, select

from luthier.errors import UserError
from luthier.store.blobs import BlobGone, Blobs, storing
from luthier.store.database import Database, now
from luthier.store.garbage import named
from luthier.store.home import SECRET_VARIABLE, Home
from luthier.store.tables import metadata, workers

FORMAT = 1
MANIFEST, SECRET, TABLES, BLOBS, JOBS = "manifest.json", "secret", "tables", "blobs", "jobs"
"""What lies where in the file."""
LEFT_OUT = {workers.name}
"""Tables of what is not there any more when it is read again."""
TRIES = 5
"""Times that the rows are read anew because bytes that they name were deleted at that moment."""


class BackupError(UserError):
    """A backup that cannot be made, or is none, or cannot be restored where it should."""


@dataclass(frozen=True)
class Member:
    """A file in a backup. `bytes` and `sha256`: of its content."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What is in a backup. `revision`: of its tables. `home`: the folder of the platform that it was made of. `rows`: by table."""

    format: int
    luthier: str
    created_at: float
    revision: str
    home: str
    rows: dict[str, int]
    members: dict[str, Member]

    @property
    def bytes(self) -> int:
        return sum(member.bytes for member in self.members.values())

    def within(self, folder: str) -> list[str]:
        """The members that lie in a folder."""
        return [name for name in self.members if name.startswith(f"{folder}/")]


def back_up(home: Home, blobs: Blobs, out: Path, with_jobs: bool = True) -> Manifest:
    """Write a backup to `out`, which is there when it is whole.

    Args:
        with_jobs: with the folders of jobs: their records, metrics and checkpoints.
    Raises:
        BackupError: there is such a file already. StorageError: no room left, or bytes cannot be read.
    """
    if out.exists():
        raise BackupError(f"{out} is there already. Give the backup another name, or remove that one.")
    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    with storing(out.parent):
        try:
            with open(partial, "xb", opener=_private) as file:
                manifest = _Writer(file).write(home, blobs, with_jobs)
                file.flush()
                os.fsync(file.fileno())
            os.link(partial, out)  # unlike a rename, it never replaces what somebody else has put there meanwhile
        except FileExistsError as error:
            raise BackupError(f"{out} was written by somebody else meanwhile.") from error
        finally:
            partial.unlink(missing_ok=True)
    return manifest


class _Writer:
    def __init__(self, file: IO[bytes]) -> None:
        self.tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115  (the file is closed by who opened it)
        self.members: dict[str, Member] = {}

    def write(self, home: Home, blobs: Blobs, with_jobs: bool) -> Manifest:
        with home.database.read() as connection:
            self._blobs(blobs, named(connection))
        if SECRET_VARIABLE not in os.environ:
            self._bytes(SECRET, home.secret)
        if with_jobs:
            self._folder(home.jobs, JOBS)
        revision, at, rows = self._tables(home, blobs)
        manifest = Manifest(FORMAT, version("luthier"), at, revision, str(home.folder), rows, self.members)
        self._bytes(MANIFEST, json.dumps(asdict(manifest), indent=1).encode(), listed=False)
        self.tar.close()
        return manifest

    def _tables(self, home: Home, blobs: Blobs) -> tuple[str, float, dict[str, int]]:
        """The rows as they are at one moment, and all bytes that they name. Returns their revision, that moment, and how many they are."""
        for _ in range(TRIES):
            with tempfile.TemporaryDirectory(prefix="luthier-backup-") as folder:
                with _snapshot(home.database) as connection:
                    revision = MigrationContext.configure(connection).get_current_revision()
                    at = float(connection.execute(select(now())).scalar_one())
                    rows = {table.name: _dump(connection, table, Path(folder) / table.name) for table in _tables()}
                    wanted = named(connection)
                if not self._blobs(blobs, wanted):
                    continue
                for name in rows:
                    self._path(f"{TABLES}/{name}.jsonl", Path(folder) / name)
                assert revision is not None
                return revision, at, rows
        raise BackupError("Files are deleted so quickly that no moment could be found at which all bytes are there. Try again.")

    def _blobs(self, blobs: Blobs, wanted: set[str]) -> bool:
        """Bytes that are not in it yet. Returns whether all of them were there."""
        whole = True
        for sha256 in sorted(wanted):
            if f"{BLOBS}/{sha256}" in self.members:
                continue
            try:
                self._path(f"{BLOBS}/{sha256}", blobs.path(sha256), expected=sha256)
            except (BlobGone, FileNotFoundError):
                whole = False
        return whole

    def _folder(self, folder: Path, name: str) -> None:
        for path in sorted(folder.rglob("*")):
            if stat.S_ISREG(path.lstat().st_mode):
                self._path(f"{name}/{path.relative_to(folder).as_posix()}", path)

    def _path(self, name: str, path: Path, expected: str | None = None) -> None:
        """A file, as long as it is now: one that grows is cut there."""
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            hashed = Hashed(file)
            try:
                self._add(name, size, hashed)
            except OSError as error:
                if "unexpected end of data" in str(error):
                    raise BackupError(f"{path} was cut short while it was read. Try again when its job is not running.") from error
                raise
        if expected is not None and hashed.hexdigest != expected:
            raise BackupError(f"{path} is damaged: its content has another hash than its name says. Restore it from an older backup.")
        self.members[name] = Member(size, hashed.hexdigest)

    def _bytes(self, name: str, content: bytes, listed: bool = True) -> None:
        self._add(name, len(content), BytesIO(content))
        if listed:
            self.members[name] = Member(len(content), hashlib.sha256(content).hexdigest())

    def _add(self, name: str, size: int, file: Any) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        self.tar.addfile(info, file)


class Hashed:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        return data

    @property
    def hexdigest(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def _snapshot(database: Database) -> Iterator[Connection]:
    """One look, of which every part sees the same moment."""
    engine = database.engine if database.is_sqlite else database.engine.execution_options(isolation_level="REPEATABLE READ")
    with engine.begin() as connection:
        yield connection


def _tables() -> Iterator[Table]:
    """Those that are kept, each after those that it refers to."""
    return (table for table in metadata.sorted_tables if table.name not in LEFT_OUT)


def _dump(connection: Connection, table: Table, path: Path) -> int:
    """A line each row. Returns how many."""
    rows = 0
    with path.open("w", encoding="utf-8") as file:
        for row in connection.execution_options(yield_per=1000).execute(select(table)):
            file.write(json.dumps(dict(row._mapping), ensure_ascii=False) + "\n")
            rows += 1
    return rows


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # it holds the secret
