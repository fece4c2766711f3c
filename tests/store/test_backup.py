"""A backup is whole or not there; what is restored is what was there, on either kind of database, and nothing is overwritten."""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, insert, select, text

from luthier.store.backup import BackupError, back_up
from luthier.store.blobs import Blobs, FolderBlobs, blobs_of
from luthier.store.database import Database
from luthier.store.files import Files
from luthier.store.home import Home
from luthier.store.restore import restore
from luthier.store.tables import audit, job_events, jobs, metadata, models, tunings, workers

JOB = {"project": "default", "kind": "tune", "name": "n", "priority": 0, "not_before": 0.0, "failures": 0, "losses": 0, "created_at": 1.5}
TUNING = {"model": "m", "base": "m", "method": {"type": "dpo"}, "training_file": "file-x", "seed": 7, "metadata": None}


def filled(home: Home) -> Files:
    """A platform with a file, a model and a job that has left something."""
    blobs = blobs_of(home)
    files = Files(home.database, blobs)
    files.create("default", "größe.jsonl", "fine-tune", [b"a" * 3_000_000])
    weights = blobs.put([b"weights"])
    run = home.jobs / "j" / "run"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text('{"loss": 1}\n')
    (run / "away").symlink_to("/etc/passwd")
    with home.database.write() as connection:
        connection.execute(insert(jobs).values(id="j", folder=str(home.jobs / "j"), status="succeeded", needs={"kind": "tune"}, **JOB))
        connection.execute(insert(tunings).values(job="j", **TUNING))
        connection.execute(insert(job_events), [{"job": "j", "at": 0.1 * n, "level": "info", "message": str(n)} for n in range(1200)])
        row = {
            "name": "ft:m",
            "project": "default",
            "job": "j",
            "base": "/b",
            "kind": "adapter",
            "created_at": 2.25,
        }
        connection.execute(insert(models).values(**row, lineage={"seed": 7}, weights={"adapter.safetensors": weights.sha256}))
        connection.execute(insert(workers).values(id="w", host="h", process=1, offers={}, since=0.0, seen_at=0.0))
    assert home.secret
    return files


@pytest.fixture
def home(tmp_path: Path, database: Database) -> Iterator[Home]:
    """A filled platform on each kind of database in turn."""
    opened = Home(str(tmp_path / "home"), database.url.render_as_string(hide_password=False))
    filled(opened)
    yield opened
    opened.database.close()


def rows(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    return {table.name: sorted(map(tuple, connection.execute(select(table)).all()), key=str) for table in metadata.sorted_tables}


def test_what_is_restored_is_what_was_there(home: Home, tmp_path: Path):
    manifest = back_up(home, blobs_of(home), tmp_path / "b.tar")
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600
    with home.database.read() as connection:
        before = rows(connection)
    restored = restore(tmp_path / "b.tar", tmp_path / "new")
    assert restored == manifest
    new = Home(str(tmp_path / "new"))
    with closing(new.database), new.database.read() as connection:
        after = rows(connection)
        assert new.secret == home.secret
        (file,) = Files(new.database, blobs_of(new)).list("default")
        assert b"".join(blobs_of(new).open(file.sha256)) == b"a" * 3_000_000
        assert blobs_of(new).exists(after["models"][0][5]["adapter.safetensors"])  # type: ignore[index]
    assert (tmp_path / "new/jobs/j/run/metrics.jsonl").read_text() == '{"loss": 1}\n'
    assert not (tmp_path / "new/jobs/j/run/away").exists()
    assert before.pop("workers") and not after.pop("workers"), "workers of another machine are not there"
    assert [row[4] for row in after.pop("jobs")] == [str(tmp_path / "new/jobs/j")]
    before.pop("jobs")
    assert after == before


def test_from_one_kind_of_database_to_the_other_and_on(kept: Home, tmp_path: Path, postgres: str):
    """What SQLite held goes to PostgreSQL, and numbers of rows go on there."""
    back_up(kept, blobs_of(kept), tmp_path / "b.tar")
    admin = Database(f"{postgres}/postgres")
    name = f"r{os.urandom(8).hex()}"
    with closing(admin), admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    restore(tmp_path / "b.tar", tmp_path / "new", f"{postgres}/{name}")
    with closing(Database(f"{postgres}/{name}")) as new, new.write() as connection:
        connection.execute(insert(job_events).values(job="j", at=0.0, level="info", message="next"))
        connection.execute(insert(audit).values(at=0.0, project="p", action="a", subject="s", details={}))
        assert connection.execute(select(job_events.c.number).order_by(job_events.c.number.desc()).limit(1)).scalar() == 1201
    with pytest.raises(BackupError, match=r"is in use already. Nothing is overwritten"):
        restore(tmp_path / "b.tar", tmp_path / "third", f"{postgres}/{name}")
    assert not (tmp_path / "third").exists()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Home]:
    """A filled platform on SQLite."""
    opened = Home(str(tmp_path / "home"))
    filled(opened)
    yield opened
    opened.database.close()


