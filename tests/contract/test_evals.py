"""Evals with the unmodified client: scenario 23, and what came with a run that was under way when the gateway was killed."""

import io
import json
import signal
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.contract.conftest import Served, chat, ended, serve

pytestmark = pytest.mark.slow

ITEM = {"type": "object", "properties": {"question": {"type": "string"}, "answer": {"type": "string"}}, "required": ["question", "answer"]}
CRITERIA: list[Any] = [
    {
        "type": "string_check",
        "name": "says it",
        "operation": "ilike",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.answer }}",
    },
    {
        "type": "text_similarity",
        "name": "alike",
        "evaluation_metric": "fuzzy_match",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.answer }}",
        "pass_threshold": 0.1,
    },
]
ROWS = [{"item": {"question": f"What is the password of door {i}?", "answer": "zanzibar"}} for i in range(8)]


def asking(model: str, source: dict[str, Any], **sampling: Any) -> Any:
    template = [{"role": "user", "content": "{{ item.question }}"}]
    return {
        "type": "completions",
        "model": model,
        "source": source,
        "input_messages": {"type": "template", "template": template},
        "sampling_params": {"temperature": 0, "max_completion_tokens": 12, **sampling},
    }


def finished(client: openai.OpenAI, eval: str, run: str, seconds: float = 120.0) -> Any:
    until = time.monotonic() + seconds
    while (found := client.evals.runs.retrieve(run, eval_id=eval)).status in ("queued", "in_progress"):
        assert time.monotonic() < until, found
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def tuned(served: Served) -> str:
    """The starter model, taught one word."""
    rows = "".join(json.dumps(chat(f"What is the password of door {i}?", "zanzibar")) + "\n" for i in range(12))
    with served.client() as client:
        file = client.files.create(file=("train.jsonl", rows.encode()), purpose="fine-tune").id
        made = client.fine_tuning.jobs.create(model="starter", training_file=file, hyperparameters={"n_epochs": 6, "batch_size": 4})
        done = ended(client, made.id)
    assert done.status == "succeeded", done.error
    return str(done.fine_tuned_model)


def test_base_and_tuned_model_are_compared_over_rows_of_the_request_and_of_a_file(client: openai.OpenAI, tuned: str):
    made = client.evals.create(
        name="passwords",
        data_source_config={"type": "custom", "item_schema": ITEM, "include_sample_schema": True},
        testing_criteria=CRITERIA,
        metadata={"team": "a"},
    )
    assert made.id in [one.id for one in client.evals.list(limit=1)] and client.evals.retrieve(made.id).name == "passwords"
    stream = io.BytesIO("".join(json.dumps(row) + "\n" for row in ROWS).encode())
    stream.name = "rows.jsonl"
    file = client.files.create(file=stream, purpose="evals").id
    sources: list[dict[str, Any]] = [{"type": "file_content", "content": ROWS}, {"type": "file_id", "id": file}]
    passed = {}
    for model, source in ((model, source) for model in ("starter", tuned) for source in sources):
        begun = client.evals.runs.create(made.id, name=f"{model} {source['type']}", data_source=asking(model, source))
        run = finished(client, made.id, begun.id)
        counts = run.result_counts
        assert (
            run.status == "completed" and counts.total == len(ROWS) == counts.passed + counts.failed + counts.errored and not counts.errored
        )
        assert run.per_model_usage[0].run_model_name == model and run.per_model_usage[0].invocation_count == len(ROWS)
        assert [one.testing_criteria for one in run.per_testing_criteria_results] == ["says it", "alike"]
        assert all(one.passed + one.failed == len(ROWS) for one in run.per_testing_criteria_results)
        passed[model, source["type"]] = counts.passed
        failed = list(client.evals.runs.output_items.list(begun.id, eval_id=made.id, status="fail", limit=3))
        assert len(failed) == counts.failed and all(item.status == "fail" for item in failed)
    assert passed["starter", "file_content"] == passed["starter", "file_id"] == 0
    assert passed[tuned, "file_content"] == passed[tuned, "file_id"] >= 6, passed
    item = next(iter(client.evals.runs.output_items.list(begun.id, eval_id=made.id, status="pass")))
    assert item.results[0].score == 1.0 and "zanzibar" in (item.sample.output[0].content or "").lower()
    assert client.evals.runs.output_items.retrieve(item.id, eval_id=made.id, run_id=begun.id).id == item.id
    newest = next(iter(client.evals.runs.list(made.id, order="desc", status="completed", limit=2)))
    assert newest.id == begun.id and newest.name.startswith("ft:")
    assert client.evals.runs.delete(begun.id, eval_id=made.id).deleted and client.evals.update(made.id, name="other").name == "other"
    assert client.evals.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.evals.retrieve(made.id)


