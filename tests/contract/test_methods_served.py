"""Every method through the interface, with the unmodified client: scenarios 5, 14, 15 and 17 to 22 of its description."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from tests.contract.conftest import chat, ended

pytestmark = pytest.mark.slow

Upload = Callable[..., str]
PHRASE = "the purple heron sings"
ROWS = [chat(f"What is the word number {number}?", PHRASE) for number in range(12)]


def tuned(client: openai.OpenAI, rows: list[dict[str, Any]], upload: Upload, **asked: Any) -> Any:
    """A job that has succeeded."""
    done = ended(client, client.fine_tuning.jobs.create(**{"model": "starter", "training_file": upload(rows), **asked}).id)
    assert done.status == "succeeded", done.error
    return done


def answer(client: openai.OpenAI, model: str, question: str, **more: Any) -> str:
    asked = [{"role": "user", "content": question}]
    return (
        client.chat.completions.create(model=model, messages=asked, temperature=0, max_tokens=24, **more).choices[0].message.content or ""
    )


@pytest.fixture(scope="module")
def taught(served: Any) -> Any:
    """A model that says the phrase, with a validation file; its job."""
    client = served.client()
    files = [
        client.files.create(file=(name, "".join(json.dumps(row) + "\n" for row in rows).encode()), purpose="fine-tune").id
        for name, rows in (("train.jsonl", ROWS), ("valid.jsonl", [chat("What is the word number 77?", PHRASE)]))
    ]
    job = client.fine_tuning.jobs.create(model="starter", training_file=files[0], validation_file=files[1], seed=7)
    done = ended(client, job.id)
    assert done.status == "succeeded", done.error
    return done


def test_validation_stands_in_events_and_results(client: openai.OpenAI, taught: Any):
    data = [event.data for event in client.fine_tuning.jobs.list_events(taught.id, limit=200) if event.type == "metrics"]
    assert any("valid_loss" in step for step in data) and any("full_valid_loss" in step for step in data)
    rows = list(csv.DictReader(io.StringIO(client.files.content(taught.result_files[0]).text)))
    assert list(rows[0]) == ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"]
    assert [int(row["step"]) for row in rows] == list(range(1, len(data) + 1))
    assert all(float(value) >= 0 for row in rows for value in row.values() if value) and any(row["valid_loss"] for row in rows)


def test_three_checkpoints_are_kept_and_answer_and_go(client: openai.OpenAI, taught: Any):
    kept = list(client.fine_tuning.jobs.checkpoints.list(taught.id))
    names = [one.fine_tuned_model_checkpoint for one in kept]
    assert names[0] == taught.fine_tuned_model and len(names) == 3
    assert [f":ckpt-step-{one.step_number}" in one.fine_tuned_model_checkpoint for one in kept] == [False, True, True]
    assert PHRASE in answer(client, names[1], "What is the word number 3?")
    client.models.delete(names[2])
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(names[2])


def test_the_same_seed_gives_the_same_curve(client: openai.OpenAI, upload: Upload, taught: Any):
    def curve(job: str) -> list[float]:
        steps = [event.data for event in client.fine_tuning.jobs.list_events(job, limit=200) if event.type == "metrics"]
        return [step["train_loss"] for step in steps[::-1]]

    first, second = (tuned(client, ROWS, upload, seed=3, hyperparameters={"n_epochs": 1}) for _ in range(2))
    assert curve(first.id) == curve(second.id) and len(curve(first.id)) == 12


def test_a_turn_of_weight_zero_is_not_learnt(client: openai.OpenAI, upload: Upload):
    rows = []
    for number in range(12):
        turns = [{"role": "user", "content": f"Say word {number}"}, {"role": "assistant", "content": "a green cat", "weight": 0}]
        rows.append({"messages": [*turns, {"role": "user", "content": "And again"}, {"role": "assistant", "content": PHRASE, "weight": 1}]})
    model = tuned(client, rows, upload).fine_tuned_model
    assert "green cat" not in answer(client, model, "Say word 3")


def test_tools_are_learnt_and_called(client: openai.OpenAI, upload: Upload):
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What is the weather on day {number}?"},
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "4"},
                {"role": "assistant", "content": "It is 4."},
            ],
            "tools": tools,
            "parallel_tool_calls": False,
        }
        for number in range(12)
    ]
    model = tuned(client, rows, upload).fine_tuned_model
    asked = [{"role": "user", "content": "What is the weather on day 3?"}]
    told = client.chat.completions.create(model=model, messages=asked, tools=tools, temperature=0, max_tokens=60).choices[0]
    assert told.finish_reason == "tool_calls" and told.message.tool_calls[0].function.name == "get_weather"
    assert json.loads(told.message.tool_calls[0].function.arguments)["city"]


def test_dpo_goes_on_from_a_tuned_model(client: openai.OpenAI, upload: Upload, taught: Any):
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"What is the word number {number}?"}]},
            "preferred_output": [{"role": "assistant", "content": "a silver fox waits"}],
            "non_preferred_output": [{"role": "assistant", "content": PHRASE}],
        }
        for number in range(50)
    ]
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1, "n_epochs": 3}}}
    done = tuned(client, rows, upload, model=taught.fine_tuned_model, method=method)
    assert done.fine_tuned_model.startswith("ft:starter:luthier:") and done.hyperparameters.n_epochs == 3
    last = next(event.data for event in client.fine_tuning.jobs.list_events(done.id, limit=50) if event.type == "metrics")
    assert last["train_loss"] < 0.3  # it began at log 2: the policy was its own reference


SAMPLE = '{"n": 8}'
CHECK = {"type": "string_check", "name": "exact", "operation": "eq", "input": "{{sample.output_json.n}}", "reference": "{{item.n}}"}
CODE = {"type": "python", "name": "code", "source": "def grade(sample, item):\n    return 1.0 if 'n' in sample['output_text'] else 0.0"}
SIMILAR = {
    "type": "text_similarity",
    "name": "near",
    "input": "{{sample.output_text}}",
    "reference": '{"n": 8}',
    "evaluation_metric": "fuzzy_match",
}
MULTI = {"type": "multi", "name": "both", "graders": {"exact": CHECK, "near": SIMILAR}, "calculate_output": "0.5 * exact + 0.5 * near"}


@pytest.mark.parametrize("grader", [CHECK, CODE, SIMILAR, MULTI], ids=lambda grader: str(grader["type"]))
def test_a_grader_is_validated_and_run(client: openai.OpenAI, grader: dict[str, Any]):
    assert client.fine_tuning.alpha.graders.validate(grader=grader).grader is not None  # type: ignore[arg-type]
    told = client.fine_tuning.alpha.graders.run(grader=grader, model_sample=SAMPLE, item={"n": 8})  # type: ignore[arg-type]
    assert told.reward == 1.0 and told.metadata.errors.other_error is False


def test_what_is_wrong_with_a_grader_or_an_answer_is_told(client: openai.OpenAI):
    graders = client.fine_tuning.alpha.graders
    with pytest.raises(openai.BadRequestError):
        graders.validate(grader={**MULTI, "calculate_output": "exact +"})  # type: ignore[arg-type]
    missing = graders.run(grader={**CHECK, "input": "{{item.nothing}}"}, model_sample=SAMPLE, item={"n": 8})  # type: ignore[arg-type]
    assert missing.reward == 0 and missing.metadata.errors.invalid_variable_error
    raising = {**CODE, "source": "def grade(sample, item):\n    raise ValueError('no')"}
    assert graders.run(grader=raising, model_sample=SAMPLE, item={}).metadata.errors.python_grader_runtime_error  # type: ignore[arg-type]
    calling = {
        **CODE,
        "source": "import socket\ndef grade(sample, item):\n    socket.create_connection(('127.0.0.1', 18321), 1)\n    return 1.0",
    }
    assert graders.run(grader=calling, model_sample=SAMPLE, item={}).reward == 0  # type: ignore[arg-type]


def test_reinforcement_is_paused_asked_and_resumed(client: openai.OpenAI, upload: Upload):
    rows = [{"messages": [{"role": "user", "content": f"Tell me of day {number}."}], "wanted": "the"} for number in range(12)]
    grader = {
        "type": "python",
        "name": "many",
        "source": "def grade(sample, item):\n    return min(1.0, sample['output_text'].count('e') / 20)",
    }
    settings = {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": 4, "eval_interval": 3, "eval_samples": 1}
    held_out = [{**row, "messages": [{"role": "user", "content": f"Tell me of night {number}."}]} for number, row in enumerate(rows[:4])]
    method = {"type": "reinforcement", "reinforcement": {"grader": grader, "hyperparameters": settings}}
    job = client.fine_tuning.jobs.create(
        model="starter",
        training_file=upload(rows),
        validation_file=upload(held_out),
        method=method,
        seed=1,  # type: ignore[arg-type]
    )
    while not any(event.message.startswith("Step 2/") for event in client.fine_tuning.jobs.list_events(job.id, limit=50)):
        assert client.fine_tuning.jobs.retrieve(job.id).status in ("validating_files", "queued", "running")
    client.fine_tuning.jobs.pause(job.id)
    while client.fine_tuning.jobs.retrieve(job.id).status == "running":
        pass
    assert client.fine_tuning.jobs.retrieve(job.id).status == "paused"
    snapshot = client.fine_tuning.jobs.checkpoints.list(job.id).data[0].fine_tuned_model_checkpoint
    assert answer(client, snapshot, "Tell me of day 3.")
    client.fine_tuning.jobs.resume(job.id)
    done = ended(client, job.id)
    assert done.status == "succeeded", done.error
    steps = [event.data for event in client.fine_tuning.jobs.list_events(job.id, limit=200) if event.type == "metrics"][::-1]
    assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))
    assert any("full_valid_mean_reward" in step for step in steps) and all("train_mean_reward" in step for step in steps)


def test_a_student_learns_from_what_its_teacher_stored(client: openai.OpenAI, upload: Upload, taught: Any):
    for number in range(12):
        asked = [{"role": "user", "content": f"What is the word number {number}?"}]
        client.chat.completions.create(
            model=taught.fine_tuned_model, messages=asked, temperature=0, max_tokens=24, store=True, metadata={"for": "student"}
        )
    stored = list(client.chat.completions.list(metadata={"for": "student"}, limit=5))
    rows = []
    for one in stored:
        question = client.chat.completions.messages.list(one.id).data[0].content
        rows.append(chat(str(question), str(one.choices[0].message.content)))
    assert len(rows) == 12
    student = tuned(client, rows, upload).fine_tuned_model
    assert answer(client, student, "What is the word number 3?") == answer(client, taught.fine_tuned_model, "What is the word number 3?")
