"""A walk through every route of the interface: as a stranger, as each role, and from another project. New routes are found by themselves.

What a route takes is read from its own dependencies (`luthier.api.auth.may`), what each role may from the one table in accounts/roles.py. A
route that names things by a new kind of id fails here until `belongings` says how one is made.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import Connection, insert, select
from starlette.testclient import TestClient
from tests.gateway import platform_in

from luthier.accounts.audit import entries
from luthier.accounts.keys import Wanted
from luthier.accounts.roles import EVERYWHERE, PERMISSIONS, ROLES, Caller, allows
from luthier.api.app import create_app
from luthier.api.auth import anyone, may, permission_of
from luthier.api.platform import Platform
from luthier.jobs.tunings import Wanted as WantedJob
from luthier.spec.comparisons import NewComparison
from luthier.store.database import Database
from luthier.store.feedback import Entry
from luthier.store.tables import batches, eval_items, eval_runs, evals, metadata, models, shared_models, stored, uploads

PARAMETER = re.compile(r"\{(\w+)\}")

LIKES = {"type": "string_check", "name": "likes", "input": "{{sample.output_text}}", "reference": "Hi", "operation": "eq"}

CHOSEN = {"name": "record.json"}
"""What a path may hold that is no id: one of a few words."""


@dataclass(frozen=True)
class Operation:
    """A method of a path. `takes`: its permission; empty: it is for anyone; None: it does not say. `cursor`: it pages by `after`."""

    method: str
    path: str
    takes: str | None
    cursor: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[str]:
        return PARAMETER.findall(self.path)

    def at(self, ids: dict[str, str]) -> str:
        return PARAMETER.sub(lambda found: ids.get(found[1]) or CHOSEN[found[1]], self.path)


def operations(app: FastAPI) -> list[Operation]:
    """All that the interface's description lists, and all routes that it does not list."""
    paths, found = app.openapi()["paths"], []
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            for method in sorted(context.methods or ()):
                told = paths.get(context.path_format, {}).get(method.lower(), {})
                cursor = any(parameter["name"] == "after" for parameter in told.get("parameters", []))
                found.append(Operation(method, str(context.path_format), permission_of(context.dependant), cursor))
    listed = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert listed <= {(one.method, one.path) for one in found}
    return found


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    opened = platform_in(tmp_path / "home")
    yield opened
    opened.database.close()


@pytest.fixture
def app(platform: Platform) -> FastAPI:
    return create_app(platform)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, FastAPI]]:
    """For walks among ids of nothing."""
    opened = platform_in(tmp_path_factory.mktemp("walk") / "home")
    yield opened, create_app(opened)
    opened.database.close()


def client_with(app: FastAPI, key: str | None) -> TestClient:
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    return TestClient(app, raise_server_exceptions=False, headers=headers)


def key_of(platform: Platform, project: str = "default", role: str = "admin", everywhere: bool = False) -> str:
    return platform.accounts.keys.create(Wanted(project, role, everywhere=everywhere))[1]


def send(client: TestClient, method: str, path: str, **more: Any) -> Any:
    """With an empty JSON object where there is a body."""
    if method in ("POST", "PATCH", "PUT"):
        more = {"json": {}, **more}
    else:
        more.pop("json", None)
    return client.request(method, path, **more)


UNKNOWN = {
    "file_id": "file-unknown",
    "upload_id": "upload_unknown",
    "job": "ftjob-unknown",
    "model": "ft:starter:org::unknown1",
    "completion": "chatcmpl-unknown",
    "response": "resp_unknown",
    "batch_id": "batch_unknown",
    "eval_id": "eval_unknown",
    "run_id": "evalrun_unknown",
    "output_item_id": "outputitem_unknown",
    "key": "key_unknown",
    "project": "unknown",
    "permission": "cp_unknown",
    "feedback": "feedback_987654321",
    "comparison": "ftjob-unknowncomparison",
}
"""Ids of nothing, by the name of the parameter. `belongings` makes one of each that is something."""


