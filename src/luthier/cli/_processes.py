"""One command in several processes that end together: what `--processes` does, torchrun elsewhere, and Ray on a cluster (`_ray.py`).

Those of one machine find each other through a file, so that nothing listens to be found, and speak over loopback.
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
from typing import Protocol

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
    refuse_among_several("--processes")
    with tempfile.TemporaryDirectory(prefix="luthier-processes-") as folder:
        return conducted([_Here(rank, processes, arguments, Path(folder)) for rank in range(processes)])


def run_several(processes: int, ray: str | None, arguments: Sequence[str]) -> int:
    """The same here, or on the Ray cluster at the address `ray`."""
    if ray is None:
        return run_in(processes, arguments)
    from luthier.cli._ray import run_on

    return run_on(ray, processes, arguments)


def refuse_among_several(option: str) -> None:
    """Raises `SettingsError` in a process that was started as one of several."""
    if are_several():
        raise SettingsError(f"`{option}` and torchrun would both start processes. Use one of them.")


def conducted(team: "Sequence[Member]") -> int:
    """Wait for processes that were started, pass signals on to them, and tell what went wrong; their exit code.

    Raises:
        RunError: one of them was killed, or failed for a reason of its own.
    """
    with _passing_on(team):
        _wait(team)
    _tell(team)
    return max(member.code for member in team)


class Killed(RunError):
    """A process was killed, not by this program."""


class Process(Protocol):
    """A process, here or elsewhere, as `subprocess.Popen` has it."""

    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...
    def wait(self) -> int: ...


class Member:
    """One process of several. The first speaks as the command itself would; of the others, what they say of errors is kept.

    `again`: the options with which `luthier resume` goes on like this.
    """

    process: Process

    def __init__(self, rank: int, size: int, again: str) -> None:
        self.rank, self.size, self.again = rank, size, again
        self.said: list[str] = []
        self.ended_here = False
        """Whether it was ended because of another."""

    def hear(self, line: str) -> None:
        """What it says of errors."""
        self.said = [*self.said[-30:], line]
        if self.rank == 0:
            sys.stderr.write(line)
            sys.stderr.flush()

    def settle(self) -> None:
        """Wait until all that it said was heard."""

    @property
    def failed(self) -> int:
        """The exit code of one that has ended; minus the signal that killed it."""
        assert self.process.returncode is not None
        return self.process.returncode

    @property
    def code(self) -> int:
        """The same for a shell."""
        self.settle()
        return 1 if self.failed < 0 else self.failed

    @property
    def sentence(self) -> str | None:
        """What went wrong here and nowhere else."""
        if self.ended_here:
            return None
        if self.failed < 0:
            return (
                f"Process {self.rank + 1} of {self.size} was killed by {signal.Signals(-self.failed).name}, and the others with it. The "
                f"run is as it was at its last checkpoint: go on with `luthier resume RUN {self.again}`."
            )
        said = "".join(self.said).strip()
        own = self.failed and self.rank and said and LOST not in said
        return f"Process {self.rank + 1} of {self.size} failed. {said}" if own else None


class _Here(Member):
    """A process on this machine."""

    def __init__(self, rank: int, size: int, arguments: Sequence[str], folder: Path) -> None:
        super().__init__(rank, size, f"--processes {size}")
        threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // size)))
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, MEETING: folder / "meeting"}
        self.process = self._started = subprocess.Popen(
            [sys.executable, "-m", "luthier.cli", *arguments],
            env={**os.environ, **{name: str(value) for name, value in place.items()}, "OMP_NUM_THREADS": threads},
            stdin=subprocess.DEVNULL,
            stdout=None if rank == 0 else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a key pressed in the terminal reaches them once, through this process
            preexec_fn=end_with_parent if sys.platform == "linux" else None,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._started.stderr is not None
        for line in self._started.stderr:
            self.hear(line)

    def settle(self) -> None:
        self._listener.join(timeout=1)


def end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def _passing_on(team: Sequence[Member]) -> Iterator[None]:
    def send(number: int, frame: FrameType | None) -> None:
        for member in team:
            if member.process.returncode is None:
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


def _wait(team: Sequence[Member]) -> None:
    """Until all have ended, or one has failed and the others had time to end, too."""
    deadline = None
    while any(member.process.poll() is None for member in team):
        if deadline is None and any(member.process.poll() for member in team):
            deadline = time.monotonic() + GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            return
        time.sleep(PERIOD_S)


def _tell(team: Sequence[Member]) -> None:
    """The first reason that the first process has not told already."""
    failed = [member for member in team if member.process.returncode]
    told = any(member.rank == 0 and member.failed > 0 and LOST not in "".join(member.said) for member in failed if member.code)
    reasons = [sentence for member in sorted(failed, key=lambda m: m.failed) if (sentence := member.sentence)]
    if reasons and not told:
        raise (Killed if min(m.failed for m in failed if not m.ended_here) < 0 else RunError)(reasons[0])
