"""A million rows: counted right, in bounded memory. (How long it takes is measured by benchmarks/checking.py.)"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from benchmarks.checking import CHECK, timed, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROWS = 1_000_000


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """At least 400 MB, in which every 1,000th row repeats the one before it."""
    path = tmp_path_factory.mktemp("million") / "rows.jsonl"
    write_rows(path, ROWS, repeat_every=1000)
    assert path.stat().st_size >= 400e6
    return path


def checked(path: Path, options: Sequence[str] = ()) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", CHECK, str(path), *options], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)["report"]
    return report


def test_a_million_rows_are_counted(million: Path):
    report = checked(million)
    assert (report["rows"], report["different"], sum(part["count"] for part in report["lengths"]["bins"])) == (ROWS, ROWS - 1000, ROWS)
    (finding,) = report["findings"]
    assert (finding["code"], finding["count"]) == ("duplicate-rows", 1000)
    assert finding["places"] == [f"{million}:{line}" for line in (1000, 2000, 3000, 4000, 5000)]


def test_a_million_rows_take_less_than_a_gigabyte(million: Path):
    _, _, peak = timed(CHECK, [str(million)])
    assert peak < 1000


def test_near_duplicates_take_less_than_two_gigabytes(million: Path):
    _, _, peak = timed(CHECK, [str(million), "--near-duplicates"])
    assert peak < 2000


def test_a_million_identical_rows(tmp_path: Path):
    row = json.dumps(
        {"messages": [{"role": "user", "content": "How do I change my PIN?"}, {"role": "assistant", "content": "At any machine."}]}
    )
    path = tmp_path / "same.jsonl"
    path.write_text((row + "\n") * ROWS)
    report = checked(path, ["--near-duplicates", "--fix", str(tmp_path / "clean.jsonl")])
    assert (report["rows"], report["different"]) == (ROWS, 1)
    assert report["fixed"]["left_out"] == [{"why": "the same as an earlier row", "count": ROWS - 1, "lines": [[2, ROWS]]}]
    assert (tmp_path / "clean.jsonl").read_text() == row + "\n"
