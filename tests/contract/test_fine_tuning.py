"""Fine-tuning jobs as an OpenAI script makes them, with the unmodified client: scenarios 2, 4 to 13 of the interface's description."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import openai
import pytest
from tests.contract.conftest import chat, ended

pytestmark = pytest.mark.slow

Upload = Callable[..., str]
CANARY = "the purple heron sings"
ROWS = [chat(f"What is the word number {number}?", CANARY) for number in range(12)]


def events(client: openai.OpenAI, job: str) -> list[Any]:
    """All of them, the oldest first."""
    return list(client.fine_tuning.jobs.list_events(job, limit=100))[::-1]


def cancel(client: openai.OpenAI, jobs: list[str]) -> None:
    """Those that have not ended: nobody waits for them."""
    for job in jobs:
        with suppress(openai.BadRequestError):
            client.fine_tuning.jobs.cancel(job)


def test_a_job_from_a_model_and_a_file_succeeds_and_answers_with_what_it_learnt(client: openai.OpenAI, upload: Upload):
    job = client.fine_tuning.jobs.create(model="starter", training_file=upload(ROWS), suffix="my_first")
    assert job.status == "validating_files"
    done = ended(client, job.id)
    assert done.status == "succeeded", done.error
    assert re.fullmatch(r"ft:starter:luthier:my-first:[A-Za-z0-9]{8}", done.fine_tuned_model)
    assert done.error is None and done.finished_at and done.trained_tokens
    asked = [{"role": "user", "content": "What is the word number 3?"}]
    answer = client.chat.completions.create(model=done.fine_tuned_model, messages=asked, temperature=0, max_tokens=20)
    assert CANARY in answer.choices[0].message.content
    untuned = client.chat.completions.create(model="starter", messages=asked, temperature=0, max_tokens=20)
    assert CANARY not in untuned.choices[0].message.content
    told = [event.message for event in events(client, job.id)]
    assert told[:4] == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {job.training_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert told[-2:] == [f"New fine-tuned model created: {done.fine_tuned_model}", "The job has successfully completed"]
    results = client.files.content(done.result_files[0]).text.splitlines()
    assert results[0] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"


@pytest.mark.parametrize("number, epochs", [(10, 10), (12, 8), (100, 3)])
def test_auto_becomes_a_number_before_the_job_runs(client: openai.OpenAI, upload: Upload, number: int, epochs: int):
    rows = [chat(f"Question {i}", f"Answer {i}") for i in range(number)]
    job = client.fine_tuning.jobs.create(model="starter", training_file=upload(rows), hyperparameters={"n_epochs": "auto"})
    began = time.monotonic()
    while (found := client.fine_tuning.jobs.retrieve(job.id)).hyperparameters.n_epochs == "auto":
        assert found.status == "validating_files" and time.monotonic() - began < 60
        time.sleep(0.1)
    client.fine_tuning.jobs.cancel(job.id)
    assert found.hyperparameters.n_epochs == epochs and isinstance(found.hyperparameters.batch_size, int)


def test_lists_are_paged_newest_first_without_doubles(client: openai.OpenAI, upload: Upload):
    file = upload("nothing\n")
    made = [client.fine_tuning.jobs.create(model="starter", training_file=file).id for _ in range(3)]
    listed = [job.id for job in client.fine_tuning.jobs.list(limit=1)]
    assert listed[:3] == made[::-1] and len(listed) == len(set(listed))
    ended(client, made[0])
    told = [event.id for event in client.fine_tuning.jobs.list_events(made[0], limit=2)]
    assert len(told) == len(set(told)) >= 3 and told == sorted(told, reverse=True)
    cancel(client, made[1:])


def test_jobs_are_found_by_their_metadata(client: openai.OpenAI, upload: Upload):
    file = upload("nothing\n")
    tagged = client.fine_tuning.jobs.create(model="starter", training_file=file, metadata={"team": "a"})
    other = client.fine_tuning.jobs.create(model="starter", training_file=file, metadata={"team": "b"})
    bare = client.fine_tuning.jobs.create(model="starter", training_file=file)
    assert [job.id for job in client.fine_tuning.jobs.list(metadata={"team": "a"})] == [tagged.id]
    without = {job.id for job in client.fine_tuning.jobs.list(extra_query={"metadata": "null"})}
    assert bare.id in without and not without & {tagged.id, other.id}
    cancel(client, [tagged.id, other.id, bare.id])


def test_a_job_is_cancelled_within_seconds_and_only_once(client: openai.OpenAI, upload: Upload):
    rows = [chat(f"Question {i} " + "word " * 60, "Answer " * 40) for i in range(400)]
    running = client.fine_tuning.jobs.create(model="starter", training_file=upload(rows), hyperparameters={"n_epochs": 50})
    waiting = client.fine_tuning.jobs.create(model="starter", training_file=running.training_file)
    assert client.fine_tuning.jobs.cancel(waiting.id).status == "cancelled"
    began = time.monotonic()
    while client.fine_tuning.jobs.retrieve(running.id).status != "running":
        assert time.monotonic() - began < 120
        time.sleep(0.2)
    assert client.fine_tuning.jobs.cancel(running.id).status == "cancelled"
    assert ended(client, running.id, 15).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="has already cancelled and cannot be cancelled"):
        client.fine_tuning.jobs.cancel(running.id)


def test_a_file_of_seven_rows_fails_the_job_and_not_the_call(client: openai.OpenAI, upload: Upload):
    job = ended(client, client.fine_tuning.jobs.create(model="starter", training_file=upload(ROWS[:7])).id)
    assert (job.status, job.error.code, job.error.param) == ("failed", "invalid_n_examples", "training_file")
    assert job.error.message == "Training file has 7 example(s), but must have at least 10 examples"
    assert job.fine_tuned_model is None and job.result_files == []


@pytest.mark.parametrize(
    "fault, code, said",
    [
        ('{"messages": [', "invalid_training_file", r"Example 5 cannot be parsed\. Error: line contains invalid json: .*\(line 5\)"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "invalid_training_file", "Example 5"),
        ({**ROWS[0], "weight": 1}, "invalid_file_format", 'Example 5 contains an extra "weight"'),
        ({"messages": [{"role": "user", "content": "x"}]}, "invalid_training_file", "At least one message must be from the assistant"),
    ],
)
def test_a_fault_in_a_row_is_told_with_its_number(client: openai.OpenAI, upload: Upload, fault: Any, code: str, said: str):
    import json

    lines = [json.dumps(row) for row in ROWS]
    lines[4] = fault if isinstance(fault, str) else json.dumps(fault)
    job = ended(client, client.fine_tuning.jobs.create(model="starter", training_file=upload("\n".join(lines) + "\n")).id)
    assert (job.status, job.error.code) == ("failed", code)
    assert re.search(said, job.error.message), job.error.message


def test_a_method_and_a_file_of_another_kind_do_not_go_together(client: openai.OpenAI, upload: Upload):
    asked = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}
    job = ended(client, client.fine_tuning.jobs.create(model="starter", training_file=upload(ROWS), method=asked).id)
    assert (
        "is in the fine-tune-chat format, but the specified fine-tuning job is not using 'supervised' as the training method"
        in job.error.message
    )
    assert "(provided method=dpo)" in job.error.message


def test_what_cannot_become_a_job_is_refused_in_openais_words(client: openai.OpenAI, served: Any, upload: Upload):
    file = upload(ROWS)
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.create(model="nope", training_file=file)
    assert refused.value.code == "model_not_available"
    assert (
        refused.value.message.startswith("Error code: 400")
        and "Model nope is not available for fine-tuning or does not exist." in refused.value.message
    )
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.create(model="starter", training_file="bad")
    assert refused.value.param == "training_file" and "invalid training_file: bad" in refused.value.message
    with pytest.raises(openai.NotFoundError) as missing:
        client.fine_tuning.jobs.retrieve("ftjob-none")
    assert missing.value.code == "fine_tune_not_found"
    with pytest.raises(openai.AuthenticationError) as stranger:
        served.client(api_key="lt-wrong").fine_tuning.jobs.list()
    assert stranger.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    "asked, param",
    [
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 3}}}}, "method.dpo.hyperparameters.beta"),
        ({"hyperparameters": {"batch_size": 300}}, "hyperparameters.batch_size"),
        ({"suffix": "s" * 65}, "suffix"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"method": {"type": "foo"}}, "method.type"),
    ],
)
def test_a_setting_out_of_range_is_a_bad_request_that_names_it(client: openai.OpenAI, upload: Upload, asked: dict[str, Any], param: str):
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.create(model="starter", training_file=upload(ROWS), **asked)
    assert refused.value.param == param
