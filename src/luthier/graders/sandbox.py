"""`Sandbox`: a user's `grade(sample, item)` in a process without network, home folder and rights, under limits. One grades many answers.

What holds it: namespaces (bubblewrap, else `unshare`), resource limits, a filter of system calls, a time limit a call, and a small tmpfs
as the only place to write to. Each call is a process of its own. Where no sandbox can be made, nothing is run.
"""

import contextlib
import functools
import json
import math
import os
import select
import signal
import subprocess
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field

from luthier.errors import GradingError
from luthier.graders import enclosure as enclosures
from luthier.graders.enclosure import INSTALL, KINDS, PRIVATE, Enclosure, Kind
from luthier.graders.room import Room
from luthier.spec.base import Spec

MIB = 1 << 20
START_S = 60.0
"""How long the sandbox may take to start and to import what the source imports."""
GRACE_S = 10.0
"""How much later than a call's own limit its answer may come before the sandbox itself counts as hung."""

Kinds = Literal["raised", "result", "time", "memory", "disk", "lost", "sandbox"]


class Limits(Spec):
    """What a Python grader may use. (OpenAI: 2 minutes, 2 GB of memory, 1 GB of disk, no network.)"""

    time_limit_s: float = Field(10.0, gt=0, le=3600)
    """Longest time for one answer, in seconds. An answer that takes longer scores 0, with the reason."""
    memory_mb: int = Field(2048, ge=64)
    """Memory of one call, in MiB of address space."""
    disk_mb: int = Field(64, ge=1)
    """Size of the private folder (where a call starts), in MiB. It lies in memory and is emptied after each call."""


@dataclass(frozen=True)
class Outcome:
    """A finite number, or why there is none: `fault` completes "the grader failed: …", `kind` says of which kind."""

    value: float = 0.0
    fault: str = ""
    kind: Kinds | None = None


class Sandbox:
    """Runs one source. The process starts with the first call and stays for the next ones; `close` ends it, and so does forgetting it."""

    def __init__(self, source: str, limits: Limits | None = None, enclosure: Enclosure | None = None) -> None:
        """Raises GradingError: no sandbox can be made on this machine; says what to install."""
        self.source, self.limits = source, limits or Limits()
        self.enclosure = enclosure or found()
        self._running: _Running | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._running is not None:
            self._running.end()
            self._running = None

    def run(self, calls: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[Outcome]:
        """`grade(sample, item)` for each, in order."""
        return [self._one(json.dumps({"sample": sample, "item": item}, default=str) + "\n") for sample, item in calls]

    def _one(self, line: str) -> Outcome:
        reply = self._asked(line)
        value, kind = reply.get("value"), reply.get("kind")
        if isinstance(value, int | float) and math.isfinite(value):
            return Outcome(float(value))
        return Outcome(fault=str(reply.get("fault", "it returned no number")), kind=kind or "result")

    def _asked(self, line: str) -> dict[str, Any]:
        """The reply, from a new sandbox where the old one has gone: after a call that left something behind, it ends itself."""
        for again in (True, False):
            if self._running is None:
                self._running = _Running(self.source, self.limits, self.enclosure)
            reply = self._running.ask(line)
            if "gone" not in reply:
                return reply
            fresh = self._running.asked == 1
            self.close()
            if fresh or not again:
                break
        return {"fault": str(reply["gone"]), "kind": "sandbox"}


class _Running:
    """The process of a sandbox."""

    def __init__(self, source: str, limits: Limits, enclosure: Enclosure) -> None:
        self.room = Room()
        self.limits, self.asked = limits, 0
        disk = limits.disk_mb * MIB
        self.process = subprocess.Popen(
            enclosure.command(disk),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"HOME": PRIVATE, "TMPDIR": PRIVATE, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"} | dict.fromkeys(THREADS, "1"),
            cwd="/",
            start_new_session=True,
        )
        self.end = weakref.finalize(self, _end, self.process, self.room)
        unshared = enclosure.kind == "unshare"
        self.first = {
            "source": source,
            "packages": enclosures.packages(),
            "room": self.room.path if unshared else "",
            "show": enclosure.show if unshared else (),
            "links": enclosure.links,
            "disk_bytes": disk,
            "memory_bytes": limits.memory_mb * MIB,
            "time_limit_s": limits.time_limit_s,
        }
        self.ready = self._exchange(json.dumps(self.first) + "\n", START_S)
        if "ready" not in self.ready:
            why = self.ready.get("fault") or self._last_words()
            self.end()
            raise GradingError(f"The sandbox of the Python grader did not start ({why}). {INSTALL}")

    def ask(self, line: str) -> dict[str, Any]:
        self.asked += 1
        return self._exchange(line, self.limits.time_limit_s + GRACE_S)

    def _exchange(self, line: str, timeout_s: float) -> dict[str, Any]:
        """The reply to a line; `gone` where the process is no more, or hangs."""
        assert self.process.stdin is not None and self.process.stdout is not None
        deadline = time.monotonic() + timeout_s
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
        except OSError:
            return {"gone": "the sandbox ended"}
        said = b""
        while not said.endswith(b"\n"):
            readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(self.process.stdout.fileno(), 1 << 16) if readable else b""
            if not part:
                return {"gone": "the sandbox ended" if readable else "the sandbox hung"}
            said += part
        reply: dict[str, Any] = json.loads(said)
        return reply

    def _last_words(self) -> str:
        assert self.process.stderr is not None
        _kill(self.process)
        lines = self.process.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else f"exit code {self.process.returncode}"


THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""One thread: a process forked while others run may hang."""


def _end(process: subprocess.Popen[bytes], room: Room) -> None:
    _kill(process)
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):  # what was still to be written to a process that is no more
            if pipe is not None:
                pipe.close()
    room.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def found() -> Enclosure:
    """What sandboxes are made with on this machine: the first kind that is installed and works.

    Raises:
        GradingError: none; says why, and what to install.
    """
    faults = []
    for kind in KINDS:
        working = tried(kind)
        if isinstance(working, Enclosure):
            return working
        faults.append(working)
    raise GradingError(f"A Python grader runs only in a sandbox, and none can be made here: {'; '.join(dict.fromkeys(faults))}. {INSTALL}")


@functools.cache
def tried(kind: Kind) -> Enclosure | str:
    """A kind that works here, or why it does not. Tried once a process, by grading with it."""
    one = enclosures.enclosure(kind)
    if isinstance(one, str):
        return one
    try:
        with Sandbox("def grade(sample, item): return 1", Limits(), one) as sandbox:
            (outcome,) = sandbox.run([({}, {})])
    except GradingError as error:
        return f"{kind} does not work ({error})"
    return one if outcome.value == 1 else f"{kind} does not work ({outcome.fault})"