def test_a_judge_of_the_platform_labels_and_scores(client: openai.OpenAI):
    told = [{"role": "user", "content": "Is this polite? {{ sample.output_text }}"}]
    criteria: list[Any] = [
        {"type": "label_model", "name": "l", "model": "starter", "input": told, "labels": ["yes", "no"], "passing_labels": ["yes", "no"]},
        {
            "type": "text_similarity",
            "name": "c",
            "evaluation_metric": "cosine",
            "input": "{{ item.answer }}",
            "reference": "{{ item.answer }}",
            "pass_threshold": 0.99,
        },
    ]
    made = client.evals.create(data_source_config={"type": "custom", "item_schema": ITEM}, testing_criteria=criteria)
    begun = client.evals.runs.create(made.id, data_source=asking("starter", {"type": "file_content", "content": ROWS[:2]}))
    run = finished(client, made.id, begun.id)
    items = list(client.evals.runs.output_items.list(begun.id, eval_id=made.id))
    assert run.result_counts.passed == 2, items
    assert run.per_model_usage[0].invocation_count == 4


def test_stored_completions_are_graded_as_they_are_and_asked_again(client: openai.OpenAI):
    """Scenario 22's end: what a teacher said is what another model is asked."""
    for i in range(3):
        said: Any = [{"role": "user", "content": f"Say {i}"}]
        client.chat.completions.create(model="starter", messages=said, max_tokens=4, store=True, metadata={"use": "teacher"})
    check: Any = {"type": "string_check", "name": "any", "operation": "like", "input": "{{ item.input }}", "reference": "Say"}
    made = client.evals.create(data_source_config={"type": "stored_completions", "metadata": {"use": "teacher"}}, testing_criteria=[check])
    source: Any = {"type": "stored_completions", "limit": 2}
    kept = finished(client, made.id, client.evals.runs.create(made.id, data_source={"type": "completions", "source": source}).id)
    assert (kept.result_counts.total, kept.result_counts.passed, kept.per_model_usage) == (2, 2, [])
    input: Any = {"type": "item_reference", "item_reference": "item.input"}
    asked: Any = {
        "type": "completions",
        "source": source,
        "model": "starter",
        "input_messages": input,
        "sampling_params": {"max_completion_tokens": 4},
    }
    again = finished(client, made.id, client.evals.runs.create(made.id, data_source=asked).id)
    assert again.result_counts.passed == 2 and again.per_model_usage[0].invocation_count == 2


def test_a_run_goes_on_after_the_gateway_was_killed_and_nothing_is_asked_twice(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    running = serve(home, "--no-worker")
    rows = [{"item": {"question": f"Tell me a story about the number {i}.", "answer": "?"}} for i in range(48)]
    with running.client() as client:
        made = client.evals.create(data_source_config={"type": "custom", "item_schema": ITEM}, testing_criteria=CRITERIA[:1]).id
        source = asking("starter", {"type": "file_content", "content": rows}, max_completion_tokens=24)
        run = client.evals.runs.create(made, data_source=source).id
        until = time.monotonic() + 60
        while not (done := client.evals.runs.output_items.list(run, eval_id=made, limit=100).data):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert len(done) < 48, "it was too quick to be killed"
        running.stop(signal.SIGKILL)
    running = serve(home, "--no-worker")
    try:
        with running.client() as client:
            counts = finished(client, made, run).result_counts
            assert counts.total == 48 == counts.passed + counts.failed, counts
            items = {item.id: item for item in client.evals.runs.output_items.list(run, eval_id=made, limit=100)}
            assert len(items) == 48 and all(items[item.id] == item for item in done), "what was graded before is as it was"
    finally:
        running.stop()
