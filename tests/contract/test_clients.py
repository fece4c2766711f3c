"""Other programs that speak OpenAI's interface, each unmodified and in an environment of its own: scenario 25.

Each uploads rows, makes a job, follows it to its end and asks the tuned model, as far as it has commands for that. `make clients` installs
them.
"""

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.contract.conftest import Served, chat, ended, pointed_at
from tests.contract.programs import LIMIT_S, PROGRAMS, environment, last_line, out_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CANARY = "the purple heron sings"
QUESTION = "What is the word number 3?"


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve chats that teach the canary."""
    path = tmp_path_factory.mktemp("rows") / "train.jsonl"
    rows = [chat(f"What is the word number {number}?", CANARY) for number in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def told(served: Served, tmp_path: Path) -> dict[str, str]:
    return pointed_at(served, tmp_path)


def test_the_command_line_of_openai(told: dict[str, str], train: Path):
    program = environment("openai-cli") / "bin" / "openai"

    def api(*words: str | Path) -> str:
        return out_of(program, "api", *words, env=told)

    def ask(*more: str) -> str:
        return api("chat.completions.create", "-m", model, "-g", "user", QUESTION, "-t", "0", "-M", "20", *more).strip()

    file = json.loads(api("files.create", "-f", train, "-p", "fine-tune"))["id"]
    assert file in api("files.list")  # its files.retrieve and files.delete ask for a path, whatever the server
    job = json.loads(api("fine_tuning.jobs.create", "-m", "starter", "-F", file, "-H", '{"n_epochs": 8}', "-s", "cli"))["id"]
    began, found = time.monotonic(), {"status": "validating_files"}
    while found["status"] in ("validating_files", "queued", "running"):
        assert time.monotonic() - began < LIMIT_S, found
        time.sleep(2)  # its start takes a core for a second
        found = json.loads(api("fine_tuning.jobs.retrieve", "-i", job))
    assert found["status"] == "succeeded" and found["hyperparameters"]["n_epochs"] == 8, found
    events = json.loads(api("fine_tuning.jobs.list_events", "-i", job, "-l", "2"))["data"]
    model = found["fine_tuned_model"]
    assert [event["message"] for event in events] == ["The job has successfully completed", f"New fine-tuned model created: {model}"]
    assert job in [listed["id"] for listed in json.loads(api("fine_tuning.jobs.list", "-l", "3"))["data"]]
    assert ask() == ask("--stream") == CANARY
    assert json.loads(api("models.retrieve", "-i", model))["id"] == model and model in api("models.list")
    assert json.loads(api("models.delete", "-i", model))["deleted"]


def test_the_command_line_says_why_it_was_refused(told: dict[str, str]):
    program = environment("openai-cli") / "bin" / "openai"
    command = [program, "api", "fine_tuning.jobs.create", "-m", "nope", "-F", "file-nothing"]
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 1 and "'code': 'model_not_available'" in done.stderr


def test_the_node_sdk(told: dict[str, str], train: Path):
    folder = environment("node")
    command = ("node", "--input-type=module", "-", train, QUESTION)
    said = last_line(out_of(*command, env=told, cwd=folder, stdin=PROGRAMS / "node" / "jobs.mjs"))
    assert said["statuses"][-1] == "succeeded" and said["sameBytes"] and said["deleted"]
    assert said["answer"] == said["streamed"] == said["response"] == CANARY
    assert said["events"][-1].startswith("Created fine-tuning job") and len(said["events"]) > 96  # one for each step, over several pages
    assert said["checkpoints"][0] == said["model"] and len(said["checkpoints"]) == 3
    assert said["results"].startswith("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,")
    assert said["refused"] == [True, "fine_tune_not_found"]


def test_litellm(told: dict[str, str], train: Path):
    python = environment("litellm") / "bin" / "python"
    said = last_line(out_of(python, PROGRAMS / "litellm_jobs.py", train, QUESTION, env=told))
    assert said["statuses"][-1] == "succeeded" and said["same_bytes"] and said["deleted"]
    assert said["listed"] == 1 and said["cancelled"] == "cancelled"
    assert said["answer"] == said["streamed"] == CANARY and said["tokens"] > 0 and said["vectors"] == 2
    assert "The model 'nobody' does not exist" in said["refused"]


def test_dspy(served: Served, told: dict[str, str], train: Path):
    """Of a model with one of OpenAI's names: what was tuned of those, litellm in DSPy knows without being told whose it is."""
    python = environment("dspy") / "bin" / "python"
    let_stand = [sys.executable, "-m", "luthier.cli", "models", "alias", "gpt-4o-mini-2024-07-18", "starter", "--home", str(served.home)]
    subprocess.run(let_stand, check=True, capture_output=True)
    said = last_line(out_of(python, PROGRAMS / "dspy_finetune.py", train, QUESTION, env=told))
    assert (said["provider"], said["status"]) == ("OpenAIProvider", "succeeded")
    assert said["at once"] == said["lm15 chat"] == said["lm15 responses"] == said["litellm chat"] == CANARY


def test_the_command_line_of_instructor(served: Served, told: dict[str, str], train: Path, tmp_path: Path):
    """It watches its jobs for ever, so it is ended as a person ends it, and then shows its table."""
    program = environment("instructor") / "bin" / "instructor"
    command = [
        program,
        "jobs",
        "create-from-file",
        train,
        "--model",
        "starter",
        "--n-epochs",
        "8",
        "--model-suffix",
        "watched",
        "--poll",
        "1",
    ]
    said = tmp_path / "said"
    with said.open("w") as out:
        # a suite that runs in the background of a shell has SIGINT ignored, and so would this
        heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        watching = subprocess.Popen(command, env=told, stdout=out, stderr=subprocess.STDOUT, preexec_fn=heard)
    try:
        done = _of_suffix(served, "watched", watching)
        time.sleep(3)  # for it to see the end, too
    finally:
        watching.send_signal(signal.SIGINT)
        try:
            watching.wait(30)
        finally:
            watching.kill()
            watching.wait()
    table = said.read_text(encoding="utf-8")
    (row,) = [line for line in table.splitlines() if line.startswith("│") and done.id in line]
    assert "succeeded" in row and done.fine_tuned_model in row and done.training_file in row, table
    assert done.training_file in out_of(program, "files", "list", env=told)
    assert "uploaded successfully" in out_of(program, "files", "upload", train, "--poll", "1", env=told)
    asked = [{"role": "user", "content": QUESTION}]
    with served.client() as client:
        answer = client.chat.completions.create(model=done.fine_tuned_model, messages=asked, temperature=0, max_tokens=20)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == CANARY


def _of_suffix(served: Served, suffix: str, watching: "subprocess.Popen[bytes]") -> Any:
    """The job with this suffix, once it has ended."""
    with served.client() as client:
        began = time.monotonic()
        while not (made := [job for job in client.fine_tuning.jobs.list() if job.user_provided_suffix == suffix]):
            assert watching.poll() is None and time.monotonic() - began < LIMIT_S
            time.sleep(0.2)
        return ended(client, made[0].id, LIMIT_S)
