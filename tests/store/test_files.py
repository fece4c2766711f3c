"""Files by project, and files that come in parts, on each kind of database."""

import hashlib
import threading
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from luthier.store.blobs import Blob, FolderBlobs, StorageError
from luthier.store.database import Database
from luthier.store.files import BadName, FileNotFound, Files
from luthier.store.tables import files as table
from luthier.store.tables import jobs, tunings
from luthier.store.tables import uploads as upload_table
from luthier.store.uploads import Upload, UploadNotFound, UploadRefused, Uploads

ROWS = b'{"messages":[]}\n'


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")


@pytest.fixture
def files(database: Database, blobs: FolderBlobs) -> Files:
    return Files(database, blobs)


@pytest.fixture
def uploads(database: Database, files: Files) -> Uploads:
    return Uploads(database, files.blobs, files)


def test_a_file_is_what_was_sent(files: Files):
    file = files.create("p", "train.jsonl", "fine-tune", [ROWS])
    assert file.id.startswith("file-") and len(file.id) == 5 + 22
    assert (file.bytes, file.filename, file.purpose, file.expires_at) == (len(ROWS), "train.jsonl", "fine-tune", None)
    assert files.get("p", file.id) == file
    assert b"".join(files.open("p", file.id)) == ROWS


def test_another_projects_file_does_not_exist(files: Files):
    file = files.create("p", "train.jsonl", "fine-tune", [ROWS])
    assert files.get("q", file.id) is None and not files.list("q")
    for touch in (files.find, files.open, files.delete, files.for_job):
        with pytest.raises(FileNotFound, match=f"No such File object: {file.id}"):
            touch("q", file.id)
    with pytest.raises(FileNotFound):
        files.list("q", after=file.id)
    assert files.get("p", file.id) == file


@pytest.mark.parametrize("id", ["", "file-1", "a\0b", "../../etc/passwd", "x" * 10_000, "é"])
def test_an_id_that_is_none_is_not_found(files: Files, id: str):
    assert files.get("p", id) is None


def test_a_deleted_file_is_gone_and_so_are_its_bytes(files: Files, blobs: FolderBlobs):
    file = files.create("p", "a.txt", "user_data", [b"a"])
    files.delete("p", file.id)
    assert files.get("p", file.id) is None and not blobs.exists(file.sha256)
    with pytest.raises(FileNotFound):
        files.delete("p", file.id)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_hold_every_file_once_in_order(files: Files, order: str):
    made = [files.create("p", f"{number}.txt", "user_data", [b"a"]).id for number in range(7)]
    files.create("q", "other.txt", "user_data", [b"a"])
    seen: list[str] = []
    while page := files.list("p", after=seen[-1] if seen else None, limit=3, order=order):  # type: ignore[arg-type]
        seen += [file.id for file in page]
    assert sorted(seen) == sorted(made)
    at = [files.find("p", id).created_at for id in seen]
    assert at == sorted(at, reverse=order == "desc")


def test_files_of_one_purpose(files: Files):
    files.create("p", "a.jsonl", "fine-tune", [b"a"])
    batch = files.create("p", "b.jsonl", "batch", [b"b"])
    assert [file.id for file in files.list("p", purpose="batch")] == [batch.id]


def test_a_file_expires(files: Files, blobs: FolderBlobs, database: Database):
    file = files.create("p", "a.txt", "user_data", [b"a"], expires_after_s=3600)
    assert file.expires_at == file.created_at + 3600
    with database.write() as connection:
        connection.execute(update(table).values(expires_at=1.0))
    assert files.get("p", file.id) is None and not files.list("p")
    files.sweep()
    with database.read() as connection:
        assert connection.execute(table.select()).all() == []


@pytest.mark.parametrize("name", ["", "  ", "a\nb.jsonl", "a\0.jsonl", "\x7f", "x" * 513])
def test_a_name_that_is_none_is_refused_and_leaves_nothing(files: Files, blobs: FolderBlobs, name: str):
    with pytest.raises(BadName):
        files.create("p", name, "user_data", [b"a"])
    assert not blobs.exists(hashlib.sha256(b"a").hexdigest())


