"""A platform as a user starts it, `luthier serve` in a process of its own, and the unmodified `openai` client that talks to it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

START_S = 60.0
JOB_S = 240.0


@dataclass
class Served:
    """A running gateway. `url` ends in /v1."""

    url: str
    key: str
    home: Path
    process: subprocess.Popen[bytes]

    def client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(**{"base_url": self.url, "api_key": self.key, "max_retries": 0, **options})

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(60)


def serve(home: Path, *options: str, **environment: str) -> Served:
    """Start it, and read its address and first key from what it prints; the key of a home that has one already is kept in `home`."""
    env = {**os.environ, "LUTHIER_HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **environment}
    command = [sys.executable, "-m", "luthier.cli", "serve", "--port", "18321", *options]
    said, log = home.with_name(f"{home.name}.said"), home.with_name(f"{home.name}.log")
    with said.open("w") as out, log.open("a") as err:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=err, start_new_session=True)
    began = time.monotonic()
    while "Ctrl-C ends it" not in (told := said.read_text()):
        assert process.poll() is None and time.monotonic() - began < START_S, f"{told}\n{log.read_text()}"
        time.sleep(0.05)
    url = re.search(r"OPENAI_BASE_URL=(\S+)", told)
    assert url is not None, told
    kept = home / "first-key"
    if found := re.search(r"OPENAI_API_KEY=(lt-[\w-]+)", told):
        kept.write_text(found[1])
    return Served(url[1], kept.read_text(), home, process)


def pointed_at(served: Served, folder: Path) -> dict[str, str]:
    """Environment variables that point other programs at the gateway, and what they keep at a folder."""
    kept = dict.fromkeys(["HOME", "HF_HOME", "DSPY_CACHEDIR"], str(folder))
    ours = {"OPENAI_BASE_URL": served.url, "OPENAI_API_KEY": served.key, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "COLUMNS": "240"}
    return {**os.environ, **ours, **kept, "HF_DATASETS_OFFLINE": "1"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for all tests of a file; where a test fails, its log is shown."""
    home = tmp_path_factory.mktemp("platform") / "home"
    home.mkdir()
    running = serve(home)
    yield running
    running.stop()
    print(home.with_name("home.log").read_text()[-4000:])


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with served.client() as client:
        yield client


@pytest.fixture
def upload(client: openai.OpenAI) -> Callable[..., str]:
    """Rows as an uploaded training file: its id."""

    def send(rows: list[dict[str, Any]] | str, name: str = "train.jsonl") -> str:
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        return client.files.create(file=(name, text.encode()), purpose="fine-tune").id

    return send


def chat(question: str, answer: str, **more: Any) -> dict[str, Any]:
    """A row of a training file."""
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


def ended(client: openai.OpenAI, job: str, seconds: float = JOB_S) -> Any:
    """The job once it has ended, each status seen on the way one that may follow the one before."""
    following = {
        "validating_files": {"validating_files", "queued", "running", "succeeded", "failed", "cancelled"},
        "queued": {"queued", "running", "succeeded", "failed", "cancelled"},
        "running": {"running", "succeeded", "failed", "cancelled"},
    }
    began, status = time.monotonic(), "validating_files"
    while True:
        found = client.fine_tuning.jobs.retrieve(job)
        assert found.status in following.get(status, {status}), f"{found.status} after {status}"
        status = found.status
        if status not in following:
            return found
        assert time.monotonic() - began < seconds, f"{job} is still {status}: {client.fine_tuning.jobs.list_events(job).data}"
        time.sleep(0.3)
