"""One command in several processes that end together: what `--processes` does, and torchrun does elsewhere.

They find each other through a file, so that nothing listens to be found, and speak over loopback.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from luthier.errors import RunError, SettingsError

MEETING = "LUTHIER_MEETING"
"""Environment: the file. `engine/sharding.py` reads it."""

PERIOD_S = 0.05
GRACE_S = 5.0
"""For the others to end by themselves after one has failed."""

LOST = "Another process of this run has ended"
"""What those say that only lost another."""

PR_SET_PDEATHSIG = 1


def is_first() -> bool:
    """Whether this process is alone, or the one of several that speaks."""
    return os.environ.get("RANK", "0") == "0" or not are_several()


def are_several() -> bool:
    """Whether this process was started as one of several."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def run_in(processes: int, arguments: Sequence[str]) -> int:
    """`luthier ARGUMENTS` in so many processes; its exit code. Signals are passed on to all of them.

    Raises:
        RunError: one of them was killed, or failed for a reason of its own.
    """
    if are_several():
        raise SettingsError("`--processes` and torchrun would both start processes. Use one of them.")
    with tempfile.TemporaryDirectory(prefix="luthier-processes-") as folder:
        team = [_Member(rank, processes, arguments, Path(folder)) for rank in range(processes)]
        with _passing_on(team):
            _wait(team)
        _tell(team)
        return max(member.code for member in team)


class Killed(RunError):
    """A process was killed, not by this program."""


class _Member:
    """One process. The first speaks as the command itself would; of the others, what they say of errors is kept."""

    def __init__(self, rank: int, size: int, arguments: Sequence[str], folder: Path) -> None:
        self.rank, self.size = rank, size
        self.said: list[str] = []
        self.ended_here = False
        """Whether it was ended because of another."""
        threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // size)))
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, MEETING: folder / "meeting"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "luthier.cli", *arguments],
            env={**os.environ, **{name: str(value) for name, value in place.items()}, "OMP_NUM_THREADS": threads},
            stdin=subprocess.DEVNULL,
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a key pressed in the terminal reaches them once, through this process
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said = [*self.said[-30:], line]
            if self.rank == 0:
                sys.stderr.write(line)
                sys.stderr.flush()

    @property
    def code(self) -> int:
        """Of one that has ended."""
        self._listener.join(timeout=1)
        code = self.process.returncode
        return 1 if code < 0 else code

    @property
    def sentence(self) -> str | None:
        """What went wrong here and nowhere else."""
        if self.ended_here:
            return None
        if self.process.returncode < 0:
            name = signal.Signals(-self.process.returncode).name
            return (
                f"Process {self.rank + 1} of {self.size} was killed by {name}, and the others with it. The run is as it was at its last "
                f"checkpoint: go on with `luthier resume RUN --processes {self.size}`."
            )
        said = "".join(self.said).strip()
        own = self.process.returncode and self.rank and said and LOST not in said
        return f"Process {self.rank + 1} of {self.size} failed. {said}" if own else None


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def _passing_on(team: Sequence[_Member]) -> Iterator[None]:
    def send(number: int, frame: FrameType | None) -> None:
        for member in team:
            if member.process.poll() is None:
                member.process.send_signal(number)

    before = {number: signal.signal(number, send) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for member in team:
            if member.process.poll() is None:
                member.ended_here = True
                member.process.kill()
                member.process.wait()


def _wait(team: Sequence[_Member]) -> None:
    """Until all have ended, or one has failed and the others had time to end, too."""
    deadline = None
    while any(member.process.poll() is None for member in team):
        if deadline is None and any(member.process.poll() for member in team):
            deadline = time.monotonic() + GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            return
        time.sleep(PERIOD_S)


def _tell(team: Sequence[_Member]) -> None:
    """The first reason that the first process has not told already."""
    failed = [member for member in team if member.process.returncode]
    told = any(member.rank == 0 and member.process.returncode > 0 and LOST not in "".join(member.said) for member in failed if member.code)
    reasons = [sentence for member in sorted(failed, key=lambda m: m.process.returncode) if (sentence := member.sentence)]
    if reasons and not told:
        raise (Killed if failed and min(m.process.returncode for m in failed if not m.ended_here) < 0 else RunError)(reasons[0])
