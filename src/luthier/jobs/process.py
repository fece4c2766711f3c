"""A job's own process: `luthier work FOLDER`, in a process group that ends as one, and that does not outlive its worker."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OUTCOME, LOG = "outcome.json", "work.log"
"""In the job's folder: how the process ended, in its own words; and what it printed."""

PR_SET_PDEATHSIG = 1
PERIOD_S = 1.0


@dataclass(frozen=True)
class Outcome:
    """How a job's process ended. `status`: valid, succeeded, paused or failed. `again`: it failed in a way that is worth another try.

    `details`: what it found out, by name. `error`: of a fine-tuning job that failed, `code`, `message` and `param` as OpenAI has them.
    """

    status: str
    message: str
    again: bool = False
    details: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None

    def write(self, folder: Path) -> None:
        """Whole or not at all."""
        partial = folder / f".{OUTCOME}.partial"
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        partial.replace(folder / OUTCOME)


class Work:
    """The process of one job. `validate`: only whether it could run."""

    def __init__(self, folder: Path, validate: bool) -> None:
        self.folder = folder
        (folder / OUTCOME).unlink(missing_ok=True)
        command = [sys.executable, "-m", "luthier.cli", "work", str(folder), "--parent", str(os.getpid())]
        with (folder / LOG).open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--validate"] if validate else command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a group of its own: whatever it starts ends with it
            )

    def outcome(self) -> Outcome | None:
        """None while it works. A process that ended without a word was killed."""
        code = self.process.poll()
        if code is None:
            return None
        self.kill()  # what it may have left behind
        try:
            return Outcome(**json.loads((self.folder / OUTCOME).read_text(encoding="utf-8")))
        except FileNotFoundError:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            return Outcome("failed", f"The job's process {how} without a word; {LOG} in its folder holds what it printed.", again=True)

    def stop(self) -> None:
        """Ask it to save its state and leave."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the whole group at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return  # all of it has ended
        if number == signal.SIGKILL:
            self.process.wait()


def die_with(parent: int, exit_now: Callable[[int], None] = os._exit) -> None:
    """Called by a job's process: ends it when its worker ends, however that happens. At once on Linux, else within a second."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we could ask
        exit_now(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PERIOD_S)
        exit_now(1)

    if sys.platform != "linux":
        threading.Thread(target=watch, daemon=True).start()
