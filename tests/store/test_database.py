"""The database: transactions that are whole, one clock, migrations that go forward and keep a copy, URLs that are told what is wrong."""

import sqlite3
import threading
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, select, text, update

from luthier.store.database import Database, DatabaseError, now
from luthier.store.home import Home
from luthier.store.migrate import make_tables, migrate
from luthier.store.tables import metadata, workers

WORKER = {"host": "here", "process": 1, "offers": {}, "since": 0.0, "seen_at": 0.0}


def test_the_migrations_make_the_tables_that_the_code_knows(database: Database):
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_again_changes_nothing(database: Database, tmp_path: Path):
    assert migrate(database) is None
    assert [path.name for path in tmp_path.glob("l.db.0*")] == []


def test_a_file_is_copied_before_its_tables_change(tmp_path: Path):
    old = Database(f"sqlite:///{tmp_path / 'l.db'}")
    with old.write() as connection:
        make_tables(connection, "0001")
    copy = migrate(old)
    assert copy is not None and copy.parent == tmp_path
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)


def test_a_database_of_a_newer_version_is_left_alone(database: Database):
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match=r"newer version of Luthier .*9999.* Update Luthier"):
        migrate(database)


def test_the_clock_is_the_databases_own(database: Database):
    with database.read() as connection:
        assert abs(connection.execute(select(now())).scalar_one() - time.time()) < 2


def test_what_fails_in_the_middle_leaves_nothing(database: Database):
    def half() -> None:
        with database.write() as connection:
            connection.execute(insert(workers).values(id="a", **WORKER))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    with database.read() as connection:
        assert connection.execute(select(workers)).all() == []


def test_writers_wait_for_each_other_and_lose_nothing(database: Database):
    with database.write() as connection:
        connection.execute(insert(workers).values(id="counter", **WORKER))

    def count() -> None:
        for _ in range(20):
            with database.write() as connection:
                connection.execute(update(workers).values(process=workers.c.process + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert connection.execute(select(workers.c.process)).scalar_one() == 1 + 80


def test_it_syncs_what_it_acknowledges(tmp_path: Path):
    with Database(f"sqlite:///{tmp_path / 'l.db'}").read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2


@pytest.mark.parametrize(
    "url, said",
    [
        ("nonsense", "no database's URL"),
        ("mysql://x/y", "sqlite:///FILE or postgresql://"),
        ("sqlite:////no/such/folder/l.db", "cannot be opened: unable to open database file"),
    ],
)
def test_a_url_that_leads_nowhere_is_told(url: str, said: str):
    with pytest.raises(DatabaseError, match=said):
        Database(url)


def test_a_password_is_never_told():
    with pytest.raises(DatabaseError) as raised:
        Database("postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(raised.value)


def test_the_home_is_the_owners_alone_and_made_when_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "h"))
    home = Home()
    assert (home.folder.stat().st_mode & 0o777, home.database.file) == (0o700, tmp_path / "h" / "luthier.db")
    with sqlite3.connect(tmp_path / "h" / "luthier.db") as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
