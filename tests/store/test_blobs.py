"""Bytes by their hash, in a folder and in S3: whole or not there, once, and gone only when nobody names them."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import insert

from luthier.store import garbage
from luthier.store.blobs import LEFT_S, PARTIAL, BlobGone, Blobs, FolderBlobs, StorageError, TooLarge, blobs_at
from luthier.store.database import Database
from luthier.store.files import Files
from luthier.store.tables import models

HELLO = hashlib.sha256(b"hello").hexdigest()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3's language."""
    server = pytest.importorskip("moto.server", reason="moto, a server like S3, is not installed here").ThreadedMotoServer("127.0.0.1", 0)
    pytest.importorskip("obstore", reason="obstore, which speaks to S3, is not installed here")
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket, with the variables that lead there."""
    told = {"AWS_ENDPOINT_URL": s3, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    name = f"b{os.urandom(8).hex()}"
    httpx.put(f"{s3}/{name}").raise_for_status()
    return f"s3://{name}/files"


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    """An empty store of each kind in turn."""
    return blobs_at(request.getfixturevalue("bucket") if request.param == "s3" else None, tmp_path / "home")


def left_over(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and PARTIAL in path.parts]


def test_what_is_put_is_there_under_its_hash(blobs: Blobs):
    blob = blobs.put([b"hel", b"", b"lo"])
    assert (blob.sha256, blob.bytes) == (HELLO, 5)
    assert blobs.exists(HELLO)
    assert b"".join(blobs.open(HELLO)) == b"hello"
    assert blobs.path(HELLO).read_bytes() == b"hello"


def test_nothing_is_a_content_too(blobs: Blobs):
    assert b"".join(blobs.open(blobs.put([]).sha256)) == b""


def test_the_same_bytes_are_there_once(blobs: Blobs, tmp_path: Path):
    assert blobs.put([b"hello"]) == blobs.put([b"h", b"ello"])
    assert list(blobs.older(-1)) == [HELLO]
    assert left_over(tmp_path) == []


def test_what_was_deleted_is_gone_and_may_be_deleted_again(blobs: Blobs):
    blobs.put([b"hello"])
    blobs.delete(HELLO)
    blobs.delete(HELLO)
    assert not blobs.exists(HELLO)
    for read in (blobs.open, blobs.path):
        with pytest.raises(BlobGone, match=HELLO):
            read(HELLO)


def test_a_large_one_comes_back_as_it_was(blobs: Blobs):
    """20 MB: more than one part of 16 MiB."""
    pieces = [bytes([number]) * 10**6 for number in range(20)]
    blob = blobs.put(pieces)
    assert blob.bytes == 20 * 10**6
    read = hashlib.sha256()
    for chunk in blobs.open(blob.sha256):
        assert len(chunk) <= 10 * 2**20
        read.update(chunk)
    assert read.hexdigest() == blob.sha256


@pytest.mark.parametrize("limit, fits", [(5, True), (4, False)])
def test_the_limit_is_the_last_that_fits(blobs: Blobs, tmp_path: Path, limit: int, fits: bool):
    if fits:
        assert blobs.put([b"hello"], limit).bytes == 5
    else:
        with pytest.raises(TooLarge, match="more than 4 bytes"):
            blobs.put([b"hello"], limit)
        assert not blobs.exists(HELLO)
    assert left_over(tmp_path) == []


def test_what_breaks_off_leaves_nothing(blobs: Blobs, tmp_path: Path):
    def broken() -> Iterator[bytes]:
        yield b"hel"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        blobs.put(broken())
    assert left_over(tmp_path) == [] and list(blobs.older(-1)) == []


def test_a_reader_goes_on_although_it_is_deleted(tmp_path: Path):
    blobs = FolderBlobs(tmp_path)
    chunks = blobs.open(blobs.put([b"hello"]).sha256)
    blobs.delete(HELLO)
    assert b"".join(chunks) == b"hello"


def test_a_file_of_the_store_cannot_be_written_to(tmp_path: Path):
    path = FolderBlobs(tmp_path).path(FolderBlobs(tmp_path).put([b"hello"]).sha256)
    assert path.stat().st_mode & 0o777 == 0o400


FULL = """
import resource, sys
from pathlib import Path
from luthier.store.blobs import FolderBlobs, StorageFull
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))  # no file may grow beyond this, as if there were no more room
folder = Path(sys.argv[1])
try:
    FolderBlobs(folder).put([b"a" * 2**19] * 3)
except StorageFull as error:
    print(error)
