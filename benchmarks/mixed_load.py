"""Minutes of everything at once: does the platform lose anything, or hold what nobody needs any more?

    python -m benchmarks.mixed_load                # ten minutes
    python -m benchmarks.mixed_load --minutes 1

A real `luthier serve` with the starter model and two adapters on it. Well-behaved clients beside slow, vanishing, silent and malformed
ones, and now and then more answers at once than may wait. After a warm-up, and at the end, everybody leaves, and what the processes hold
is compared. Ends with 1 where an answer was the server's fault, where something stayed, or where a process holds more than it may.
"""

import argparse
import asyncio
import random
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from benchmarks.inputs import CACHE
from benchmarks.mixed_clients import BEHAVED, OTHERS, Place, Seen
from benchmarks.results import as_table
from benchmarks.served import Server, ours
from luthier.text.folder import STARTER

MIB = 2**20
WARM_S = 30.0
"""Of load before the first look: pools of threads and connections, caches of keys and values, and the allocator's heaps are filled."""
IDLE_S = 90.0
"""In which everything that was under way has to end, once nobody asks any more."""
MORE_FDS, MORE_THREADS = 8, 8
"""What a process may hold more at the end than after the warm-up: pools breathe."""
MORE_BYTES = {"gateway": 48 * MIB, "sampler": 160 * MIB, "worker": 24 * MIB}
"""The sampler's rooms for keys and values go on growing to the largest crowd of long answers: each time by less, and not with requests."""
BUSY_SHARE = 0.15
"""Of a core: a sampler that computes more than that while nobody asks is drawing for somebody who left."""
FAULTS_SHOWN = 10


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    pid: int
    num_fds: int
    num_threads: int
    rss: int


@dataclass
class Outcome:
    """`before`: after the warm-up; `after`: at the end. `faults`: what must not have been, in sentences."""

    seen: Seen = field(default_factory=Seen)
    before: dict[str, Held] = field(default_factory=dict)
    after: dict[str, Held] = field(default_factory=dict)
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def run(seconds: float, scratch: Path, seed: int = 0) -> Outcome:
    """So many seconds of load, the warm-up not counted."""
    outcome = Outcome()
    with ours(STARTER, 2, scratch) as server:
        asyncio.run(_measured(server, seconds, outcome, seed))
        outcome.faults += _in_logs(server)
    outcome.faults += outcome.seen.faults + _grown(outcome)
    return outcome


async def _measured(server: Server, seconds: float, outcome: Outcome, seed: int) -> None:
    headers = {"authorization": f"Bearer {server.key}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=120.0) as client:
        made = await client.post(f"{server.url.removesuffix('/v1')}/api/keys", json={"role": "member", "name": "a crowd"})
        place = Place(server.url, server.key, made.json()["value"], ("starter", *server.names))
    await _load(place, WARM_S, outcome.seen, seed)
    outcome.faults += await _idle(place, server)
    outcome.before = _held(server)
    began = time.monotonic()
    await _load(place, seconds, outcome.seen, seed + 1)
    outcome.seconds = time.monotonic() - began
    outcome.faults += await _idle(place, server)
    outcome.after = _held(server)
    busy = await _busy_share(server)
    if busy > BUSY_SHARE:
        outcome.faults.append(f"The sampler computes with {busy:.0%} of a core although nobody asks.")


async def _load(place: Place, seconds: float, seen: Seen, seed: int) -> None:
    """Each kind of client again and again; of those that behave, two at once."""
    until = time.monotonic() + seconds
    headers = {"authorization": f"Bearer {place.key}"}
    async with httpx.AsyncClient(base_url=place.url, headers=headers, timeout=120.0) as client:

        async def again(name: str, number: int) -> None:
            draw, does = random.Random(f"{seed} {name} {number}"), {**BEHAVED, **OTHERS}[name]
            while time.monotonic() < until:
                try:
                    await does(place, client, draw, seen)
                except (httpx.HTTPError, ConnectionError) as error:
                    seen.note(name, 0, 200, f"{type(error).__name__}: {error}")
                await asyncio.sleep(draw.uniform(0.0, 0.2))

        await asyncio.gather(*(again(name, number) for name in [*BEHAVED, *OTHERS] for number in range(2 if name in BEHAVED else 1)))


async def _idle(place: Place, server: Server) -> list[str]:
    """Wait until nothing is under way. What still is after all that time, in sentences."""
    headers, url = {"authorization": f"Bearer {place.key}"}, f"{place.url.removesuffix('/v1')}/metrics"
    began = time.monotonic()
    while True:
        async with httpx.AsyncClient(headers=headers, timeout=60.0) as client:
            text = (await client.get(url)).text
        at_work = _figure(text, "luthier_sampler_running"), _figure(text, "luthier_sampler_waiting")
        failed = _figure(text, "luthier_sampler_failed_total")
        connected = sum(c.status == psutil.CONN_ESTABLISHED for c in psutil.Process(server.process.pid).net_connections("tcp"))
        if not any(at_work) and not connected:
            await asyncio.sleep(2.0)
            return [f"The sampler failed {failed:.0f} times."] if failed else []
        if time.monotonic() - began > IDLE_S:
            told = f"{at_work[0]:.0f} answers are being drawn, {at_work[1]:.0f} wait, and {connected} connections are open"
            return [f"{told} {IDLE_S:.0f} s after everybody left."]
        await asyncio.sleep(0.5)


def _figure(text: str, name: str) -> float:
    """One of /metrics."""
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"/metrics does not tell {name}:\n{text[-2000:]}")
    return float(found[1])