def belongings(platform: Platform, project: str) -> dict[str, str]:
    """One of each kind of thing in a project: its id, by the name of the parameter that names such things."""
    file = platform.files.add(project, "train.jsonl", "fine-tune", platform.blobs.put([project.encode()]), None)
    starter = platform.models.find("starter", project)
    method = {"type": "supervised", "supervised": {"hyperparameters": {}}}
    job, _ = platform.tunings.create(WantedJob(project, starter, "starter", method, file.id, seed=1))
    ids = {
        "file_id": file.id,
        "upload_id": f"upload_{project}",
        "job": job.id,
        "model": f"ft:starter:org-{project}::abcd1234",
        "completion": f"chatcmpl-{project}",
        "response": f"resp_{project}",
        "batch_id": f"batch_{project}",
        "eval_id": f"eval_{project}",
        "run_id": f"evalrun_{project}",
        "output_item_id": f"outputitem_{project}",
        "key": platform.accounts.keys.create(Wanted(project, "rater"))[0].id,
        "project": project,
    }
    asked = NewComparison(a="starter", b="starter", prompts=file.id, judge=LIKES)
    ids["comparison"] = platform.comparisons.create(project, asked, starter, starter).job.id
    run = platform.home.jobs / Path(job.folder).name / "run"
    run.mkdir(parents=True)
    (run / "record.json").write_text("{}")
    said = Entry(project, "key_1", "key_1", "thumb", None, [], [[]], [], 0, {"thumb": "up"}, None, {}, (ids["completion"],))
    ids["permission"] = f"cp_{project}"
    ids["feedback"] = f"feedback_{platform.feedback.add(said).number}"
    kept = {"project": project, "model": "starter", "request": {"messages": [], "turns": []}, "request_id": "req_1", "created_at": 1.0}
    upload = {"purpose": "fine-tune", "filename": "a.jsonl", "mime_type": "text/jsonl", "bytes": 3, "status": "pending"}
    tuned = {"base": starter.base, "kind": "adapter", "weights": {}, "lineage": {}, "created_at": 1.0}
    batch = {"key": "key_1", "role": "member", "endpoint": "/v1/completions", "input_file": file.id, "status": "validating", "moments": {}}
    with platform.database.write() as connection:
        connection.execute(insert(batches).values(id=ids["batch_id"], project=project, expires_at=4e9, created_at=1.0, **batch))
        _add_eval(connection, project, ids)
        connection.execute(insert(uploads).values(id=ids["upload_id"], project=project, created_at=1.0, expires_at=4e9, **upload))
        connection.execute(insert(models).values(name=ids["model"], project=project, job=job.id, **tuned))
        shared = {"id": ids["permission"], "model": ids["model"], "project": "proj_third", "created_at": 1.0}
        connection.execute(insert(shared_models).values(shared))
        for kind, number in (("chat.completion", ids["completion"]), ("response", ids["response"])):
            connection.execute(insert(stored).values(id=number, kind=kind, body={"id": number, "output": [], "choices": []}, **kept))
    return ids


def _add_eval(connection: Connection, project: str, ids: dict[str, str]) -> None:
    config = {"type": "custom", "item_schema": {"type": "object"}, "include_sample_schema": False}
    criteria = [{"type": "string_check", "id": "same", "name": "same", "input": "a", "reference": "a", "operation": "eq"}]
    source = {"type": "jsonl", "source": {"type": "file_content", "content": [{"item": {"a": 1}}]}}
    asked = {"name": "mine", "data_source_config": config, "testing_criteria": criteria, "created_at": 1.0, "updated_at": 1.0}
    run: dict[str, Any] = {
        "key": "key_1",
        "role": "member",
        "name": "first",
        "data_source": source,
        "status": "completed",
        "created_at": 1.0,
    }
    run["tally"] = {"counts": {"pass": 1}, "criteria": [[1, 0]], "usage": []}
    item = {"number": 0, "item": {"a": 1}, "status": "pass", "results": [], "created_at": 1.0}
    connection.execute(insert(evals).values(id=ids["eval_id"], project=project, **asked))
    connection.execute(insert(eval_runs).values(id=ids["run_id"], eval=ids["eval_id"], project=project, num_items=1, **run))
    connection.execute(insert(eval_items).values(id=ids["output_item_id"], run=ids["run_id"], **item))


