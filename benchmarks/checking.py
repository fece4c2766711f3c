"""How long `luthier check` takes on a million rows, beside a plain pass that reads each line and decodes its JSON.

    python -m benchmarks.checking                    # 1,000,000 rows, 420 MB
    python -m benchmarks.checking --rows 100000

Each side is a process of its own; they take turns, and ratios are taken within a round.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

WORDS = 45
"""Words of a row, half of them its answer."""

PLAIN = "import json, sys\nwith open(sys.argv[1], 'rb') as file:\n    for line in file:\n        json.loads(line)\n"
CHECK = "import sys\nfrom luthier.cli.main import main\nmain(['check', *sys.argv[1:], '--json'])"


def write_rows(path: Path, number: int, seed: int = 0, repeat_every: int = 0) -> None:
    """Chat rows of about 430 bytes, all different but every `repeat_every`-th, which is the row before it."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(8000)]
    row = ""
    with path.open("w", encoding="utf-8") as file:
        for i in range(1, number + 1):
            if not (repeat_every and i % repeat_every == 0):
                said = draw.choices(words, k=WORDS)
                row = _row(f"Question {i}: {' '.join(said[: WORDS // 2])}?", f"{' '.join(said[WORDS // 2 :])}.")
            file.write(row)


def _row(question: str, answer: str) -> str:
    turns = (("system", "You are a helpful assistant."), ("user", question), ("assistant", answer))
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]}) + "\n"


WATCH = """
import json, resource, subprocess, sys
returned = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([returned, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""
"""A small process between: the peak of a process counts what its parent held when it was forked."""


def timed(code: str, arguments: Sequence[str]) -> tuple[float, float, float]:
    """(seconds that passed, seconds computed, MiB at the peak) of one process."""
    started = time.perf_counter()
    command = [sys.executable, "-c", WATCH, sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    returned, computed, peak = json.loads(done.stdout)
    assert returned in (0, 1), f"ended with {returned}"  # 1: there are errors in the rows
    return time.perf_counter() - started, computed, peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    sides = {"read and decode": (PLAIN, ()), "check": (CHECK, ()), "check --near-duplicates": (CHECK, ("--near-duplicates",))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, given.rows)
        print(f"{given.rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB")
        for number in range(1, given.rounds + 1):
            plain = 0.0
            for name, (code, options) in sides.items():
                passed, computed, peak = timed(code, [str(path), *options])
                plain = plain or passed
                print(f"round {number}  {name:24} {passed:6.1f} s ({computed:.1f} s computed)  {passed / plain:4.1f} ×  {peak:6,.0f} MiB")


if __name__ == "__main__":
    main()