def test_a_name_never_reaches_the_disk(files: Files, tmp_path: Path):
    file = files.create("p", "../../👨‍👩‍👧/x.jsonl", "fine-tune", [ROWS])
    assert file.filename == "../../👨‍👩‍👧/x.jsonl"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("l.db")] == [file.sha256]


def a_job(database: Database, file: str) -> None:
    """A fine-tuning job that waits and needs this file."""
    job = dict.fromkeys(("project", "kind", "name", "folder"), "") | dict.fromkeys(("priority", "not_before", "failures", "losses"), 0)
    tuning = {"model": "m", "base": "m", "method": {}, "training_file": file, "seed": 1}
    with database.write() as connection:
        connection.execute(insert(jobs).values(id="j", needs={}, status="queued", created_at=0.0, **job))
        connection.execute(insert(tunings).values(job="j", **tuning))


def test_a_job_finds_its_file_although_it_was_deleted_until_it_has_ended(files: Files, blobs: FolderBlobs, database: Database):
    file = files.create("p", "train.jsonl", "fine-tune", [ROWS])
    a_job(database, file.id)
    files.delete("p", file.id)
    assert files.get("p", file.id) is None and not files.list("p")
    files.sweep()
    assert b"".join(blobs.open(files.for_job("p", file.id).sha256)) == ROWS
    with database.write() as connection:
        connection.execute(update(jobs).values(finished_at=1.0))
    files.sweep()
    with pytest.raises(FileNotFound):
        files.for_job("p", file.id)


def begun(uploads: Uploads, size: int = 6) -> Upload:
    return uploads.create("p", "train.jsonl", "fine-tune", "text/jsonl", size)


def put(uploads: Uploads, upload: Upload, *parts: bytes) -> list[str]:
    return [uploads.add_part("p", upload.id, uploads.blobs.put([part])).id for part in parts]


def bytes_kept(blobs: FolderBlobs) -> set[str]:
    return set(blobs.older(-1))


def test_parts_are_joined_in_the_order_given(uploads: Uploads, blobs: FolderBlobs):
    upload = begun(uploads)
    second, first = put(uploads, upload, b"def", b"abc")
    done, file = uploads.complete("p", upload.id, [first, second], hashlib.md5(b"abcdef").hexdigest().upper())
    assert (done.status, done.file, file.filename, file.bytes) == ("completed", file.id, "train.jsonl", 6)
    assert b"".join(uploads.files.open("p", file.id)) == b"abcdef"
    assert bytes_kept(blobs) == {file.sha256}, "the parts are gone"
    assert uploads.complete("p", upload.id, [first, second]) == (done, file), "a client that asks again is told the same"


def test_a_single_part_is_the_file(uploads: Uploads, blobs: FolderBlobs):
    upload = begun(uploads)
    _, file = uploads.complete("p", upload.id, put(uploads, upload, b"abcdef"))
    assert b"".join(uploads.files.open("p", file.id)) == b"abcdef"
    assert bytes_kept(blobs) == {file.sha256}


@pytest.mark.parametrize(
    "parts, md5, says",
    [
        ([b"abc"], None, r"hold 3 bytes together, but the upload declared 6"),
        ([b"abc", b"defg"], None, r"hold 7 bytes together, but the upload declared 6"),
        ([b"abc", b"def"], "0" * 32, r"MD5 of the parts joined is e80b5017098950fc58aad83c8c14978e, not 0000"),
    ],
)
def test_what_does_not_add_up_can_be_mended(uploads: Uploads, blobs: FolderBlobs, parts: list[bytes], md5: str | None, says: str):
    upload = begun(uploads)
    ids = put(uploads, upload, *parts)
    with pytest.raises(UploadRefused, match=says):
        uploads.complete("p", upload.id, ids, md5)
    assert bytes_kept(blobs) == {hashlib.sha256(part).hexdigest() for part in parts}
    _, file = uploads.complete("p", upload.id, put(uploads, upload, b"uvwxyz"))
    assert file.bytes == 6