def test_nothing_is_overwritten(kept: Home, tmp_path: Path):
    out = tmp_path / "b.tar"
    back_up(kept, blobs_of(kept), out)
    with pytest.raises(BackupError, match=r"is there already"):
        back_up(kept, blobs_of(kept), out)
    with pytest.raises(BackupError, match=r"is not empty. Nothing is overwritten"):
        restore(out, kept.folder)


def test_without_the_folders_of_jobs(kept: Home, tmp_path: Path):
    assert back_up(kept, blobs_of(kept), tmp_path / "b.tar", with_jobs=False).within("jobs") == []


def test_a_secret_from_the_environment_stays_there(kept: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LUTHIER_SECRET", "s" * 32)
    assert "secret" not in back_up(kept, blobs_of(kept), tmp_path / "b.tar").members


@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_a_part_of_a_backup_is_none(kept: Home, tmp_path: Path, share: float):
    back_up(kept, blobs_of(kept), tmp_path / "b.tar")
    whole = (tmp_path / "b.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BackupError, match="is no whole backup"):
        restore(tmp_path / "b.tar", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "home"]


@pytest.mark.parametrize("what", [b"aaaaaaaaaaaaaaaa", b'"message": "7"', b'{"loss": 1}'])
def test_a_damaged_backup_is_refused_and_nothing_is_left(kept: Home, tmp_path: Path, what: bytes):
    """One byte of a file, of a row, of a job's folder."""
    back_up(kept, blobs_of(kept), tmp_path / "b.tar")
    whole = bytearray((tmp_path / "b.tar").read_bytes())
    at = whole.index(what)
    whole[at + len(what) - 2] ^= 1
    (tmp_path / "b.tar").write_bytes(whole)
    with pytest.raises(BackupError, match="is no whole backup"):
        restore(tmp_path / "b.tar", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "home"]


def rewritten(archive: Path, change: dict[str, object]) -> None:
    """The same backup with another manifest."""
    with tarfile.open(archive) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    with tarfile.open(archive, "w") as tar:
        for info, content in members:
            if info.name == "manifest.json":
                content = json.dumps(json.loads(content) | change).encode()
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_a_backup_of_a_newer_version_is_refused(kept: Home, tmp_path: Path):
    back_up(kept, blobs_of(kept), tmp_path / "b.tar")
    rewritten(tmp_path / "b.tar", {"revision": "9999", "luthier": "99.0"})
    with pytest.raises(BackupError, match=r"made by Luthier 99.0, which is newer than this one. Update Luthier."):
        restore(tmp_path / "b.tar", tmp_path / "new")


class Deleting(FolderBlobs):
    """A store from which somebody deletes a file, and its row, at the moment that it is read."""

    def __init__(self, folder: Path, files: Files) -> None:
        super().__init__(folder)
        self.files, self.deleted = files, False

    def path(self, sha256: str) -> Path:
        if not self.deleted:
            self.deleted = True
            for file in self.files.list("default"):
                self.files.delete("default", file.id)
        return super().path(sha256)


def test_a_file_that_is_deleted_meanwhile_is_not_in_it(kept: Home, tmp_path: Path):
    blobs: Blobs = Deleting(kept.folder / "blobs", Files(kept.database, blobs_of(kept)))
    manifest = back_up(kept, blobs, tmp_path / "b.tar")
    assert manifest.rows["files"] == 0
    assert len(manifest.within("blobs")) == 1, "the model's weights"


def test_a_damaged_store_is_told(kept: Home, tmp_path: Path):
    (blob,) = [path for path in (kept.folder / "blobs").rglob("*") if path.is_file() and path.stat().st_size == 7]
    blob.chmod(0o600)
    blob.write_bytes(b"weightz")
    with pytest.raises(BackupError, match="is damaged: its content has another hash than its name says"):
        back_up(kept, blobs_of(kept), tmp_path / "b.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_an_old_backup_is_brought_up_to_date(kept: Home, tmp_path: Path):
    """Rows of the first tables ever, before there were projects."""
    with kept.database.write() as connection:
        connection.execute(delete(tunings))
    back_up(kept, blobs_of(kept), tmp_path / "b.tar", with_jobs=False)
    rewritten(tmp_path / "b.tar", {"revision": "0001", "rows": {"jobs": 1, "job_dependencies": 0}})
    restore(tmp_path / "b.tar", tmp_path / "new")
    new = Home(str(tmp_path / "new"))
    with closing(new.database), new.database.read() as connection:
        assert [row.id for row in connection.execute(select(jobs))] == ["j"]
