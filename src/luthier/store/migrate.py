"""Brings a database to the tables of this version, forward only; a SQLite file is copied before."""

import sqlite3
from datetime import datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from luthier.store.database import Database, DatabaseError

LOCK = 0x6C757469
"""Of PostgreSQL: processes that start together change its tables one after the other."""

MIGRATIONS = Path(__file__).resolve().parent / "migrations"


def migrate(database: Database) -> Path | None:
    """Make or update the tables. Returns the copy of what was there before, where a SQLite file was changed.

    Raises:
        DatabaseError: the database is of a newer version of Luthier.
    """
    script = ScriptDirectory.from_config(_config())
    with database.read() as connection:
        before = MigrationContext.configure(connection).get_current_revision()
    head = script.get_current_head()
    if before == head:
        return None
    if before is not None and not _known(script, before):
        raise DatabaseError(
            f"The database {database} was written by a newer version of Luthier (its tables are of {before}, this version knows {head}). "
            f"Update Luthier, or use another database."
        )
    copy = _copied(database, before) if before is not None else None
    with database.write() as connection:
        if not database.is_sqlite:  # which has one writer at a time anyway
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        make_tables(connection)
    return copy


def make_tables(connection: Connection, revision: str = "head") -> None:
    """Bring the tables of a database to a revision, in somebody's transaction."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def knows(revision: str) -> bool:
    """Whether this version of Luthier can read tables of that revision."""
    return _known(ScriptDirectory.from_config(_config()), revision)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _known(script: ScriptDirectory, revision: str) -> bool:
    try:
        return script.get_revision(revision) is not None
    except CommandError:
        return False


def _copied(database: Database, revision: str) -> Path | None:
    """A copy beside a SQLite file, whole although others may write meanwhile. A server's database has backups of its own."""
    if database.file is None:
        return None
    copy = database.file.with_name(f"{database.file.name}.{revision}-{datetime.now():%Y%m%d%H%M%S}")
    with sqlite3.connect(database.file) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    return copy