def test_foreign_and_doubled_parts_are_refused(uploads: Uploads):
    upload, other = begun(uploads), begun(uploads)
    (mine,), (its,) = put(uploads, upload, b"abc"), put(uploads, other, b"def")
    with pytest.raises(UploadRefused, match=f"has no part {its}"):
        uploads.complete("p", upload.id, [mine, its])
    with pytest.raises(UploadRefused, match="named twice"):
        uploads.complete("p", upload.id, [mine, mine])


def test_more_bytes_than_were_declared_come_to_an_end(uploads: Uploads):
    upload = begun(uploads)
    part = uploads.blobs.put([b"a"])
    uploads.add_part("p", upload.id, part)
    with pytest.raises(UploadRefused, match="declared 6 bytes, and holds 1 already"):
        uploads.add_part("p", upload.id, Blob(part.sha256, 70 * 2**20))


def test_a_cancelled_upload_leaves_nothing(uploads: Uploads, blobs: FolderBlobs):
    upload = begun(uploads)
    ids = put(uploads, upload, b"abc", b"def")
    assert uploads.cancel("p", upload.id).status == "cancelled"
    assert uploads.cancel("p", upload.id).status == "cancelled"
    assert bytes_kept(blobs) == set()
    with pytest.raises(UploadRefused, match="is cancelled and cannot be completed"):
        uploads.complete("p", upload.id, ids)
    with pytest.raises(UploadRefused, match="is cancelled and takes no more parts"):
        put(uploads, upload, b"abc")
    assert bytes_kept(blobs) == set(), "nor does a part that came too late"


def test_a_completed_upload_cannot_be_cancelled(uploads: Uploads):
    upload = begun(uploads)
    uploads.complete("p", upload.id, put(uploads, upload, b"abcdef"))
    with pytest.raises(UploadRefused, match="is completed and cannot be cancelled"):
        uploads.cancel("p", upload.id)


def test_an_upload_that_is_late_has_expired(uploads: Uploads, blobs: FolderBlobs, database: Database):
    upload = begun(uploads)
    assert upload.expires_at == upload.created_at + 3600
    ids = put(uploads, upload, b"abcdef")
    with database.write() as connection:
        connection.execute(update(upload_table).values(expires_at=1.0))
    assert uploads.get("p", upload.id).status == "expired"
    with pytest.raises(UploadRefused, match="is expired and cannot be completed"):
        uploads.complete("p", upload.id, ids)
    uploads.sweep()
    assert uploads.get("p", upload.id).status == "expired" and bytes_kept(blobs) == set()


def test_another_projects_upload_does_not_exist(uploads: Uploads):
    upload = begun(uploads)
    for touch in (uploads.get, uploads.cancel):
        with pytest.raises(UploadNotFound, match=f"No such Upload object: {upload.id}"):
            touch("q", upload.id)
    with pytest.raises(UploadNotFound):
        uploads.complete("q", upload.id, ["part_1"])


def test_two_who_complete_at_once_make_one_file(uploads: Uploads, database: Database):
    upload = begun(uploads)
    ids = put(uploads, upload, b"abc", b"def")
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(uploads.complete("p", upload.id, ids)[1].id)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2 and len(set(made)) == 1
    assert [file.id for file in uploads.files.list("p")] == made[:1]


def test_a_store_that_lost_a_part_says_so(uploads: Uploads, blobs: FolderBlobs):
    upload = begun(uploads)
    ids = put(uploads, upload, b"abc", b"def")
    blobs.delete(hashlib.sha256(b"abc").hexdigest())
    with pytest.raises(StorageError, match="are not in the store of files any more"):
        uploads.complete("p", upload.id, ids)
