"""The rows that checking is measured on, and the clock."""

import json
from pathlib import Path

from benchmarks.checking import PLAIN, timed, write_rows


def test_rows_differ_but_for_those_that_repeat(tmp_path: Path):
    write_rows(tmp_path / "rows.jsonl", 100, repeat_every=10)
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert (len(lines), len(set(lines))) == (100, 90)
    assert [number for number in range(1, 100) if lines[number] == lines[number - 1]] == list(range(9, 100, 10))
    assert [turn["role"] for turn in json.loads(lines[0])["messages"]] == ["system", "user", "assistant"]


def test_a_process_is_timed(tmp_path: Path):
    write_rows(tmp_path / "rows.jsonl", 10)
    passed, computed, peak = timed(PLAIN, [str(tmp_path / "rows.jsonl")])
    assert passed > 0 and computed > 0 and 1 < peak < 1000
