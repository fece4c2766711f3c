"""The page about our own interface, as it stands: from chats to a model that has learned from thumbs, on a platform as a user starts it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.contract.conftest import Served, chat

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.slow


def test_the_page_runs(served: Served, tmp_path: Path):
    page = (ROOT / "docs/how-to/own-api.md").read_text(encoding="utf-8")
    loop, refusal = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    rows = [chat(f"What is {i} plus {i}?", f"It is {2 * i}, which is twice {i}.") for i in range(12)]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    environment = {**os.environ, "OPENAI_BASE_URL": served.url, "OPENAI_API_KEY": served.key}

    def said(program: str) -> str:
        command = [sys.executable, "-W", "ignore", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    planned, run, learned, compared = said(loop).splitlines()
    assert planned.startswith("True ") and "passed=True" in run
    assert re.fullmatch(r"\d+ ft:starter:luthier::\w{8}", learned) and int(learned.split()[0]) >= 10
    assert re.match(r"(a|b|None) value=[\d.]+ low=[\d.]+ high=[\d.]+ value=", compared), compared
    assert re.fullmatch(r"There is no run ftjob-nothing\. run_not_found req_\w+\n", said(refusal))