def everything(platform: Platform) -> dict[str, list[Any]]:
    """All rows, without when keys were used, and without the record of what was done."""
    found = {}
    with platform.database.read() as connection:
        for table in metadata.sorted_tables:
            if table.name != "audit":
                columns = [column for column in table.columns if column.name != "last_used_at"]
                query = select(*columns).order_by(*table.primary_key.columns)
                found[table.name] = [tuple(row) for row in connection.execute(query)]
    return found


def test_every_route_says_what_it_takes(untouched: tuple[Platform, FastAPI]):
    assert [str(one) for one in operations(untouched[1]) if one.takes is None] == []


def test_only_signs_of_life_are_for_anyone(untouched: tuple[Platform, FastAPI]):
    assert {one.path for one in operations(untouched[1]) if one.takes == ""} <= {"/healthz", "/readyz"}


def test_every_kind_of_id_is_known_here(untouched: tuple[Platform, FastAPI]):
    assert {name for one in operations(untouched[1]) for name in one.parameters} <= UNKNOWN.keys() | CHOSEN.keys()


@pytest.mark.parametrize("key", [None, "", "sk-proj-0123456789abcdef0123456789", "lt-" + "A" * 40, "ключ"])
def test_a_stranger_is_sent_away_everywhere(untouched: tuple[Platform, FastAPI], key: str | None):
    app = untouched[1]
    client = client_with(app, None)
    for one in operations(app):
        headers = {"authorization": b"Bearer " + key.encode()} if key is not None else {}
        answer = send(client, one.method, one.at(UNKNOWN), headers=headers)
        if one.takes:
            assert answer.status_code == 401, one
            error = answer.json()["error"]
            assert list(error) == ["message", "type", "param", "code"] and error["code"] == "invalid_api_key", one
            assert error["message"].startswith("Incorrect API key provided: " if key else "You didn't provide an API key. "), one
            assert not key or len(key) < 8 or key not in answer.text, one
        else:
            assert answer.status_code < 500, one


CALLERS = [*((role, False) for role in ROLES), ("admin", True), ("auditor", True)]


@pytest.mark.parametrize("role, everywhere", CALLERS)
def test_each_role_may_what_the_table_says_and_nothing_else(untouched: tuple[Platform, FastAPI], role: str, everywhere: bool):
    platform, app = untouched
    client, caller = client_with(app, key_of(platform, role=role, everywhere=everywhere)), Caller("default", "", role, everywhere)
    for one in operations(app):
        answer = send(client, one.method, one.at(UNKNOWN))
        if one.takes and not allows(caller, one.takes):
            assert answer.status_code == 403 and answer.json()["error"]["code"] == "permission_denied", f"{one}: {answer.text}"
            assert one.takes in answer.json()["error"]["message"]
        else:
            assert answer.status_code not in (401, 403) and answer.status_code < 500, f"{one}: {answer.status_code} {answer.text}"


def test_from_another_project_a_thing_is_as_if_it_were_not_there(app: FastAPI, platform: Platform):
    """With the ids of what there is, and of nothing: the same answers, but for the id; and nothing has changed."""
    theirs = belongings(platform, platform.accounts.projects.create("theirs").id)
    client = client_with(app, key_of(platform))
    before = everything(platform)
    for one in operations(app):
        if one.parameters:
            there, nowhere = (_told(send(client, one.method, one.at(ids)), ids) for ids in (theirs, UNKNOWN))
            assert there == nowhere and there[0] in (400, 403, 404), f"{one}: {there}, {nowhere}"
        elif one.method == "GET" and one.takes:
            assert not [number for number in theirs.values() if number in send(client, "GET", one.path).text], one
        if one.cursor:
            for number in theirs.values():
                ids = {**UNKNOWN, "cursor": number}, {**UNKNOWN, "cursor": "nothing-of-this-id"}
                there, nowhere = (_told(client.get(one.at(UNKNOWN), params={"after": told["cursor"]}), told) for told in ids)
                assert there == nowhere, f"{one}, after {number}: {there}, {nowhere}"
    assert everything(platform) == before


