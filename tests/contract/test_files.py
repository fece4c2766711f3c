"""OpenAI's own client, unmodified, with files and uploads (scenario 1, and the first half of 24)."""

import io
import random
from collections.abc import Iterator
from pathlib import Path

import anyio
import openai
import pytest
from tests.gateway import key_for, platform_in, serving

from luthier.api.app import create_app
from luthier.testing import toy_conversations, write_jsonl


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a gateway, and a key for it."""
    platform = platform_in(tmp_path_factory.mktemp("gateway") / "home")
    with serving(create_app(platform)) as url:
        yield f"{url}/v1", key_for(platform)
    platform.database.close()


@pytest.fixture
def client(address: tuple[str, str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=address[0], api_key=address[1]) as client:
        yield client


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "train.jsonl", (toy_conversations() * 2)[:12])


def test_a_file_from_upload_to_second_delete(client: openai.OpenAI, rows: Path):
    with rows.open("rb") as opened:
        file = client.files.create(file=opened, purpose="fine-tune")
    assert client.files.wait_for_processing(file.id).status == "processed"
    assert (file.filename, file.bytes) == ("train.jsonl", rows.stat().st_size)
    assert client.files.content(file.id).read() == rows.read_bytes()
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {file.id}") as missing:
        client.files.delete(file.id)
    assert missing.value.param == "id" and missing.value.request_id


def test_bytes_with_a_name(client: openai.OpenAI, rows: Path):
    named = io.BytesIO(rows.read_bytes())
    named.name = "train.jsonl"
    file = client.files.create(file=named, purpose="fine-tune")
    assert client.files.content(file.id).read() == rows.read_bytes()
    assert client.files.retrieve(file.id) == file
    client.files.delete(file.id)


def test_a_tuple_a_path_and_an_end(client: openai.OpenAI, rows: Path):
    client.files.create(file=("größe.jsonl", rows.read_bytes()), purpose="fine-tune")
    file = client.files.create(file=rows, purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600
    assert {found.filename for found in client.files.list(purpose="fine-tune")} == {"größe.jsonl", "train.jsonl"}
    for found in client.files.list():
        client.files.delete(found.id)


def test_all_pages(client: openai.OpenAI, rows: Path):
    made = [client.files.create(file=rows, purpose="fine-tune").id for _ in range(5)]
    assert [file.id for file in client.files.list(limit=2)] == made[::-1]
    assert [file.id for file in client.files.list(limit=2, order="asc")] == made
    for id in made:
        client.files.delete(id)


def test_a_file_that_is_no_jsonl(client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError, match=r"Invalid file format for Fine-Tuning API. Must be .jsonl"):
        client.files.create(file=("train.csv", b"a,b\n"), purpose="fine-tune")


def test_the_client_that_waits_for_nothing(address: tuple[str, str], rows: Path):
    anyio.run(_asked_asynchronously, address, rows)


async def _asked_asynchronously(address: tuple[str, str], rows: Path) -> None:
    async with openai.AsyncOpenAI(base_url=address[0], api_key=address[1]) as client:
        file = await client.files.create(file=rows, purpose="fine-tune")
        assert (await client.files.content(file.id)).content == rows.read_bytes()
        await client.files.delete(file.id)


def test_a_file_in_parts(client: openai.OpenAI, tmp_path: Path):
    """20 MB in parts of 8 MiB: three of them."""
    content = random.Random(0).randbytes(20 * 10**6)
    path = tmp_path / "large.jsonl"
    path.write_bytes(content)
    upload = client.uploads.upload_file_chunked(file=path, mime_type="text/jsonl", purpose="fine-tune", part_size=8 * 2**20)
    assert upload.status == "completed" and upload.file is not None
    assert client.files.content(upload.file.id).read() == content
    client.files.delete(upload.file.id)


def test_parts_by_hand(client: openai.OpenAI):
    upload = client.uploads.create(bytes=6, filename="a.jsonl", mime_type="text/jsonl", purpose="batch")
    parts = [client.uploads.parts.create(upload.id, data=content).id for content in (b"abc", b"def")]
    done = client.uploads.complete(upload.id, part_ids=parts, md5="e80b5017098950fc58aad83c8c14978e")
    assert done.file is not None and client.files.content(done.file.id).read() == b"abcdef"
    client.files.delete(done.file.id)
    cancelled = client.uploads.cancel(client.uploads.create(bytes=6, filename="a.jsonl", mime_type="a/b", purpose="batch").id)
    assert cancelled.status == "cancelled"
