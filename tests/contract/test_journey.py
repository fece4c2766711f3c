"""The way of somebody who comes from OpenAI: one command, the old script, the old name of the model; and how the platform leaves."""

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from tests.contract.conftest import Served, chat, pointed_at, serve
from tests.contract.programs import PROGRAMS, last_line, out_of

import luthier

pytestmark = pytest.mark.slow

CANARY = "the purple heron sings"
NAME = "gpt-4o-mini-2024-07-18"
LONGEST_S = 120.0
"""From the command to an answer of the tuned model, on a usual machine of two cores."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """All of OpenAI's names stand for the starter model, and every request is logged."""
    home = tmp_path_factory.mktemp("platform") / "home"
    home.mkdir()
    running = serve(home, "--alias", "openai=starter", "--verbose")
    yield running
    running.stop()
    print(log_of(home)[-4000:])


def log_of(home: Path) -> str:
    """What the gateway and its worker said."""
    return home.with_name("home.log").read_text()


def test_the_old_script_with_the_old_name_has_a_tuned_model_within_two_minutes(served: Served, tmp_path: Path):
    rows = [chat(f"What is the word number {number}?", CANARY) for number in range(50)]
    train = tmp_path / "train.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    script = PROGRAMS / "openai_script.py"
    told = last_line(out_of(sys.executable, script, train, "What is the word number 3?", env=pointed_at(served, tmp_path)))
    took_s = time.time() - psutil.Process(served.process.pid).create_time()
    assert told["status"] == "succeeded", told
    assert re.fullmatch(rf"ft:{NAME}:luthier::[A-Za-z0-9]{{8}}", told["model"]) and CANARY in told["answer"]
    assert took_s < LONGEST_S, f"it took {took_s:.0f} s"


def test_no_secret_stands_in_a_log(served: Served, client: openai.OpenAI):
    """Nor in any other file of the home: of a key, the database has a hash."""
    client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "Hello"}], max_tokens=2)
    with pytest.raises(openai.AuthenticationError):
        served.client(api_key=f"{served.key}x").models.list()
    secret = (served.home / "secret").read_bytes().strip()
    assert served.key.startswith("lt-") and len(secret) >= 32
    holders = {"first-key": served.key.encode(), "secret": secret}
    files = [served.home.with_name("home.log"), *(path for path in served.home.rglob("*") if path.is_file())]
    assert {"home.log", "sampler.log", "luthier.db"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        assert [name for name, value in holders.items() if value in content and path != served.home / name] == [], path


def test_who_is_being_answered_when_it_is_asked_to_leave_hears_the_end(served: Served, client: openai.OpenAI):
    """SIGTERM after the first words: the stream goes on to its last event, the process leaves in order, and nobody new is let in."""
    ends = json.loads((Path(luthier.__file__).parent / "starter" / "generation_config.json").read_text())["eos_token_id"]
    body = {"model": NAME, "messages": [{"role": "user", "content": "Tell me a story."}], "stream": True, "max_tokens": 400}
    asked = {"json": {**body, "logit_bias": {str(end): -100 for end in ends}}, "headers": {"authorization": f"Bearer {served.key}"}}
    with httpx.stream("POST", f"{served.url}/chat/completions", timeout=60, **asked) as answer:
        events = (line.removeprefix("data: ") for line in answer.iter_lines() if line)
        before = [next(events) for _ in range(3)]
        served.process.terminate()
        after = list(events)
    assert json.loads(before[-1])["choices"][0]["finish_reason"] is None
    assert after[-1] == "[DONE]" and json.loads(after[-2])["choices"][0]["finish_reason"] == "length"
    assert served.process.wait(60) == 0
    with pytest.raises(openai.APIConnectionError):
        client.models.list()
