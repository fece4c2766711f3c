"""Batches on each kind of database: one gateway at a time works on one, and what it has kept stays."""

from pathlib import Path

import pytest
from sqlalchemy import select, update

from luthier.store.batches import Answer, Batch, BatchEnded, Batches, BatchNotFound, LeaseLost, Wanted
from luthier.store.blobs import FolderBlobs
from luthier.store.database import Database
from luthier.store.files import Files
from luthier.store.tables import batch_answers
from luthier.store.tables import batches as table


@pytest.fixture
def batches(database: Database, tmp_path: Path) -> Batches:
    return Batches(database, FolderBlobs(tmp_path / "blobs"))


def made(batches: Batches, project: str = "p") -> Batch:
    return batches.create(Wanted(project, "key_1", "member", "/v1/embeddings", "file-x", {"team": "a"}))


def test_one_gateway_at_a_time_until_it_is_not_heard_of(batches: Batches):
    id = made(batches).id
    taken = batches.take("one")
    assert taken is not None and (taken.id, taken.metadata, taken.status) == (id, {"team": "a"}, "validating")
    assert batches.take("two") is None
    with batches.database.write() as connection:
        connection.execute(update(table).values(lease_until=1.0))
    assert batches.take("two") is not None
    with pytest.raises(LeaseLost):
        batches.keep(id, "one", [Answer(1, False, "{}")])
    with pytest.raises(LeaseLost):
        batches.beat(id, "one")
    batches.let_go(id, "one")
    assert batches.take("three") is None, "the second one still has it"
    batches.let_go(id, "two")
    assert batches.take("three") is not None


def test_from_answers_to_files(batches: Batches):
    id = made(batches).id
    batches.take("one")
    batches.begin(id, "one", 450, "starter")
    batches.keep(id, "one", [Answer(number, number % 3 == 0, f'"{number}"') for number in reversed(range(1, 451))])
    counted = batches.get("p", id)
    assert (counted.status, counted.total, counted.completed, counted.failed) == ("in_progress", 450, 300, 150)
    assert batches.answered(id) == set(range(1, 451))
    batches.finalize(id, "one")
    right, wrong = (batches.blobs.put(batches.lines(id, failed)) for failed in (False, True))
    batches.end(id, "one", "completed", right, wrong)
    done = batches.get("p", id)
    assert (done.status, done.total, done.completed, done.failed, done.lease) == ("completed", 450, 300, 150, None)
    files = Files(batches.database, batches.blobs)
    assert done.output_file is not None and done.error_file is not None
    told = b"".join(files.open("p", done.error_file)).splitlines()
    assert told == [f'"{number}"'.encode() for number in range(3, 451, 3)], "in the order of the requests"
    assert files.find("p", done.output_file).purpose == "batch_output"
    with batches.database.read() as connection:
        assert connection.execute(select(batch_answers)).all() == []
    assert batches.take("two") is None


def test_a_batch_without_failures_has_no_file_of_them(batches: Batches):
    id = made(batches).id
    batches.take("one")
    batches.keep(id, "one", [Answer(1, False, "{}")])
    batches.end(id, "one", "cancelled", batches.blobs.put([b"{}\n"]), batches.blobs.put([]))
    assert batches.get("p", id).error_file is None


def test_cancelling_is_heard_at_the_next_beat(batches: Batches):
    id = made(batches).id
    batches.take("one")
    assert batches.beat(id, "one") == ("validating", False, False)
    assert batches.cancel("p", id).status == batches.cancel("p", id).status == "cancelling"
    assert batches.beat(id, "one") == ("cancelling", False, False)
    batches.refuse(id, "one", [{"code": "x"}])
    with pytest.raises(BatchEnded, match="Cannot cancel a batch with status 'failed'"):
        batches.cancel("p", id)


def test_pages_and_projects(batches: Batches):
    mine = [made(batches).id for _ in range(3)]
    other = made(batches, "q").id
    assert [batch.id for batch in batches.newest("p", 2)] == mine[:0:-1]
    assert [batch.id for batch in batches.newest("p", 9, after=mine[1])] == mine[:1]
    for id in (other, "batch_x", "a\0"):
        with pytest.raises(BatchNotFound):
            batches.get("p", id)
        with pytest.raises(BatchNotFound):
            batches.newest("p", 9, after=id)
