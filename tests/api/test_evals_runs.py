"""Runs of evals, from the request to what came of each item; answers are drawn by a rule instead of a model."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.api.talker import Talker, echo
from tests.api.test_evals import CHECK, CONFIG, make
from tests.api.test_files import error_of
from tests.gateway import key_for

from luthier.api.app import create_app
from luthier.api.platform import Platform, open_platform
from luthier.spec.serving import Ask, Fault
from luthier.store.home import Home
from luthier.store.stored import Kept

ROWS = [{"item": {"question": "yes", "answer": "YES"}}, {"item": {"question": "no", "answer": "NEIN"}}]
ASKS = {"type": "template", "template": [{"role": "user", "content": "{{ item.question }}"}]}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    opened = open_platform(Home(str(tmp_path_factory.mktemp("evals") / "home")), Talker())
    yield opened
    opened.database.close()


@pytest.fixture(scope="module")
def client(platform: Platform) -> Iterator[TestClient]:
    with TestClient(create_app(platform), headers={"authorization": f"Bearer {key_for(platform)}"}) as client:
        yield client


@pytest.fixture
def talker(platform: Platform) -> Iterator[Talker]:
    """Who answers, as new."""
    assert isinstance(platform.backend, Talker)
    platform.backend.anew()
    yield platform.backend
    platform.backend.anew()


def content(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "file_content", "content": rows}


def completions(rows: list[dict[str, Any]], **changed: Any) -> dict[str, Any]:
    return {"type": "completions", "model": "starter", "source": content(rows), "input_messages": ASKS} | changed


def begin(client: TestClient, eval: str, data_source: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/evals/{eval}/runs", json={"data_source": data_source, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ended(client: TestClient, run: dict[str, Any], seconds: float = 20.0) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while run["status"] in ("queued", "in_progress"):
        assert time.monotonic() < until, run
        time.sleep(0.05)
        run = client.get(f"/v1/evals/{run['eval_id']}/runs/{run['id']}").json()
    return run


def items(client: TestClient, run: dict[str, Any], **params: Any) -> list[dict[str, Any]]:
    return list(client.get(f"/v1/evals/{run['eval_id']}/runs/{run['id']}/output_items", params={"limit": 100, **params}).json()["data"])


def ran(client: TestClient, criteria: list[dict[str, Any]], data_source: dict[str, Any], config: dict[str, Any] | None = None) -> Any:
    """A run of a new eval, once it has ended."""
    made = make(client, testing_criteria=criteria, data_source_config=config or CONFIG)
    assert made.status_code == 200, made.text
    return ended(client, begin(client, made.json()["id"], data_source))


def test_a_model_is_asked_about_each_item_and_its_answers_are_graded(client: TestClient):
    eval = make(client).json()["id"]
    begun = begin(client, eval, completions(ROWS), name="first", metadata={"try": "1"})
    assert begun["status"] == "queued" and begun["data_source"] == completions(ROWS)
    run = ended(client, begun)
    assert {key: run[key] for key in ("object", "status", "model", "name", "error", "metadata", "eval_id")} == {
        "object": "eval.run",
        "status": "completed",
        "model": "starter",
        "name": "first",
        "error": None,
        "metadata": {"try": "1"},
        "eval_id": eval,
    }
    assert run["result_counts"] == {"total": 2, "errored": 0, "failed": 1, "passed": 1}
    assert run["per_testing_criteria_results"] == [{"testing_criteria": "same", "passed": 1, "failed": 1}]
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10, "cached_tokens": 0}
    assert run["per_model_usage"] == [{"model_name": "starter", "invocation_count": 2, **usage}]
    assert run["report_url"].endswith(f"/v1/evals/{eval}/runs/{run['id']}")
    told = items(client, run)
    assert told[0] == {
        "object": "eval.run.output_item",
        "id": told[0]["id"],
        "created_at": told[0]["created_at"],
        "run_id": run["id"],
        "eval_id": eval,
        "status": "pass",
        "datasource_item_id": 0,
        "datasource_item": ROWS[0]["item"],
        "results": [{"name": "same", "type": "string_check", "score": 1.0, "passed": True, "sample": None}],
        "sample": {
            "input": [{"role": "user", "content": "yes"}],
            "output": [{"role": "assistant", "content": "YES"}],
            "finish_reason": "stop",
            "model": "starter",
            "usage": {"total_tokens": 6, "completion_tokens": 3, "prompt_tokens": 3, "cached_tokens": 0},
            "error": None,
            "temperature": 1.0,
            "max_completion_tokens": None,
            "top_p": 1.0,
            "seed": 42,
        },
    }
    one = client.get(f"/v1/evals/{eval}/runs/{run['id']}/output_items/{told[1]['id']}").json()
    assert one == told[1] and one["status"] == "fail"


def test_sampling_is_as_it_was_asked(client: TestClient, talker: Talker):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"label": {"type": "string"}}}}}
    asked = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "max_completion_tokens": 9, "response_format": form, "reasoning_effort": "low"}
    assert ran(client, [CHECK], completions(ROWS[:1], sampling_params=asked))["status"] == "completed"
    (ask,) = talker.asked
    assert (ask.temperature, ask.top_p, ask.seed, ask.max_tokens) == (0.5, 0.9, 7, 9)
    assert ask.json_schema == form["json_schema"]["schema"]


def test_the_responses_interface_draws_the_same_way(client: TestClient, talker: Talker):
    format = {"type": "json_schema", "name": "x", "schema": {"type": "object", "properties": {"label": {"type": "string"}}}}
    sampling = {"max_completion_tokens": 9, "text": {"format": format}}
    input = [{"role": "user", "content": [{"type": "input_text", "text": "Label: YES"}]}]
    source = completions([{"item": {"messages": input, "answer": '{"label": "YES"}'}}], type="responses", sampling_params=sampling)
    source["input_messages"] = {"type": "item_reference", "item_reference": "item.messages"}
    run = ran(client, [CHECK], source)
    assert run["result_counts"]["passed"] == 1, items(client, run)
    assert talker.asked[0].max_tokens == 9 and talker.asked[0].json_schema == format["schema"]


JUDGED = [{"role": "system", "content": "Say {{ item.judgement }}"}, {"role": "user", "content": "{{ sample.output_text }}"}]
TEXTS = {"input": "{{ sample.output_text }}", "reference": "{{ item.answer }}"}
GRADE = "def grade(sample, item):\n    return float(sample['output_text'] == item['answer'])"
CRITERIA: dict[str, dict[str, Any]] = {
    "string_check": CHECK,
    "text_similarity": {"type": "text_similarity", "name": "g", "evaluation_metric": "fuzzy_match", "pass_threshold": 0.9, **TEXTS},
    "cosine": {"type": "text_similarity", "name": "g", "evaluation_metric": "cosine", "pass_threshold": 0.99, **TEXTS},
    "python": {"type": "python", "name": "g", "source": GRADE},
    "score_model": {"type": "score_model", "name": "g", "model": "starter", "input": JUDGED, "range": [0, 4], "pass_threshold": 3},
    "score_model without a threshold": {"type": "score_model", "name": "g", "model": "starter", "input": JUDGED, "range": [1, 4]},
    "label_model": {"type": "label_model", "name": "g", "model": "starter", "input": JUDGED, "labels": ["3", "1"], "passing_labels": ["3"]},
    "multi": {"type": "multi", "name": "g", "graders": {"a": CHECK}, "calculate_output": "2 * a", "pass_threshold": 2},
}


@pytest.mark.parametrize("kind", CRITERIA)
def test_every_kind_of_grader_lets_the_one_pass_and_not_the_other(client: TestClient, kind: str):
    rows = [
        {"item": {"question": f"q{judgement}", "answer": answer, "judgement": judgement}} for answer, judgement in (("Q3", "3"), ("?", "1"))
    ]
    run = ran(client, [CRITERIA[kind]], completions(rows))
    assert run["result_counts"] == {"total": 2, "errored": 0, "failed": 1, "passed": 1}, items(client, run)
    assert [item["status"] for item in items(client, run)] == ["pass", "fail"]
    (usage,) = run["per_model_usage"]
    judged = kind in ("score_model", "score_model without a threshold", "label_model")
    assert (
        usage["invocation_count"] == (4 if judged else 2) and usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    )


def test_an_item_passes_where_every_criterion_does(client: TestClient):
    never = {**CHECK, "name": "never", "operation": "ne"}
    run = ran(client, [CHECK, never], completions(ROWS[:1]))
    assert run["result_counts"]["failed"] == 1
    assert [(one["testing_criteria"], one["passed"]) for one in run["per_testing_criteria_results"]] == [("same", 1), ("never", 0)]


@pytest.mark.parametrize(
    "sample",
    [
        {"output_text": "YES"},
        {"choices": [{"message": {"role": "assistant", "content": "YES"}, "finish_reason": "stop"}], "model": "other"},
    ],
)
def test_answers_that_come_with_the_items_are_graded_and_nobody_is_asked(client: TestClient, talker: Talker, sample: dict[str, Any]):
    run = ran(client, [CHECK], {"type": "jsonl", "source": content([{**ROWS[0], "sample": sample}])})
    assert run["result_counts"]["passed"] == 1 and run["model"] == "" and not talker.asked
    assert items(client, run)[0]["sample"]["output"] == [{"role": "assistant", "content": "YES"}]


@pytest.mark.parametrize(
    "sample", [{"choices": 3}, {"choices": [3], "usage": 3, "output_tools": {"a": 1}}, {"output_text": 3.5, "model": 1}]
)
def test_an_answer_of_any_form_is_read_without_a_failure(client: TestClient, sample: dict[str, Any]):
    run = ran(client, [CHECK], {"type": "jsonl", "source": content([{**ROWS[0], "sample": sample}])})
    assert run["result_counts"]["failed"] == 1, items(client, run)


def test_what_is_graded_may_stand_in_the_item_itself(client: TestClient):
    check = {**CHECK, "input": "{{ item.said }}"}
    run = ran(client, [check], {"type": "jsonl", "source": content([{"item": {"said": "a", "answer": "a"}}])})
    assert run["result_counts"]["passed"] == 1


def test_rows_of_a_file_and_what_is_wrong_with_one_is_told_by_that_one(client: TestClient):
    lines = [
        b"\xef\xbb\xbf" + json.dumps(ROWS[0]).encode(),
        b"",
        b'{"item": {"question": 1',
        b'{"question": "x"}',
        b'{"item": {"question": "x"}, "sample": 3}',
        b'{"item": {"question": "x"}}\r',
        b'{"item": {"question": "x", "answer": 3}}',
        b"[" * 20_000,
        json.dumps(ROWS[1]).encode(),
    ]
    uploaded = client.post("/v1/files", data={"purpose": "evals"}, files={"file": ("rows.jsonl", b"\n".join(lines))}).json()["id"]
    run = ran(client, [CHECK], completions([], source={"type": "file_id", "id": uploaded}))
    assert run["result_counts"] == {"total": 8, "errored": 6, "failed": 1, "passed": 1}
    errors = [item["sample"]["error"]["message"] for item in items(client, run, status="error")]
    for error, beginning in zip(
        errors,
        [
            "Line 3 is no JSON:",
            "Line 4 has no `item`.",
            "The `sample` of line 5 is no object.",
            "The item does not fit: 'answer' is a required property.",
            "The item does not fit: 3 is not of type 'string' (at answer).",
            "Line 8 is ",
        ],
        strict=True,
    ):
        assert error.startswith(beginning), error
    assert run["per_testing_criteria_results"][0]["passed"] == 1


def test_items_are_paged_and_chosen_by_status(client: TestClient):
    rows = [{"item": {"question": f"q{i}", "answer": f"Q{i}" if i % 2 else ""}} for i in range(7)]
    run = ran(client, [CHECK], completions(rows))
    url = f"/v1/evals/{run['eval_id']}/runs/{run['id']}/output_items"
    seen, after = [], None
    while True:
        page = client.get(url, params={"limit": 2, "status": "fail", **({"after": after} if after else {})}).json()
        seen += [item["datasource_item_id"] for item in page["data"]]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert seen == [0, 2, 4, 6]
    assert [item["datasource_item_id"] for item in items(client, run, status="pass", order="desc")] == [5, 3, 1]
    assert error_of(client.get(url, params={"after": "outputitem_none"}), 400)["param"] == "after"
    assert error_of(client.get(f"{url}/outputitem_none"), 404)["param"] == "output_item_id"
    assert client.get(url, params={"status": "maybe"}).status_code == 400


def keep(platform: Platform, id: str, kind: str, answer: str, **metadata: str) -> None:
    turns = [{"role": "user", "content": "yes"}]
    if kind == "response":
        body = {
            "id": id,
            "output": [],
            "instructions": "Shout.",
            "temperature": 0.5,
            "tools": [],
            "usage": {"input_tokens": 2, "total_tokens": 5},
        }
        request: dict[str, Any] = {"turns": turns, "answer": [{"role": "assistant", "content": answer}]}
    else:
        body = {"id": id, "choices": [{"message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}]}
        request = {"messages": turns, "temperature": 0.5}
    platform.stored.keep(Kept(id, "default", kind, "starter", request, body, "req_1", metadata))


LIKE = {**CHECK, "reference": "YES"}


@pytest.mark.parametrize(
    "kind, run_type, source",
    [
        ("chat.completion", "completions", {"type": "stored_completions", "metadata": {"use": "chat"}}),
        ("response", "responses", {"type": "responses", "instructions_search": "Shout", "temperature": 0.5}),
    ],
)
def test_answers_that_were_kept_are_graded_and_the_same_is_asked_of_another(
    client: TestClient, platform: Platform, talker: Talker, kind: str, run_type: str, source: dict[str, Any]
):
    keep(platform, f"{kind}_1", kind, "YES", use="chat", eval="a")
    keep(platform, f"{kind}_2", kind, "Maybe", use="chat", eval="a")
    keep(platform, f"{kind}_3", kind, "YES", use="chat", eval="other")
    config = {"type": "logs" if run_type == "responses" else "stored_completions", "metadata": {"eval": "a"}}
    run = ran(client, [LIKE], {"type": run_type, "source": source}, config)
    assert run["result_counts"] == {"total": 2, "errored": 0, "failed": 1, "passed": 1} and not talker.asked
    told = items(client, run)
    assert [item["datasource_item"]["id"] for item in told] == [f"{kind}_2", f"{kind}_1"], "the newest first"
    assert told[0]["sample"]["temperature"] == 0.5 and told[0]["sample"]["output"][0]["content"] == "Maybe"
    again = ran(client, [LIKE], {"type": run_type, "source": {**source, "limit": 1}, "model": "starter"}, config)
    assert again["result_counts"] == {"total": 1, "errored": 0, "failed": 0, "passed": 1}, items(client, again)
    assert (talker.asked[0].messages or [])[-1] == {"role": "user", "content": "yes"}


def refusing(times: int, fault: Fault) -> Callable[[Ask], str | Fault]:
    """A rule that gives a fault at first."""
    left = iter([fault] * times)
    return lambda ask: next(left, None) or echo(ask)


@pytest.mark.parametrize(
    "fault", [Fault(kind="overloaded", message="Later.", retry_after=0.01), Fault(kind="internal", message="The process ended.")]
)
def test_a_sampler_that_is_busy_or_starts_anew_is_asked_again(client: TestClient, talker: Talker, fault: Fault):
    talker.rule = refusing(1, fault)
    assert ran(client, [CHECK], completions(ROWS[:1]))["result_counts"]["passed"] == 1


def test_what_a_model_cannot_answer_is_an_error_of_that_item(client: TestClient, talker: Talker):
    talker.rule = refusing(1, Fault(kind="bad_request", message="Too long.", code="context_length_exceeded"))
    run = ran(client, [CHECK], completions([*ROWS, {"item": {"question": "", "answer": "x"}}, {"item": {"answer": "no question"}}]))
    assert run["status"] == "completed" and run["result_counts"]["errored"] == 2
    errors = [item["sample"]["error"] for item in items(client, run, status="error")]
    assert {"code": "context_length_exceeded", "message": "Too long."} in errors
    (unfilled,) = [error for error in errors if error["code"] == "invalid_variable_error"]
    assert unfilled["message"] == "`item.question` has no value: `item` has no `question`; it has `answer`."


def test_what_cannot_be_graded_is_an_error_and_what_an_answer_lacks_a_failure(client: TestClient):
    raises = {"type": "python", "name": "g", "source": "def grade(sample, item):\n    return 1 / 0"}
    run = ran(client, [CHECK, raises], completions(ROWS[:1]))
    assert run["result_counts"]["errored"] == 1
    assert run["per_testing_criteria_results"][1] == {"testing_criteria": "g", "passed": 0, "failed": 0}
    graded, ungraded = items(client, run)[0]["results"]
    assert graded["passed"] and not ungraded["passed"] and "ZeroDivisionError" in ungraded["error"]
    lacks = {**CHECK, "input": "{{ sample.output_json.n }}"}
    run = ran(client, [lacks], completions(ROWS[:1]))
    assert run["result_counts"]["failed"] == 1 and "needs an answer that is JSON" in items(client, run)[0]["results"][0]["error"]


def test_a_run_that_cannot_begin_has_failed_and_says_why(client: TestClient):
    uploaded = client.post("/v1/files", data={"purpose": "evals"}, files={"file": ("rows.jsonl", b"\n \n")}).json()["id"]
    run = ran(client, [CHECK], completions([], source={"type": "file_id", "id": uploaded}))
    assert run["status"] == "failed" and run["error"] == {"code": "invalid_data_source", "message": "The source has no rows."}


@pytest.mark.parametrize(
    "source, status, message, param",
    [
        (completions(ROWS, model="nope"), 404, "The model 'nope' does not exist", "data_source.model"),
        (completions([], source={"type": "file_id", "id": "file-none"}), 400, "No such File object: file-none", "data_source.source.id"),
        (completions([]), 400, "0 is less than the minimum of 1 items", "data_source.source.content"),
        (completions(ROWS, input_messages=None), 400, "Missing required parameter", "data_source.input_messages"),
        (completions(ROWS, model=None), 400, "Missing required parameter", "data_source.model"),
        (completions([{"items": {}}]), 400, "'item' is a required property", "data_source.source.content.0.item"),
        (
            completions(ROWS, sampling_params={"temperature": 3}),
            400,
            "3 is greater than the maximum",
            "data_source.sampling_params.temperature",
        ),
        ({"type": "csv"}, 400, "its 'type' is not one of ['jsonl', 'completions', 'responses']", "data_source"),
        (
            completions(ROWS, input_messages={"type": "item_reference", "item_reference": "sample.x"}),
            400,
            "String should match pattern",
            "data_source.input_messages.item_reference",
        ),
    ],
)
def test_what_no_run_can_be_is_refused(client: TestClient, source: dict[str, Any], status: int, message: str, param: str):
    answer = client.post(f"/v1/evals/{make(client).json()['id']}/runs", json={"data_source": source})
    error = error_of(answer, status)
    assert message in error["message"] and error["param"] == param


def test_a_judge_that_is_not_there_is_told_when_the_run_is_made(client: TestClient):
    eval = make(client, testing_criteria=[{**CRITERIA["label_model"], "model": "gpt-4o"}]).json()["id"]
    error = error_of(client.post(f"/v1/evals/{eval}/runs", json={"data_source": completions(ROWS)}), 404)
    assert error["code"] == "model_not_found" and "luthier models alias gpt-4o starter" in error["message"]


def test_many_items_are_asked_at_once_and_a_cancelled_run_asks_no_more_within_a_second(client: TestClient, talker: Talker):
    talker.delay_s = 0.3
    rows = [{"item": {"question": f"q{i}", "answer": f"Q{i}"}} for i in range(400)]
    eval = make(client).json()["id"]
    run = begin(client, eval, completions(rows))
    until = time.monotonic() + 10
    while talker.most_at_once < 32:
        assert time.monotonic() < until
        time.sleep(0.02)
    url = f"/v1/evals/{eval}/runs/{run['id']}"
    began = time.monotonic()
    assert client.post(f"{url}/cancel").json()["status"] == "canceled"
    while talker.at_once:
        assert time.monotonic() - began < 1.0
        time.sleep(0.02)
    asked = len(talker.asked)
    time.sleep(0.4)
    assert len(talker.asked) == asked < 400 and talker.hung_up > 0 and talker.most_at_once == 32
    told = client.get(url).json()
    assert told["status"] == "canceled" and sum(told["result_counts"][name] for name in ("passed", "failed", "errored")) < 400
    error = error_of(client.post(url), 400)  # the older spelling
    assert (
        error["message"] == f"Run {run['id']} has already been canceled and cannot be canceled." and error["code"] == "invalid_run_status"
    )


def test_a_deleted_run_is_gone_and_is_worked_on_no_more(client: TestClient, talker: Talker):
    talker.delay_s = 0.2
    eval = make(client).json()["id"]
    run = begin(client, eval, completions([{"item": {"question": "q", "answer": "Q"}}] * 200))
    until = time.monotonic() + 10
    while not talker.asked:
        assert time.monotonic() < until
        time.sleep(0.02)
    url = f"/v1/evals/{eval}/runs/{run['id']}"
    assert client.delete(url).json() == {"object": "eval.run.deleted", "deleted": True, "run_id": run["id"]}
    assert error_of(client.get(url), 404)["param"] == "run_id"
    began = time.monotonic()
    while talker.at_once:
        assert time.monotonic() - began < 1.5
        time.sleep(0.02)
    assert client.get(f"/v1/evals/{eval}/runs").json()["data"] == []


def test_runs_are_listed_by_status_and_page(client: TestClient):
    eval = make(client).json()["id"]
    runs = [ended(client, begin(client, eval, completions(ROWS[:1]), name=f"{i}")) for i in range(3)]
    url = f"/v1/evals/{eval}/runs"
    page = client.get(url, params={"limit": 2}).json()
    assert [run["name"] for run in page["data"]] == ["0", "1"] and page["has_more"] and page["last_id"] == runs[1]["id"]
    assert [run["name"] for run in client.get(url, params={"after": page["last_id"]}).json()["data"]] == ["2"]
    assert [run["name"] for run in client.get(url, params={"order": "desc", "status": "completed"}).json()["data"]] == ["2", "1", "0"]
    assert client.get(url, params={"status": "failed"}).json()["data"] == []
