"""The end of a demo in a terminal, narrow or wide, and the command that draws a page."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from luthier.cli._results import show
from luthier.cli.main import run
from luthier.engine.folder import RunFolder
from luthier.errors import RunError
from luthier.recipes.page import Results
from luthier.testing import write_jsonl

VALIDATION = {"kind": "validation", "step": 0}
RECORD = {
    "status": "succeeded",
    "evaluation": {
        "before": {**VALIDATION, "loss": 2.5102, "token_accuracy": 0.45},
        "after": {**VALIDATION, "step": 9, "loss": 0.5132, "token_accuracy": 0.897},
    },
    "certificate": [{"step": 0, "fp32": 3.5e-7, "run_dtype": None, "noise": None, "num_rows": 4, "num_tokens": 452, "passed": True}],
    "tokens_per_second": 5290.4,
    "seconds": 96.2,
    "peak_memory_bytes": 731 * 2**20,
    "energy_wh_estimated": 0.0902,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "record.json").write_text(json.dumps(RECORD), encoding="utf-8")
    (tmp_path / "index.html").touch()
    line = {
        "question": "May I [pay] early?",
        "base": "No.",
        "base_finished": True,
        "tuned": "You can " * 30,
        "tuned_finished": True,
    }
    write_jsonl(tmp_path / "comparison.jsonl", [line])
    return tmp_path


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_demo_ends_with_answers_figures_page_and_three_commands(folder: Path, width: int):
    screen = io.StringIO()
    show(Console(file=screen, width=width), Results(RunFolder(folder), "runs/demo"))
    text = screen.getvalue()
    assert "“May I [pay] early?”" in text, "brackets are text, not markup"
    assert re.search(r"loss +2\.5102 +0\.5132", text) and re.search(r"token accuracy +45\.0 % +89\.7 %", text)
    assert "passed, checked once, exact to 1 part in 2.9 million" in " ".join(text.split())
    assert "1 min 36 s, 5,290 tokens/s" in text and "(an estimate)" in text and "runs/demo/index.html" in text
    assert all(f"  {command}\n" in text for command in ("luthier chat runs/demo", "luthier runs list"))
    assert "  luthier train sft --model starter --data YOUR_FILE.jsonl\n" in text
    assert max(map(len, text.splitlines())) <= max(width, 60)


def test_the_page_command_refuses_what_is_no_run(tmp_path: Path):
    with pytest.raises(RunError, match=r"holds no record\.json"):
        run(["page", str(tmp_path)])
