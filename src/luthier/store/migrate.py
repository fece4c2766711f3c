"""Brings a database to the tables of this version, forward only; a SQLite file is copied before."""

import sqlite3
from datetime import datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from luthier.store.database import Database, DatabaseError

MIGRATIONS = Path(__file__).resolve().parent / "migrations"


def migrate(database: Database) -> Path | None:
    """Make or update the tables. Returns the copy of what was there before, where a SQLite file was changed.

    Raises:
        DatabaseError: the database is of a newer version of Luthier.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
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
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return copy


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