print([str(path) for path in folder.rglob("*") if path.is_file()])
"""


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path: Path):
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    said, files = done.stdout.splitlines()
    assert said == f"There is no room left in {tmp_path / PARTIAL}. Nothing of this was kept. Make room, then send it again."
    assert files == "[]"


KILLED = """
import sys, time
from pathlib import Path
from luthier.store.blobs import FolderBlobs
incoming = FolderBlobs(Path(sys.argv[1])).begin()
incoming.write(b"a" * 2**20)
print("written", flush=True)
time.sleep(60)
"""


def test_a_sweep_takes_what_a_killed_writer_left_and_nobody_elses(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "written\n"
        (partial,) = left_over(tmp_path)
        long_ago = time.time() - 2 * LEFT_S
        os.utime(partial, (long_ago, long_ago))
        FolderBlobs(tmp_path).sweep()
        assert left_over(tmp_path) == [partial], "its writer lives"
        writer.kill()
    FolderBlobs(tmp_path).sweep()
    assert left_over(tmp_path) == []


def test_bytes_stay_as_long_as_a_row_names_them(database: Database, tmp_path: Path):
    blobs = FolderBlobs(tmp_path / "blobs")
    files = Files(database, blobs)
    one, other = (files.create(project, "a.txt", "user_data", [b"hello"]) for project in ("p", "q"))
    files.delete("p", one.id)
    assert blobs.exists(HELLO), "the other project has the same bytes"
    files.delete("q", other.id)
    assert not blobs.exists(HELLO)


def test_a_models_weights_stay(database: Database, tmp_path: Path):
    blobs = FolderBlobs(tmp_path / "blobs")
    blobs.put([b"hello"])
    row = {"name": "ft:a", "project": "p", "job": "j", "base": "/b", "kind": "adapter", "lineage": {}, "created_at": 0.0}
    with database.write() as connection:
        garbage.keep(connection, blobs, [HELLO])
        connection.execute(insert(models).values(**row, weights={"adapter.safetensors": HELLO}))
    assert garbage.collect(database, blobs, [HELLO]) == 0
    assert blobs.exists(HELLO)


def test_a_sweep_takes_what_nobody_names_but_not_what_was_just_put(database: Database, tmp_path: Path):
    blobs = FolderBlobs(tmp_path / "blobs")
    Files(database, blobs).create("p", "a.txt", "user_data", [b"named"])
    old, fresh = blobs.put([b"old"]), blobs.put([b"fresh"])
    for path in (blobs.path(old.sha256), blobs.path(hashlib.sha256(b"named").hexdigest())):
        os.utime(path, (0, 0))
    assert garbage.sweep(database, blobs) == 1
    assert [blobs.exists(sha256) for sha256 in (old.sha256, fresh.sha256, hashlib.sha256(b"named").hexdigest())] == [False, True, True]


def test_putting_old_bytes_again_keeps_them_from_the_sweep(database: Database, tmp_path: Path):
    blobs = FolderBlobs(tmp_path / "blobs")
    os.utime(blobs.path(blobs.put([b"hello"]).sha256), (0, 0))
    blobs.put([b"hello"])
    assert garbage.sweep(database, blobs) == 0


def test_a_row_cannot_name_bytes_that_were_deleted_meanwhile(database: Database, tmp_path: Path):
    blobs = FolderBlobs(tmp_path / "blobs")
    blob = blobs.put([b"hello"])
    blobs.delete(HELLO)
    with pytest.raises(BlobGone, match="Send them again"):
        Files(database, blobs).add("p", "a.txt", "user_data", blob)


def test_s3_is_read_once_by_path_and_its_hash_is_checked(bucket: str, tmp_path: Path):
    """One machine puts, another one reads: it has a cache of its own."""
    from luthier.store.blobs_s3 import S3Blobs

    S3Blobs(bucket, tmp_path / "one").put([b"hello"])
    other = S3Blobs(bucket, tmp_path / "other")
    assert other.path(HELLO).read_bytes() == b"hello"
    other.store.put(f"{HELLO[:2]}/{HELLO}", b"spoilt")
    assert other.path(HELLO).read_bytes() == b"hello", "it was fetched before"
    with pytest.raises(StorageError, match="damaged"):
        S3Blobs(bucket, tmp_path / "third").path(HELLO)
    assert not left_over(tmp_path) and not [path for path in (tmp_path / "third").rglob("*") if path.is_file()]


def test_a_bucket_that_is_not_there_is_told(bucket: str, tmp_path: Path):
    from luthier.store.blobs_s3 import S3Blobs

    with pytest.raises(StorageError, match="There is no such place as s3://no-such-bucket/files: make the bucket"):
        S3Blobs("s3://no-such-bucket/files", tmp_path).put([b"hello"])
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("where", ["ftp://a/b", "s3://", "s3:///x"])
def test_a_place_that_is_none_is_told(where: str, tmp_path: Path):
    with pytest.raises(StorageError, match=r"is no place for files. Name a folder, or s3://BUCKET/PREFIX"):
        blobs_at(where, tmp_path)
