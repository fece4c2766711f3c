"""One command in several processes on a cluster of Ray's: what `--ray` does.

Ray finds the places, one for each process with a device of its own, and holds an actor in each that starts the process, hands its words
on and ends with it. How the processes then speak and what they hold is the same as with `--processes`.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

from luthier.cli._processes import MEETING, Member, conducted, end_with_parent, refuse_among_several
from luthier.errors import RunError, SettingsError

HERE = "local"
"""Instead of an address: a cluster of this machine alone, for as long as the command lasts."""

MACHINES = "LUTHIER_MACHINES"
"""Environment: on how many machines the processes are. `engine/sharding.py` reads it."""

PASSED_ON = ("LUTHIER_", "HF_", "OMP_", "GLOO_", "NCCL_", "TOKENIZERS_")
"""Beginnings of the environment's names that hold for the processes, too."""

KEPT_BACK = frozenset({"LUTHIER_SECRET", "LUTHIER_DATABASE", "LUTHIER_FILES", "LUTHIER_API_KEY", "HF_TOKEN"})
"""What no process of a training needs, and no cluster is told."""

PLACES_S = 120.0
"""How long places may be busy with something else."""

ANSWER_S = 10.0
"""How long a cluster may take to answer."""

PERIOD_S = 0.2
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Nothing is reported to anybody; where no GPU is asked for, what is visible stays as it is."""


def run_on(address: str, processes: int, arguments: Sequence[str]) -> int:
    """`luthier ARGUMENTS` in so many processes of a cluster; its exit code. Signals are passed on to all of them.

    Args:
        address: `HOST:PORT` of the cluster, `auto` for the one of this machine, or `local`.

    Raises:
        RunError: the cluster cannot be reached or has no room; a process was killed, or failed for a reason of its own.
    """
    refuse_among_several("--ray")
    with _cluster(address, processes) as ray:
        places = _places(ray, address, processes)
        actors = [ray.remote(Place).options(**place).remote() for place in places]
        found = ray.get([actor.where.remote() for actor in actors])
        machines = [node for node, _, _, _ in found]
        _, host, port, meeting = found[0]
        together = len(set(machines)) == 1
        meet = {MEETING: meeting} if together else {"MASTER_ADDR": host, "MASTER_PORT": str(port)}
        own = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON) and name not in KEPT_BACK}
        team: list[_There] = []
        for rank, (actor, machine) in enumerate(zip(actors, machines, strict=True)):
            size = {"RANK": rank, "WORLD_SIZE": processes, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, MACHINES: len(set(machines))}
            environment = {**own, **{name: str(value) for name, value in size.items()}, **meet}
            faulty = ray.get(actor.begin.remote(list(arguments), os.getcwd(), environment, machines.count(machine)))
            if faulty is not None:
                raise RunError(faulty)
            team.append(_There(rank, processes, f"--processes {processes} --ray {address}", ray, actor))
        return conducted(team)


def devices_of(address: str) -> int:
    """How many processes can train together there. Raises `RunError` where there is no cluster."""
    with _cluster(address, 1) as ray:
        there = ray.cluster_resources()
    return int(there.get("GPU") or there.get("CPU", 0))


@contextlib.contextmanager
def _cluster(address: str, processes: int) -> Iterator[Any]:
    """Ray, joined to a cluster, and left again."""
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    import ray

    own = {"include_dashboard": False, "num_cpus": max(processes, os.cpu_count() or 1)} if address == HERE else {}
    try:
        if ":" in address:  # Ray itself waits for minutes where nobody answers
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), ANSWER_S).close()
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
    except (OSError, RuntimeError, ValueError) as error:
        raise RunError(
            f"There is no Ray cluster at {address} that can be joined ({str(error).strip().partition(chr(10))[0]}). Start one with "
            f"`ray start --head`, and name its HOST:PORT; or take `--ray {HERE}`."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _places(ray: Any, address: str, processes: int) -> list[dict[str, Any]]:
    """Options of an actor for each process: all of them at once or none, on as few machines as can be.

    Raises:
        SettingsError: the cluster is too small. RunError: it is busy.
    """
    there = ray.cluster_resources()
    kind, word = ("GPU", "GPUs") if there.get("GPU") else ("CPU", "processors")
    if there.get(kind, 0) < processes:
        raise SettingsError(
            f"{processes} processes need {processes} {word}, and the cluster at {address} has {there.get(kind, 0):.0f}. Use as many."
        )
    each = {"CPU": 1, "GPU": 1} if kind == "GPU" else {"CPU": 1}
    group = ray.util.placement_group([each] * processes, strategy="PACK")
    if not group.wait(PLACES_S):
        raise RunError(f"The cluster at {address} has had no {processes} free {word} for {PLACES_S:.0f} s. Try again when others are done.")
    strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy
    options = {"num_cpus": 1, "num_gpus": each.get("GPU", 0), "max_restarts": 0}
    return [
        {**options, "scheduling_strategy": strategy(placement_group=group, placement_group_bundle_index=index)}
        for index in range(processes)
    ]


class Place:
    """An actor: a process of a run on some machine. Its methods return at once."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="luthier-ray-"))
        self.process: subprocess.Popen[str] | None = None
        self.printed: SimpleQueue[str] = SimpleQueue()
        self.said: SimpleQueue[str] = SimpleQueue()
        self.listeners: list[threading.Thread] = []

    def where(self) -> tuple[str, str, int, str]:
        """Machine, its address, a free port there, and a file in which processes of that machine can meet."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            port = int(free.getsockname()[1])
        return ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), port, str(self.folder / "meeting")

    def begin(self, arguments: Sequence[str], folder: str, environment: Mapping[str, str], together: int) -> str | None:
        """Start it in `folder`, one of so many `together` on this machine; or a sentence that says why not."""
        if not os.path.isdir(folder):
            return (
                f"The machine {socket.gethostname()} of the cluster has no folder {folder}. Start the run from a disk that all machines "
                f"see at the same place; its data, its model and its results must lie there, too."
            )
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // together)), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "luthier.cli", *arguments],
            cwd=folder,
            env={**os.environ, **threads, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,
        )
        for stream, lines in ((self.process.stdout, self.printed), (self.process.stderr, self.said)):
            assert stream is not None
            self.listeners.append(threading.Thread(target=_gather, args=(stream, lines), daemon=True))
            self.listeners[-1].start()
        return None

    def look(self) -> tuple[int | None, list[str], list[str]]:
        """Its exit code once it has ended, and the lines that it has printed and said of errors since the last look."""
        assert self.process is not None
        code = self.process.poll()
        if code is not None:
            for listener in self.listeners:
                listener.join(timeout=1)
            shutil.rmtree(self.folder, ignore_errors=True)
        return code, _taken(self.printed), _taken(self.said)

    def signal(self, number: int) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


def _gather(stream: TextIO, lines: "SimpleQueue[str]") -> None:
    for line in stream:
        lines.put(line)


def _taken(lines: "SimpleQueue[str]") -> list[str]:
    return [lines.get() for _ in range(lines.qsize())]


class _There(Member):
    """A process on a machine of the cluster, through its actor."""

    def __init__(self, rank: int, size: int, again: str, ray: Any, actor: Any) -> None:
        super().__init__(rank, size, again)
        self.process = _Remote(self, ray, actor)


class _Remote:
    """As `subprocess.Popen`. An actor that has died took its process with it."""

    def __init__(self, member: Member, ray: Any, actor: Any) -> None:
        self.member, self.ray, self.actor = member, ray, actor
        self.returncode: int | None = None
        self._asked: list[int] = []
        self._looked = -float("inf")

    def send_signal(self, sig: int) -> None:
        """At the next look: this may stand in a signal's handler, in the middle of anything."""
        self._asked.append(sig)

    def poll(self) -> int | None:
        if self.returncode is None and time.monotonic() - self._looked >= PERIOD_S:
            self._looked = time.monotonic()
            try:
                while self._asked:
                    self.ray.get(self.actor.signal.remote(self._asked.pop(0)))
                code, printed, said = self.ray.get(self.actor.look.remote())
            except self.ray.exceptions.RayActorError:
                self.returncode = -signal.SIGKILL
                return self.returncode
            if self.member.rank == 0:
                sys.stdout.write("".join(printed))
                sys.stdout.flush()
            for line in said:
                self.member.hear(line)
            self.returncode = code
        return self.returncode

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self) -> int:
        while (code := self.poll()) is None:
            time.sleep(PERIOD_S)
        return code
