"""What a platform meets that nobody wishes for: a full disk, clients that vanish in the middle, a second gateway on the same database."""

import json
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest
from tests.contract.conftest import Served, chat, serve

MB = 10**6
MIB = 2**20
ROWS = "".join(json.dumps(chat(f"hello {i}", "hi")) + "\n" for i in range(10))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway without a worker."""
    home = tmp_path_factory.mktemp("platform") / "home"
    home.mkdir()
    running = serve(home, "--no-worker")
    yield running
    running.stop()
    print(home.with_name("home.log").read_text()[-4000:])


def kept(home: Path) -> list[Path]:
    """Every file in the store of files, whole or not."""
    return [path for path in (home / "blobs").rglob("*") if path.is_file()]


@contextmanager
def no_file_beyond(size: int, served: Served) -> Iterator[None]:
    """No file of the gateway's may grow beyond so many bytes, as if the disk had no room for more."""
    pid = served.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_during_an_upload(served: Served, client: openai.OpenAI):
    """20 MB where there is room for 8, as a file and as a part: a sentence, and nothing left; the same is taken once there is room."""
    large = ("large.jsonl", b"a" * 20 * MB)
    upload = client.uploads.create(filename="parts.jsonl", purpose="fine-tune", bytes=len(large[1]), mime_type="text/jsonl")
    with no_file_beyond(8 * MB, served):
        for send in (
            lambda: client.files.create(file=large, purpose="fine-tune"),
            lambda: client.uploads.parts.create(upload.id, data=large[1]),
        ):
            with pytest.raises(openai.APIStatusError) as refused:
                send()
            assert (refused.value.status_code, refused.value.code) == (507, "insufficient_storage")
            assert "There is no room left" in refused.value.message and str(served.home) not in json.dumps(refused.value.body)
            assert kept(served.home) == []
        small = client.files.create(file=("small.jsonl", ROWS.encode()), purpose="fine-tune")
    part = client.uploads.parts.create(upload.id, data=large[1])
    done = client.uploads.complete(upload.id, part_ids=[part.id])
    assert done.file is not None and done.file.bytes == 20 * MB
    assert {file.id for file in client.files.list()} == {small.id, done.file.id}
    for file in client.files.list():
        client.files.delete(file.id)


def test_a_disk_without_room_for_the_database(served: Served, client: openai.OpenAI):
    """Nothing is acknowledged that is not kept; what is there is read; and it goes on once there is room."""
    with no_file_beyond(4096, served):
        for send in (
            lambda: client.files.create(file=("rows.jsonl", b"{}\n"), purpose="fine-tune"),
            lambda: client.uploads.create(filename="rows.jsonl", purpose="fine-tune", bytes=3, mime_type="text/jsonl"),
        ):
            with pytest.raises(openai.APIStatusError) as refused:
                send()
            assert refused.value.status_code in (503, 507) and "Nothing of this was kept" in refused.value.message
            assert str(served.home) not in json.dumps(refused.value.body)
        assert list(client.files.list()) == [] and "starter" in {model.id for model in client.models.list()}
    assert kept(served.home) == []
    client.files.delete(client.files.create(file=("rows.jsonl", b"{}\n"), purpose="fine-tune").id)


def cut_off(served: Served, path: str, field: str, claimed: int, sent: int) -> None:
    """Begin to send a file of `claimed` bytes, and hang up after `sent`."""
    at = urlsplit(served.url)
    head = (
        f'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--b\r\ncontent-disposition: form-data; name="{field}"; '
    )
    head += 'filename="rows.jsonl"\r\n\r\n'
    asked = f"POST /v1{path} HTTP/1.1\r\nhost: {at.netloc}\r\nauthorization: Bearer {served.key}\r\ncontent-length: {claimed}\r\n"
    asked += "content-type: multipart/form-data; boundary=b\r\n\r\n"
    with socket.create_connection((at.hostname or "", at.port or 0)) as connection:
        connection.sendall((asked + head).encode())
        piece = b"a" * MIB
        for _ in range(sent // MIB):
            connection.sendall(piece)


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


def test_an_upload_that_is_cut_off_in_the_middle_leaves_nothing(served: Served, client: openai.OpenAI):
    """Of a file of 500 MB the client sends 120; of one of 600 MB in parts, one part and half of another."""
    cut_off(served, "/files", "file", claimed=500 * MB, sent=120 * MIB)
    wait_for(lambda: kept(served.home) == [])
    assert list(client.files.list()) == []

    upload = client.uploads.create(filename="rows.jsonl", purpose="fine-tune", bytes=600 * MB, mime_type="text/jsonl")
    part = client.uploads.parts.create(upload.id, data=b"a" * 60 * MB)
    cut_off(served, f"/uploads/{upload.id}/parts", "data", claimed=60 * MB, sent=30 * MIB)
    wait_for(lambda: len(kept(served.home)) == 1)
    with pytest.raises(openai.BadRequestError, match=r"600000000|600,000,000"):
        client.uploads.complete(upload.id, part_ids=[part.id])
    assert client.uploads.cancel(upload.id).status == "cancelled"
    assert kept(served.home) == [] and list(client.files.list()) == []


def test_two_gateways_on_one_file(served: Served, client: openai.OpenAI):
    """Both write at once: nothing is lost, each sees what the other did, and of two that want the same, one has it."""
    other = serve(served.home, "--no-worker")
    try:
        assert other.url != served.url
        both = [client, other.client()]
        with ThreadPoolExecutor(8) as pool:
            files = list(
                pool.map(
                    lambda i: both[i % 2].files.create(file=(f"{i}.jsonl", f'{{"row": {i}}}\n'.encode()), purpose="fine-tune").id, range(24)
                )
            )
            training = client.files.create(file=("t.jsonl", ROWS.encode()), purpose="fine-tune").id
            jobs = list(pool.map(lambda i: both[i % 2].fine_tuning.jobs.create(model="starter", training_file=training).id, range(12)))
        for one in both:
            assert {file.id for file in one.files.list()} == {*files, training}
            assert {job.id for job in one.fine_tuning.jobs.list()} == set(jobs)

        met = threading.Barrier(2)

        def wins(i: int, do: Callable[[openai.OpenAI], object]) -> bool:
            met.wait(10)
            try:
                do(both[i])
            except (openai.BadRequestError, openai.NotFoundError):
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            for file in files[:6]:
                assert sum(pool.map(lambda i, file=file: wins(i, lambda one: one.files.delete(file)), range(2))) == 1
            for job in jobs[:6]:
                assert sum(pool.map(lambda i, job=job: wins(i, lambda one: one.fine_tuning.jobs.cancel(job)), range(2))) == 1
                told = [event.message for event in client.fine_tuning.jobs.list_events(job)]
                assert told.count("The job was cancelled") == 1
    finally:
        other.stop()
    assert os.path.getsize(served.home / "luthier.db") > 0