def _processes(server: Server) -> dict[str, psutil.Process]:
    """By what they are: the gateway, and what it started."""
    gateway = psutil.Process(server.process.pid)
    found = {"gateway": gateway}
    for child in gateway.children():
        line = child.cmdline()
        found |= {name: child for name in ("sampler", "worker") if name in line}
    return found


def _held(server: Server) -> dict[str, Held]:
    return {name: Held(p.pid, p.num_fds(), p.num_threads(), p.memory_info().rss) for name, p in _processes(server).items()}


async def _busy_share(server: Server) -> float:
    """Of a core that the sampler uses while nobody asks."""
    sampler = _processes(server)["sampler"]
    began = sum(sampler.cpu_times()[:2])
    await asyncio.sleep(3.0)
    return (sum(sampler.cpu_times()[:2]) - began) / 3.0


def _in_logs(server: Server) -> list[str]:
    """What the processes said of faults of their own."""
    assert server.home is not None
    logs = [server.log, *sorted(server.home.rglob("*.log"))]
    return [
        f"{log.name}: {text[max(0, found.start() - 200) : found.start() + 1500]}"
        for log in logs
        if (found := re.search(r"Traceback|ERROR|CRITICAL", text := log.read_text(encoding="utf-8", errors="replace")))
    ]


def _grown(outcome: Outcome) -> list[str]:
    """Which process holds more than it may, or is another one than before."""
    found = []
    for name, before in outcome.before.items():
        after = outcome.after.get(name)
        if after is None:
            found.append(f"The {name} is not there any more.")
            continue
        if after.pid != before.pid:
            found.append(f"The {name} was started again.")
        for what, more, most in (
            ("file descriptors", after.num_fds - before.num_fds, MORE_FDS),
            ("threads", after.num_threads - before.num_threads, MORE_THREADS),
            ("bytes of memory", after.rss - before.rss, MORE_BYTES[name]),
        ):
            if more > most:
                found.append(f"The {name} holds {more:,} {what} more than after the warm-up; {most:,} are allowed.")
    return found


def table(outcome: Outcome) -> str:
    """Who asked, and what was held."""
    kinds = sorted({kind for kind, _ in outcome.seen.answers})
    asked: list[Sequence[object]] = [("client", "answers, by status (0: hung up by itself)")]
    for kind in kinds:
        counts = sorted((status, number) for (found, status), number in outcome.seen.answers.items() if found == kind)
        asked.append((kind, ", ".join(f"{status}: {number:,}" for status, number in counts)))
    held: list[Sequence[object]] = [("process", "file descriptors", "threads", "memory (MiB)")]
    for name, before in outcome.before.items():
        after = outcome.after.get(name, before)
        memory = f"{before.rss / MIB:,.0f} → {after.rss / MIB:,.0f}"
        held.append((name, f"{before.num_fds} → {after.num_fds}", f"{before.num_threads} → {after.num_threads}", memory))
    return f"{as_table(asked)}\n\n{as_table(held)}"


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="of load, after half a minute of warm-up (default 10)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=CACHE)
    options = parser.parse_args(given)
    outcome = run(60 * options.minutes, options.cache / "mixed-load", options.seed)
    print(f"{outcome.seconds:.0f} s of load, {sum(outcome.seen.answers.values()):,} answers\n\n{table(outcome)}\n")
    for fault in outcome.faults[:FAULTS_SHOWN]:
        print(f"FAULT  {fault}")
    if outcome.faults:
        sys.exit(f"{len(outcome.faults)} faults.")
    print("No fault.")


if __name__ == "__main__":
    main()