LEAST: dict[str, dict[str, Any]] = {
    # What a body must say at least where `{}` is refused.
    "POST /v1/uploads": {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": 3, "mime_type": "text/jsonl"},
    "POST /v1/chat/completions/{completion}": {"metadata": {"a": "b"}},
    "POST /api/projects": {"name": "another"},
    "POST /api/feedback": {"prompt": "Hi", "answers": ["Hello"], "thumb": "up"},
    "POST /api/comparisons": {"a": "starter", "b": "starter", "prompts": ["Hi"], "judge": LIKES},
}


def _told(answer: Any, ids: dict[str, str]) -> tuple[int, str]:
    """What was answered, each id by the name of its kind."""
    text = str(answer.text)
    for name, number in sorted(ids.items(), key=lambda pair: -len(pair[1])):
        text = text.replace(number, f"<{name}>")
    return answer.status_code, text


NAMED_IN_BODIES: list[tuple[str, Callable[[dict[str, str], dict[str, str]], dict[str, Any]]]] = [
    ("/v1/fine_tuning/jobs", lambda ids, own: {"model": "starter", "training_file": ids["file_id"]}),
    ("/v1/fine_tuning/jobs", lambda ids, own: {"model": "starter", "training_file": own["file_id"], "validation_file": ids["file_id"]}),
    ("/v1/fine_tuning/jobs", lambda ids, own: {"model": ids["model"], "training_file": own["file_id"]}),
    ("/v1/chat/completions", lambda ids, own: {"model": ids["model"], "messages": [{"role": "user", "content": "Hi"}]}),
    ("/v1/completions", lambda ids, own: {"model": ids["model"], "prompt": "Hi"}),
    ("/api/comparisons", lambda ids, own: {"a": ids["model"], "b": "starter", "prompts": ["Hi"], "judge": LIKES}),
    ("/api/comparisons", lambda ids, own: {"a": "starter", "b": "starter", "prompts": ids["file_id"], "judge": LIKES}),
    ("/api/comparisons", lambda ids, own: {"a": "starter", "b": "starter", "prompts": ["Hi"], "judge": ids["model"]}),
    ("/v1/embeddings", lambda ids, own: {"model": ids["model"], "input": "Hi"}),
    ("/v1/responses", lambda ids, own: {"model": ids["model"], "input": "Hi"}),
    ("/v1/responses", lambda ids, own: {"model": "starter", "input": "Hi", "previous_response_id": ids["response"]}),
    (
        "/api/feedback",
        lambda ids, own: {"completion": ids["completion"], "thumb": "up"},
    ),
    (
        "/v1/batches",
        lambda ids, own: {"input_file_id": ids["file_id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"},
    ),
]


@pytest.mark.parametrize("path, body", NAMED_IN_BODIES)
def test_what_a_body_names_of_another_project_is_not_there(
    app: FastAPI, platform: Platform, path: str, body: Callable[[dict[str, str], dict[str, str]], dict[str, Any]]
):
    theirs, own = belongings(platform, platform.accounts.projects.create("theirs").id), belongings(platform, "default")
    client = client_with(app, key_of(platform, role="member"))
    there, nowhere = (_told(client.post(path, json=body(ids, own)), ids) for ids in (theirs, UNKNOWN))
    assert there == nowhere and there[0] in (400, 404)


@pytest.mark.parametrize("everywhere", [False, True])
def test_an_auditor_reads_every_record_and_changes_nothing(app: FastAPI, platform: Platform, everywhere: bool):
    """Of its own project; or, with a key for every project, of the one that its requests name."""
    project = platform.accounts.projects.create("looked-at").id
    ids = belongings(platform, project)
    client = client_with(app, key_of(platform, "default" if everywhere else project, "auditor", everywhere))
    before = everything(platform)
    for one in operations(app):
        answer = send(client, one.method, one.at(ids), headers={"luthier-project": "looked-at"})
        if one.method == "GET" and (everywhere or one.takes not in EVERYWHERE):
            assert answer.status_code == 200, f"{one}: {answer.text}"
        elif not (one.takes or "").endswith((".verify", ".read")):
            assert answer.status_code == 403, one
    assert everything(platform) == before


def test_what_is_changed_is_written_down(app: FastAPI, platform: Platform):
    """Whatever an operator changes by the ids of what is there, and the least that a body must say."""
    ids = belongings(platform, "default")
    client, unwritten, written = client_with(app, key_of(platform, everywhere=True)), [], set()
    for one in sorted(operations(app), key=lambda one: (one.method == "DELETE", one.path)):
        if one.method != "GET" and (one.takes or "").endswith(".write"):
            answer = send(client, one.method, one.at(ids), json=LEAST.get(str(one), {}))
            if answer.is_success:
                written.add(str(one))
                requests = [entry.request for entry in entries(platform.database, "default", 1000)]
                unwritten += [str(one)] * (answer.headers["x-request-id"] not in requests)
    assert unwritten == []
    assert {"DELETE /v1/files/{file_id}", "POST /v1/fine_tuning/jobs/{job}/cancel", "DELETE /api/keys/{key}", *LEAST} <= written


def test_the_walk_finds_what_is_wrong(app: FastAPI):
    """A route that says nothing, one that is not listed, one with an id of a new kind; and what each takes, however it is declared."""
    router = APIRouter(prefix="/more", dependencies=[Depends(may("jobs.read"))])

    @router.get("/nested/{thing}")
    def nested(thing: str) -> None: ...

    @app.get("/v1/silent")
    def silent() -> None: ...

    @app.get("/hidden", include_in_schema=False)
    def hidden() -> None: ...

    @app.get("/open", dependencies=[Depends(anyone)])
    def opened() -> None: ...

    app.include_router(router, prefix="/v1")
    found = {str(one): one.takes for one in operations(app)}
    assert found["GET /v1/silent"] is None and found["GET /hidden"] is None
    assert found["GET /open"] == "" and found["GET /v1/more/nested/{thing}"] == "jobs.read"
    assert client_with(app, None).get("/v1/silent").status_code == 401, "the door is before it all the same"


def test_a_permission_that_nobody_knows_is_no_permission():
    with pytest.raises(AssertionError, match=r"files\.eat is not in the table"):
        may("files.eat")
    assert all(roles <= ROLES.keys() for roles in PERMISSIONS.values())


@pytest.mark.parametrize("text", ["%00", "a%00b", "%ED%A0%80", "%FF", "'%3B--", "%E2%80%AE", "..%2F..%2Fetc%2Fpasswd"])
def test_what_no_database_can_hold_is_no_servers_error(database: Database, tmp_path: Path, text: str):
    """In paths and cursors: PostgreSQL takes no NUL in a text."""
    platform = platform_in(tmp_path / "home", database.url.render_as_string(hide_password=False))
    with closing(platform.database):
        app = create_app(platform)
        client = client_with(app, key_of(platform, everywhere=True))
        for one in operations(app):
            if one.parameters:
                answer = send(client, one.method, one.at(dict.fromkeys(UNKNOWN, text)))
                assert answer.status_code in (400, 404, 405), f"{one}: {answer.status_code} {answer.text}"
            if one.cursor:
                answer = client.get(f"{one.at(UNKNOWN)}?after={text}")
                assert answer.status_code < 500, f"{one}: {answer.status_code} {answer.text}"
