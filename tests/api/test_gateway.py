"""What holds for every route: envelopes, ids, bodies that are none, Azure's paths."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import Body, FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.testclient import TestClient

from luthier.api import errors
from luthier.api.azure import AzurePaths
from luthier.api.bodies import SoundBodies
from luthier.api.envelope import Envelope
from luthier.api.errors import ApiError
from luthier.store.database import DatabaseError


class Counted(BaseModel):
    model_config = ConfigDict(extra="forbid")

    n_epochs: int = Field(1, ge=1, le=50)
    kind: str = "a"


@pytest.fixture
def client() -> TestClient:
    app = FastAPI()
    errors.install(app)
    app.add_middleware(SoundBodies, most_bytes=10_000)
    app.add_middleware(AzurePaths)
    app.add_middleware(Envelope)

    @app.post("/v1/count")
    def count(asked: Counted) -> dict[str, int]:
        return {"n": asked.n_epochs}

    @app.post("/v1/any")
    def anything(asked: Any = Body(None)) -> Any:
        return {"got": asked}

    @app.get("/v1/fails/{how}")
    def fails(how: str) -> None:
        raise {"own": ApiError(404, "No such File object: x", "id"), "database": DatabaseError("gone"), "bug": ZeroDivisionError()}[how]

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize(
    "body, message, param",
    [
        ({"n_epochs": 0}, "0 is less than the minimum of 1 - 'n_epochs'", "n_epochs"),
        ({"n_epochs": 51}, "51 is greater than the maximum of 50 - 'n_epochs'", "n_epochs"),
        ({"n_epochs": "x"}, "'x' is not of type 'integer' - 'n_epochs'", "n_epochs"),
        ({"kind": 3}, "3 is not of type 'string' - 'kind'", "kind"),
        ({"other": 3}, "Unrecognized request argument supplied: other", "other"),
    ],
)
def test_a_wrong_field_is_a_bad_request_in_openais_words(client: TestClient, body: dict[str, Any], message: str, param: str):
    answer = client.post("/v1/count", json=body)
    assert answer.status_code == 400
    assert answer.json() == {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}


@pytest.mark.parametrize(
    "body", [b"{", b'{"a": NaN}', b"[" * 10_000 + b"]" * 10_000, b'{"a": "\xff"}', b'{"a": Infinity}', b"\x00", b'{"a": 1} x']
)
def test_json_that_is_none_is_a_bad_request(client: TestClient, body: bytes):
    answer = client.post("/v1/any", content=body[:9_999] if len(body) > 9_999 else body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "could not parse the JSON body" in answer.json()["error"]["message"]


def test_a_character_that_no_database_keeps_is_refused_wherever_it_stands(client: TestClient):
    assert client.post("/v1/any", json={"a": [{"b": "x\x00"}]}).status_code == 400
    assert client.post("/v1/any", json={"a": "\\u0000 as six characters"}).status_code == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_read_to_its_end(client: TestClient):
    answer = client.post("/v1/any", content=b'"' + b"x" * 20_000 + b'"', headers={"content-type": "application/json"})
    assert answer.status_code == 413 and "10,000 bytes" in answer.json()["error"]["message"]


def test_every_answer_has_an_id_and_every_failure_an_envelope(client: TestClient):
    first, second = client.post("/v1/count", json={}), client.get("/v1/nothing")
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert first.headers["openai-version"] == "2020-10-01" and first.headers["openai-processing-ms"].isdecimal()
    assert (second.status_code, second.json()["error"]["message"]) == (404, "Invalid URL (GET /v1/nothing)")
    assert client.get("/v1/count").status_code == 405


def test_what_nobody_foresaw_says_where_the_log_has_it_and_nothing_of_itself(client: TestClient):
    answer = client.get("/v1/fails/bug")
    assert answer.status_code == 500 and answer.headers["x-request-id"] in answer.json()["error"]["message"]
    assert "Zero" not in answer.text


def test_a_database_that_is_away_is_worth_another_try(client: TestClient):
    answer = client.get("/v1/fails/database")
    assert answer.status_code == 503 and answer.headers["retry-after"]


@pytest.mark.parametrize("path", ["/openai/count", "/openai/v1/count", "/openai/deployments/ft:a:b::c/count?api-version=2024-10-21"])
def test_azures_paths_lead_to_the_same_routes(client: TestClient, path: str):
    assert client.post(path, json={"n_epochs": 2}).json() == {"n": 2}


def test_the_gateway_imports_no_torch(tmp_path: Path):
    import subprocess
    import sys

    code = "import sys, luthier.api.app; print([m for m in ('torch', 'transformers', 'numpy.f2py') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
