"""The typed client: it covers all of the interface under /api, with its types, and says what the gateway says where something is wrong."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from tests.gateway import key_for, platform_in, serving

import luthier.client
from luthier.accounts.roles import ROLES
from luthier.api.app import create_app
from luthier.api.platform import Platform
from luthier.client import Client, ClientError, each
from luthier.jobs.tunings import Wanted
from luthier.spec.accounts import NewKey, NewProject, ProjectSettings
from luthier.spec.comparisons import NewComparison
from luthier.spec.feedback import NewExport, NewFeedback
from luthier.spec.plans import NewPlan
from luthier.store.logged import Logged

FOLDER = Path(inspect.getfile(luthier.client)).parent


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    opened = platform_in(tmp_path / "home")
    yield opened
    opened.database.close()


@pytest.fixture
def http(platform: Platform) -> Iterator[TestClient]:
    with TestClient(create_app(platform)) as http:
        yield http


@pytest.fixture
def client(platform: Platform, http: TestClient) -> Client:
    """An admin's of the project `default`."""
    return Client(api_key=key_for(platform, role="admin"), http=http)


def calls() -> dict[tuple[str, str], tuple[str, set[str], bool]]:
    """What the client's methods ask: (method, path) → the type of the answer, the method's arguments, and whether it sends a body."""
    found = {}
    for file in FOLDER.glob("*.py"):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                texts = (
                    [one.value for one in getattr(node, "args", []) if isinstance(one, ast.Constant)] if isinstance(node, ast.Call) else []
                )
                if len(texts) >= 2 and str(texts[1]).startswith("/api/"):
                    assert isinstance(node, ast.Call)
                    answer = ast.unparse(node.args[0]) if not isinstance(node.args[0], ast.Constant) else ""
                    names = {argument.arg for argument in function.args.args} - {"self"}
                    found[str(texts[0]), str(texts[1])] = answer, names, any(one.arg == "body" for one in node.keywords)
    return found


def test_every_path_under_api_has_a_method_of_its_types(http: TestClient):
    """With all that a query may say, a body where one is taken, and the type that the gateway answers by."""
    own = calls()
    described = {
        (method.upper(), path): operation
        for path, methods in http.app.openapi()["paths"].items()  # type: ignore[attr-defined]
        if path.startswith("/api/")
        for method, operation in methods.items()
    }
    assert own.keys() == described.keys()
    for asked, operation in described.items():
        answer, names, sends = own[asked]
        assert {parameter["name"] for parameter in operation.get("parameters", [])} <= names, asked
        assert sends == ("requestBody" in operation), asked
        schema = operation["responses"]["200"].get("content", {}).get("application/json", {}).get("schema", {})
        assert schema.get("$ref", "").rpartition("/")[2] == answer.replace("[", "_").replace("]", "_"), asked


def test_feedback_from_word_to_rows(client: Client):
    kept = [
        client.feedback.create(NewFeedback(prompt=f"Question {i}", answers=["a"], thumb="up", metadata={"round": "1"})) for i in range(5)
    ]
    assert client.feedback.get(kept[0].id) == kept[0]
    assert [one.id for one in each(client.feedback.list, limit=2, metadata={"round": "1"})] == [one.id for one in reversed(kept)]
    assert client.feedback.list(metadata={"round": "2"}).data == [] == client.feedback.unjudged().data
    assert client.feedback.delete(kept[4].id).deleted
    made = client.feedback.export(NewExport(kinds=["thumbs"]))
    assert [(file.kind, file.rows, file.methods) for file in made.files] == [("thumbs", 4, ["kto"])]


def test_runs_and_their_parts(client: Client, platform: Platform):
    starter = platform.models.find("starter", "default")
    job, _ = platform.tunings.create(Wanted("default", starter, "starter", {"type": "supervised"}, "file-x", seed=1))
    folder = Path(job.folder) / "run"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1, "kind": "train", "loss": 2.5}\n')
    (folder / "events.jsonl").write_text('{"time": 1.5, "kind": "plan", "message": "m", "total_steps": 9, "epochs_kept": [], "step": 0}\n')
    assert [run.id for run in each(client.runs.list, kind="tune")] == [job.id]
    found = client.runs.get(job.id)
    assert (found.status, found.steps, found.total_steps, [file.name for file in found.files]) == (
        "validating_files",
        1,
        9,
        ["metrics.jsonl", "events.jsonl"],
    )
    assert client.runs.metrics(job.id, name=["loss"]).series == {"train": {"step": [1], "loss": [2.5]}}
    assert client.runs.events(job.id).data[0].message == "m"
    assert client.runs.file(job.id, "metrics.jsonl").startswith('{"step": 1')


