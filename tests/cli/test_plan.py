"""`luthier plan` as a person and as a program sees it."""

import json
from pathlib import Path

from typer.testing import CliRunner

from luthier.cli.main import build_app

RUNNER = CliRunner()


def called(*arguments: str) -> tuple[int, str]:
    result = RUNNER.invoke(build_app("plan"), ["plan", *arguments], standalone_mode=False)
    assert result.exception is None, result.exception
    return result.return_value or 0, result.stdout


def test_a_plan_begins_with_the_verdict_and_names_the_peak(toy_folder: Path, toy_rows: Path):
    code, text = called("--model", str(toy_folder), "--data", str(toy_rows), "--price", "0.5", "train.dtype=float32")
    assert code == 0
    assert text.startswith("✓ It fits into")
    for words in ("← peak", "training step", "certificate", "checkpoints", "€ at 0.5 €/h"):
        assert words in text


def test_what_does_not_fit_exits_with_1_and_says_so(toy_folder: Path, toy_rows: Path):
    code, text = called("--model", str(toy_folder), "--data", str(toy_rows), "--fit", "1MB", "train.dtype=float32")
    assert code == 1
    assert text.startswith("✗ It does not fit into 1MB")


def test_json_holds_every_figure(toy_folder: Path, toy_rows: Path):
    code, text = called("--model", str(toy_folder), "--data", str(toy_rows), "--json", "train.dtype=float32")
    found = json.loads(text)
    assert code == 0
    assert found["peak"] in [phase["name"] for phase in found["phases"]]
    assert found["peak_bytes"] == max(phase["bytes"] for phase in found["phases"])
    assert found["proposed"] is None
