"""Evals: made, listed, changed, deleted; and what no eval can be."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.api.test_files import error_of
from tests.gateway import key_for, platform_in

from luthier.api.app import create_app
from luthier.api.evals_schema import checked_by, schema_fault
from luthier.api.platform import Platform
from luthier.store.ids import new

CHECK = {"type": "string_check", "name": "same", "operation": "eq", "input": "{{ sample.output_text }}", "reference": "{{ item.answer }}"}
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
CONFIG = {"type": "custom", "item_schema": SCHEMA, "include_sample_schema": True}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    opened = platform_in(tmp_path_factory.mktemp("evals") / "home")
    yield opened
    opened.database.close()


@pytest.fixture(scope="module")
def app(platform: Platform) -> FastAPI:
    return create_app(platform)


@pytest.fixture
def client(app: FastAPI, platform: Platform) -> TestClient:
    """In a project of its own."""
    return TestClient(app, headers={"authorization": f"Bearer {key_for(platform, new('p-', 8).lower())}"})


def make(client: TestClient, **changed: Any) -> Any:
    asked = {"name": "answers", "data_source_config": CONFIG, "testing_criteria": [CHECK], "metadata": {"team": "a"}}
    return client.post("/v1/evals", json=asked | changed)


def test_an_eval_is_told_as_it_was_asked_with_the_schema_of_what_templates_can_name(client: TestClient):
    made = make(client).json()
    schema = made["data_source_config"].pop("schema")
    assert made == {
        "object": "eval",
        "id": made["id"],
        "name": "answers",
        "created_at": made["created_at"],
        "data_source_config": {"type": "custom"},
        "testing_criteria": [CHECK],
        "metadata": {"team": "a"},
    }
    assert schema["properties"]["item"] == SCHEMA and schema["required"] == ["item", "sample"]
    assert client.get(f"/v1/evals/{made['id']}").json()["name"] == "answers"


def test_logs_and_stored_completions_have_a_schema_of_their_own(client: TestClient):
    for kind in ("logs", "stored_completions"):
        told = make(client, data_source_config={"type": kind, "metadata": {"use": "chat"}}).json()["data_source_config"]
        assert told["type"] == kind and told["metadata"] == {"use": "chat"}
        assert {"item", "sample"} == set(told["schema"]["properties"])


def test_without_a_name_it_is_called_after_its_first_criterion(client: TestClient):
    assert make(client, name=None).json()["name"] == "same"


def test_name_and_metadata_can_be_changed_and_nothing_else(client: TestClient):
    id = make(client).json()["id"]
    assert client.post(f"/v1/evals/{id}", json={"name": "other"}).json()["metadata"] == {"team": "a"}
    assert client.post(f"/v1/evals/{id}", json={"metadata": {"team": "b"}}).json() | {} == client.get(f"/v1/evals/{id}").json()
    assert client.get(f"/v1/evals/{id}").json()["name"] == "other"
    error = error_of(client.post(f"/v1/evals/{id}", json={"testing_criteria": []}), 400)
    assert error["message"] == "Unrecognized request argument supplied: testing_criteria"


def test_pages_go_both_ways_and_by_the_last_change(client: TestClient):
    ids = [make(client, name=f"{number}").json()["id"] for number in range(3)]
    first = client.get("/v1/evals", params={"limit": 2}).json()
    assert [one["id"] for one in first["data"]] == ids[:2] and first["has_more"]
    assert (first["first_id"], first["last_id"]) == (ids[0], ids[1])
    rest = client.get("/v1/evals", params={"limit": 2, "after": first["last_id"]}).json()
    assert [one["id"] for one in rest["data"]] == ids[2:] and not rest["has_more"]
    down = client.get("/v1/evals", params={"order": "desc", "after": ids[1]}).json()
    assert [one["id"] for one in down["data"]] == [ids[0]]
    client.post(f"/v1/evals/{ids[0]}", json={"name": "changed"})
    changed = client.get("/v1/evals", params={"order_by": "updated_at", "order": "desc"}).json()
    assert [one["id"] for one in changed["data"]] == [ids[0], ids[2], ids[1]]
    assert error_of(client.get("/v1/evals", params={"after": "eval_none"}), 400)["param"] == "after"


def test_a_deleted_eval_is_gone(client: TestClient):
    id = make(client).json()["id"]
    assert client.delete(f"/v1/evals/{id}").json() == {"object": "eval.deleted", "deleted": True, "eval_id": id}
    for answer in (client.get(f"/v1/evals/{id}"), client.delete(f"/v1/evals/{id}"), client.get(f"/v1/evals/{id}/runs")):
        assert error_of(answer, 404) == {
            "message": f"Eval {id} not found",
            "type": "invalid_request_error",
            "param": "eval_id",
            "code": "not_found",
        }


@pytest.mark.parametrize(
    "changed, message, param",
    [
        ({"testing_criteria": []}, "0 is less than the minimum of 1 items", "testing_criteria"),
        ({"testing_criteria": [{"type": "exact"}]}, "`testing_criteria[0].type` is", "testing_criteria[0]"),
        ({"testing_criteria": [CHECK, {**CHECK, "operation": "neq"}]}, "testing_criteria[1].operation", "testing_criteria[1]"),
        (
            {"testing_criteria": [{**CHECK, "pass_threshold": "high"}]},
            "`testing_criteria[0].pass_threshold` is no number",
            "testing_criteria[0]",
        ),
        (
            {
                "testing_criteria": [
                    {**{k: v for k, v in CHECK.items() if k != "operation"}, "type": "text_similarity", "evaluation_metric": "bleu"}
                ]
            },
            "`testing_criteria[0].pass_threshold` is missing",
            "testing_criteria[0]",
        ),
        (
            {"data_source_config": {"type": "sql"}},
            "its 'type' is not one of ['custom', 'logs', 'stored_completions']",
            "data_source_config",
        ),
        ({"data_source_config": {"type": "custom"}}, "'item_schema' is a required property", "data_source_config.item_schema"),
        (
            {"data_source_config": {"type": "custom", "item_schema": {"type": "objekt"}}},
            "The schema of the items is not a JSON schema",
            "data_source_config.item_schema",
        ),
        ({"name": "x" * 513}, "too long", "name"),
        ({"metadata": {str(i): "" for i in range(17)}}, "17 is more than the maximum of 16 items", "metadata"),
        ({"share": True}, "Unrecognized request argument supplied: share", "share"),
    ],
)
def test_what_is_no_eval_is_refused_in_a_sentence(client: TestClient, changed: dict[str, Any], message: str, param: str):
    error = error_of(make(client, **changed), 400)
    assert message in error["message"] and error["param"] == param


def test_a_schema_fetches_nothing_and_its_patterns_take_no_time():
    assert schema_fault(SCHEMA) is None
    assert "cannot be used here" in (schema_fault({"properties": {"a": {"pattern": "(?=a)b"}}}) or "")
    assert "name the properties" in (schema_fault({"allOf": [{"patternProperties": {"a": {}}}]}) or "")
    assert schema_fault({"properties": {"pattern": {"type": "string"}, "patternProperties": {}}}) is None, "there they are names"
    check = checked_by({"properties": {"a": {"pattern": "^(a+)+$"}}})
    assert check({"a": "aaa"}) is None
    assert "does not match" in (check({"a": "a" * 60 + "!"}) or ""), "Python's own expressions would try 2^60 ways"
    assert "is not in it" in (checked_by({"$ref": "http://127.0.0.1:9/schema"})({}) or "")
    assert checked_by({"$ref": "#"})({}) == "its schema never ends"
    assert checked_by(SCHEMA)({"answer": 3}) == "3 is not of type 'string' (at answer)"