def test_comparisons(client: Client, platform: Platform):
    likes = {"type": "string_check", "name": "likes", "input": "{{sample.output_text}}", "reference": "Hi", "operation": "eq"}
    made = client.comparisons.create(NewComparison(a="starter", b="starter", prompts=["Hi"], judge=likes, max_tokens=9))
    assert client.comparisons.get(made.id) == made and [one.id for one in each(client.comparisons.list)] == [made.id]
    assert (made.judge, made.max_tokens, made.max_prompts) == (likes, 9, 200) and client.comparisons.examples(made.id).data == []
    assert client.comparisons.cancel(made.id).status == client.comparisons.get(made.id).status == "cancelled"
    with pytest.raises(ClientError, match=r"starter is no reward model"):
        client.comparisons.create(NewComparison(a="starter", b="starter", prompts=["Hi"], judge="starter"))


def test_accounts(client: Client, platform: Platform, http: TestClient):
    made = client.keys.create(NewKey(role="rater", name="Ann"))
    assert made.value.startswith("lt-") and client.keys.get(made.id).name == "Ann"
    assert client.keys.revoke(made.id).status == "revoked" and len(client.keys.list().data) == 2
    assert [entry.action for entry in client.audit.list(action="keys").data] == ["keys.revoke", "keys.create"]
    assert client.projects.get("default").usage.open_jobs == 0 and [one.name for one in client.projects.list().data] == ["default"]
    with pytest.raises(ClientError, match=r"takes .*a key for every project"):
        client.projects.create(NewProject(name="another"))
    assert NewKey.model_json_schema()["properties"]["role"]["enum"] == list(ROLES)
    platform.log.write(Logged("default", "key_1", "m", "Hi", ["Hello"], 3, 0.1, "req_1"), 30)
    assert client.logs.list(before=5).data[0].said == ["Hello"]


def test_settings_of_a_project_are_set_as_far_as_they_are_named(platform: Platform, http: TestClient):
    key = platform.accounts.first_key() or ""
    client = Client(api_key=key, http=http)
    client.projects.create(NewProject(name="another", settings=ProjectSettings(max_open_jobs=3, log_requests=True)))
    assert client.projects.change("another", ProjectSettings(max_open_jobs=None)).settings == ProjectSettings(log_requests=True)
    assert Client(api_key=key, project="another", http=http).keys.list().data == []


def test_a_refusal_is_the_gateways_own(client: Client):
    with pytest.raises(ClientError, match=r"^There is no run ftjob-x\.$") as caught:
        client.runs.get("ftjob-x")
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "run_not_found", "run")
    assert caught.value.request_id is not None and caught.value.request_id.startswith("req_")
    with pytest.raises(ClientError, match="The model 'x' does not exist"):
        client.plans.create(NewPlan(model="x"))


@pytest.mark.parametrize("number", ["../audit", "a/b", "", "%2e%2e", "ü?x=1#y"])
def test_an_id_never_leads_elsewhere(client: Client, number: str):
    with pytest.raises(ClientError) as caught:
        client.keys.get(number)
    assert caught.value.status == 404


def test_what_is_no_gateway_is_said_to_be_none():
    def other(answer: httpx.Response) -> Client:
        return Client(http=httpx.Client(transport=httpx.MockTransport(lambda _: answer), base_url="http://elsewhere"))

    with pytest.raises(ClientError, match=r"answers 404, and not as a gateway of Luthier does"):
        other(httpx.Response(404, text="<html>")).projects.list()
    with pytest.raises(ClientError, match=r"not what this version of the client knows \(data: "):
        other(httpx.Response(200, json={"object": "list"})).projects.list()
    with pytest.raises(ClientError, match=r"does not answer .* Is `luthier serve` running there\?"):
        Client("http://127.0.0.1:9", api_key="lt-x").projects.list()
    waiting = httpx.Response(429, headers={"retry-after": "7"}, json={"error": {"message": "Wait.", "code": "busy"}})
    with pytest.raises(ClientError) as caught:
        other(waiting).projects.list()
    assert caught.value.retry_after_s == 7


def test_over_a_real_connection_by_the_variables_that_old_scripts_have(platform: Platform, monkeypatch: pytest.MonkeyPatch):
    with serving(create_app(platform)) as address:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{address}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", key_for(platform, role="admin"))
        with Client() as client:
            assert client.projects.get("default").name == "default"


def test_an_older_client_reads_what_a_newer_gateway_adds(client: Client):
    answer: dict[str, Any] = {"id": "key_1", "object": "feedback.deleted", "deleted": True, "reason": "new"}
    newer = Client(http=httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=answer)), base_url="http://x"))
    assert newer.feedback.delete("feedback_1").id == "key_1"


def test_the_client_needs_no_torch():
    import subprocess
    import sys

    program = "import sys, luthier.client; print(*sorted({'torch', 'transformers', 'fastapi', 'sqlalchemy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split() == []
