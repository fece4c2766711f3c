"""Programs of others in environments of their own, as `make clients` makes them: where they are, and what they write."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "clients"
LIMIT_S = 480.0


def environment(name: str) -> Path:
    """Where it is installed. The test is skipped where it is not."""
    folder = ROOT / ".venv-clients" / name
    if not (folder / ".installed").is_file():
        pytest.skip(f"{name} is not installed: `make clients` installs it, given a package registry (and npm, for Node)")
    return folder


def out_of(*command: str | Path, env: dict[str, str], cwd: Path | None = None, stdin: Path | None = None) -> str:
    """What it writes, once it has ended well."""
    text = None if stdin is None else stdin.read_text(encoding="utf-8")
    words = [str(part) for part in command]
    done = subprocess.run(words, env=env, cwd=cwd, input=text, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def last_line(text: str) -> Any:
    return json.loads(text.strip().splitlines()[-1])
