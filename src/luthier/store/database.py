"""One way to SQLite, a file on one machine, and to PostgreSQL, for several: the same tables, the same transactions, the same clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Double

from luthier.errors import UserError

BUSY_S = 30.0
"""How long a write waits for another one on SQLite."""

KINDS = ("sqlite", "postgresql")


class DatabaseError(UserError):
    """A database that cannot be opened or used as it is."""


class now(FunctionElement[float]):  # noqa: N801  (a function of SQL)
    """Seconds since the epoch by the database's clock."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


class Database:
    """Opened by URL, such as `sqlite:///luthier.db` or `postgresql://user@host/name`.

    Raises:
        DatabaseError: a URL that is none, a database that cannot be reached, or a missing driver.
    """

    def __init__(self, url: str) -> None:
        self.url = _url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        options: dict[str, Any] = {"connect_args": {"timeout": BUSY_S}} if self.is_sqlite else {"pool_pre_ping": True}
        self.engine = create_engine(self.url, **options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._writing = self.engine.execution_options(writes=True)
        try:
            with self.read() as connection:
                connection.execute(text("SELECT 1"))
        except DBAPIError as error:
            raise DatabaseError(f"The database {self} cannot be opened: {_reason(error)}. Check its URL, and that it is there.") from error

    @property
    def file(self) -> Path | None:
        """Where a SQLite database lies."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One look: what it sees does not change meanwhile."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, all of it or nothing. On SQLite one at a time: it waits for others before it reads what it will change.

        Raises:
            DatabaseError: the disk is full, or others have held the database for too long.
        """
        try:
            with self._writing.begin() as connection:
                yield connection
        except OperationalError as error:
            raise DatabaseError(f"The database {self} could not be written to: {_reason(error)}. Nothing of this was kept.") from error

    def close(self) -> None:
        self.engine.dispose()

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)


def _url(given: str) -> URL:
    try:
        url = make_url(given)
        if url.get_backend_name() == "postgresql" and "+" not in url.drivername:
            url = url.set(drivername="postgresql+psycopg")
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError) as error:
        raise DatabaseError(
            f"`{given.partition('@')[0] if '@' not in given else '…@' + given.partition('@')[2]}` is no database's URL. "
            f"Write it as sqlite:///FILE or postgresql://USER@HOST/NAME."
        ) from error
    if url.get_backend_name() not in KINDS:
        raise DatabaseError(f"{url.get_backend_name()} is not supported. Use sqlite:///FILE or postgresql://USER@HOST/NAME.")
    return url


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says so, not where the driver guesses
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """A transaction that will write takes the lock at once: one that upgraded from reading could be refused in the middle."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _reason(error: DBAPIError) -> str:
    return str(error.orig).strip().partition("\n")[0].rstrip(".")
