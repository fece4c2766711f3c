"""OpenAI's own client, unmodified, with a batch of 100 requests (scenario 24, its second half). Models are a parrot here."""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import replace

import openai
import pytest
from tests.api.test_batches import Parrot, lines_of, request
from tests.gateway import key_for, platform_in, serving

from luthier.api.app import create_app


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    platform = replace(platform_in(tmp_path_factory.mktemp("gateway") / "home"), backend=Parrot())
    with serving(create_app(platform)) as url, openai.OpenAI(base_url=f"{url}/v1", api_key=key_for(platform)) as client:
        yield client
    platform.database.close()


def test_a_hundred_requests_by_their_names(client: openai.OpenAI):
    requests = [request(number) for number in range(100)]
    random.Random(0).shuffle(requests)
    file = client.files.create(file=("in.jsonl", lines_of(requests)), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"team": "a"})
    until = time.monotonic() + 60
    while batch.status not in ("completed", "failed"):
        assert time.monotonic() < until, batch
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed" and batch.output_file_id is not None and batch.error_file_id is None
    assert batch.request_counts is not None and batch.request_counts.completed == batch.request_counts.total == 100
    told = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    said = {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in told}
    assert said == {f"r{number}": f"number {number}" for number in range(100)}
    assert [found.id for found in client.batches.list(limit=1)] == [batch.id]
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a batch with status 'completed'"):
        client.batches.cancel(batch.id)
