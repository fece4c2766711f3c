"""Who answered, said with every answer: the model's name, what it was made from, and a fingerprint of its weights."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient
from tests.api.talker import Talker
from tests.gateway import key_for

from luthier.api.app import create_app
from luthier.api.platform import Platform, open_platform
from luthier.store.home import Home
from luthier.store.tables import models

TUNED, AGAIN, WHOLE = (f"ft:starter:luthier::{name}" for name in ("adapter1", "adapter2", "weights1"))
MADE_OF = "tuned; base=starter; method=supervised; job=ftjob-1"

ROUTES: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": [{"role": "user", "content": "who are you"}]},
    "completions": {"prompt": "who are you"},
    "responses": {"input": "who are you"},
}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """Of a platform with two adapters, and with a model that was tuned whole."""
    platform = open_platform(Home(str(tmp_path / "home")), Talker(lambda ask: "a parrot"))  # type: ignore[arg-type]
    for name in (TUNED, AGAIN, WHOLE):
        tuned_model(platform, name, "model" if name == WHOLE else "adapter")
    with TestClient(create_app(platform), headers={"authorization": f"Bearer {key_for(platform)}"}) as client:
        yield client
    platform.database.close()


def tuned_model(platform: Platform, name: str, kind: str) -> None:
    """Its weights are its name."""
    weights = {"adapter.safetensors": platform.blobs.put([name.encode()]).sha256}
    lineage = {"base": "starter", "method": "supervised", "job": "ftjob-1"}
    row = {"name": name, "project": "default", "job": "ftjob-1", "kind": kind, "weights": weights, "lineage": lineage, "created_at": 1.0}
    with platform.database.write() as connection:
        connection.execute(insert(models).values(base=platform.models.find("starter", "default").base, **row))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("route", ROUTES)
def test_every_answer_of_a_tuned_model_says_from_what_it_was_made(client: TestClient, route: str, stream: bool):
    client.app.state.platform.models.set_alias("gpt-4o-mini", TUNED)  # type: ignore[attr-defined]
    for asked, told in (
        (TUNED, f"{TUNED}; {MADE_OF}"),
        (WHOLE, f"{WHOLE}; {MADE_OF}"),
        ("gpt-4o-mini", f"{TUNED}; {MADE_OF}"),
        ("starter", "starter; untuned"),
    ):
        answer = client.post(f"/v1/{route}", json={"model": asked, "stream": stream, **ROUTES[route]})
        assert answer.status_code == 200 and "parrot" in answer.text
        assert answer.headers["x-luthier-model"] == told


def test_vectors_say_whose_they_are(client: TestClient):
    """An adapter's are its base's, which nobody should take for the adapter's own."""
    for name, made_of in ((TUNED, f"{MADE_OF}; vectors of its base"), (WHOLE, MADE_OF), ("starter", "untuned")):
        answer = client.post("/v1/embeddings", json={"model": name, "input": "who are you"})
        assert answer.status_code == 200 and answer.headers["x-luthier-model"] == f"{name}; {made_of}"


@pytest.mark.parametrize("route", ["chat/completions", "completions"])
def test_a_fingerprint_is_that_of_the_weights(client: TestClient, route: str):
    """The same for every answer of one model, whole, streamed and under another name; another for any other model."""
    fingerprints = {name: fingerprints_of(client, route, name) for name in (TUNED, AGAIN, WHOLE, "starter")}
    assert all(len(found) == 1 for found in fingerprints.values()), fingerprints
    assert len(set.union(*fingerprints.values())) == 4
    client.app.state.platform.models.set_alias("gpt-4o-mini", TUNED)  # type: ignore[attr-defined]
    assert fingerprints_of(client, route, "gpt-4o-mini") == fingerprints[TUNED]


def fingerprints_of(client: TestClient, route: str, model: str) -> set[str]:
    """Of a whole answer and of every chunk of a streamed one."""
    whole, streamed = (client.post(f"/v1/{route}", json={"model": model, "stream": stream, **ROUTES[route]}) for stream in (False, True))
    chunks = [json.loads(line) for line in re.findall(r"^data: (\{.*)$", streamed.text, re.MULTILINE)]
    assert chunks
    return {one["system_fingerprint"] for one in (whole.json(), *chunks)}
