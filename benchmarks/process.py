"""A command, watched from outside: how long it takes, how much memory it holds at each moment, and when lines appear in a file."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

PERIOD_S = 0.05
"""Between two looks at a process; a look costs some ten microseconds."""

MEMORY_SHARE = 0.92
"""Of the machine's memory: a process that takes more is stopped, before the system stops something else."""

ROOT = Path(__file__).resolve().parent.parent
LOG_TAIL = 1500


class CommandFailed(Exception):
    """A command that ended badly, or took too much: one sentence, and the end of what it printed."""


@dataclass(frozen=True)
class Watched:
    """Times are in seconds since the epoch. `memory`: (when, resident bytes). `lines`: when each line of the watched file was there."""

    started: float
    ended: float
    peak_bytes: int
    memory: tuple[tuple[float, int], ...]
    lines: tuple[float, ...]

    @property
    def seconds(self) -> float:
        return self.ended - self.started

    def peak_within(self, spans: Sequence[tuple[float, float]]) -> int:
        """Most resident memory seen within any of these times; where no look fell into one, the highest of the nearest looks."""
        inside = [size for when, size in self.memory if any(begin <= when <= end for begin, end in spans)]
        nearest = [min(self.memory, key=lambda look: abs(look[0] - begin))[1] for begin, _ in spans]
        return max(inside or nearest)


def environment(threads: int) -> dict[str, str]:
    """No network, so many threads, nothing that talks."""
    told = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONPATH": str(ROOT),
    }
    return {**os.environ, **told}


def run(command: Sequence[str | Path], threads: int, log: Path, watch: Path | None = None) -> Watched:
    """Run to the end.

    Args:
        log: gets what the command prints. watch: a file whose lines are timed as they appear.
    Raises:
        CommandFailed: it ended with an error, or took nearly all of the machine's memory.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    limit = int(psutil.virtual_memory().total * MEMORY_SHARE)
    memory: list[tuple[float, int]] = []
    lines: list[float] = []
    with log.open("w", encoding="utf-8") as out:
        started = time.time()
        child = subprocess.Popen(
            [str(word) for word in command],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment(threads),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
        )
        looked_at = psutil.Process(child.pid)
        try:
            while (ended := os.wait4(child.pid, os.WNOHANG))[0] == 0:
                memory.append((time.time(), _resident(looked_at)))
                if memory[-1][1] > limit:
                    child.kill()
                if watch is not None:
                    lines += [time.time()] * (_num_lines(watch) - len(lines))
                time.sleep(PERIOD_S)
        except BaseException:
            child.kill()
            os.wait4(child.pid, 0)
            raise
        finished = time.time()
    _, status, usage = ended
    child.returncode = os.waitstatus_to_exitcode(status)
    if watch is not None:
        lines += [finished] * (_num_lines(watch) - len(lines))
    if max((size for _, size in memory), default=0) > limit:
        raise CommandFailed(f"it took more than {limit / 2**30:.1f} GiB of memory")
    if child.returncode:
        raise CommandFailed(f"it ended with {child.returncode}: …{log.read_text(encoding='utf-8', errors='replace')[-LOG_TAIL:]}")
    peak = max([usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), *(size for _, size in memory)])
    return Watched(started, finished, peak, tuple(memory) or ((started, peak),), tuple(lines))


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0


def _num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0
