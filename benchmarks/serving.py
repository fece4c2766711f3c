"""The server under load: Luthier's gateway and sampler beside `transformers serve` with continuous batching, in alternation, over loopback.

    python -m benchmarks.serving                                   # 15M and 125M shapes, 1, 8, 32, 64 clients, 1 and 100 adapters: 20 min
    python -m benchmarks.serving --shapes m15 --clients 32 --rounds 3
    python -m benchmarks.serving --shapes tiny --clients 2 --adapters 2 --seconds 3      # does the benchmark itself work?

Each client asks for an answer of 64 tokens as a stream, and asks again when it has it. Counted: tokens a second of all clients, and from a
request to its first token; meanwhile Luthier is asked for GET /v1/models ten times a second. The peer serves the base alone, with those of
its types of number and attention functions that a short search finds the fastest. The table goes to `results/serving.json` and `.md`, but
for toys.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx
import msgspec

from benchmarks import peer as peers
from benchmarks.inputs import CACHE, model_of
from benchmarks.results import FOLDER, Spread, as_table
from benchmarks.rows import sentence
from benchmarks.served import PEER_SWEEP, PeerSettings, Server, ours, peer
from benchmarks.shapes import SHAPES

NEW = 64
WARM_S, SEARCHED_S = 4.0, 6.0
RESULTS = FOLDER / "serving.json"
TOYS = {"tiny"}


@dataclass
class Load:
    """What clients saw. `first`: seconds from a request to its first token; `listed`: of GET /v1/models."""

    tokens: int = 0
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    listed: list[float] = field(default_factory=list)
    failures: int = 0

    @property
    def speed(self) -> float:
        return self.tokens / self.seconds


async def loaded(server: Server, clients: int, seconds: float) -> Load:
    """So many clients, for so many seconds; answers under way at the end are counted as far as they have come."""
    load, until = Load(), time.perf_counter() + seconds
    headers = {"authorization": f"Bearer {server.key}"}
    limits = httpx.Limits(max_connections=clients + 4)
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=120.0, limits=limits) as client:
        began = time.perf_counter()
        tasks = [asyncio.create_task(_client(client, server, number, until, load)) for number in range(clients)]
        if server.home is not None:  # the peer's list is that of its cache, for which it asks the network
            tasks.append(asyncio.create_task(_lister(client, until, load)))
        await asyncio.gather(*tasks)
        load.seconds = time.perf_counter() - began
    return load


async def _client(client: httpx.AsyncClient, server: Server, number: int, until: float, load: Load) -> None:
    turn = 0
    while time.perf_counter() < until:
        turn += 1
        body = {
            "model": server.names[(number + turn) % len(server.names)],
            "messages": [{"role": "user", "content": sentence(random.Random(number * 1000 + turn))}],
            "max_tokens": NEW,
            "temperature": 1.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        asked, first, pieces, told = time.perf_counter(), None, 0, None
        try:
            async with client.stream("POST", "/chat/completions", json=body) as answer:
                if answer.status_code != 200:
                    load.failures += 1
                    await asyncio.sleep(0.1)
                    continue
                async for line in answer.aiter_lines():
                    load.failures += line.startswith('data: {"error"')
                    if time.perf_counter() > until:
                        break
                    if '"content":' in line and '"content":""' not in line.replace(" ", ""):
                        first = first or time.perf_counter() - asked
                        pieces += 1
                    if '"completion_tokens":' in line:
                        told = (json.loads(line.removeprefix("data: ")).get("usage") or {}).get("completion_tokens")
        except httpx.HTTPError:
            load.failures += 1
        load.tokens += told if told is not None else pieces  # an answer that was cut off at the end: a piece is a token, or nearly
        if first is not None:
            load.first.append(first)


async def _lister(client: httpx.AsyncClient, until: float, load: Load) -> None:
    while time.perf_counter() < until:
        asked = time.perf_counter()
        try:
            answer = await client.get("/models")
        except httpx.HTTPError:
            load.failures += 1
        else:
            load.failures += answer.status_code != 200
            load.listed.append(time.perf_counter() - asked)
        await asyncio.sleep(0.1)


class Row(msgspec.Struct, frozen=True):
    """One row of the table. Speeds are tokens a second, by round; `ratios` ours over the peer's of the same round."""

    shape: str
    clients: int
    adapters: int
    ours: tuple[float, ...]
    peer: tuple[float, ...]
    ratios: tuple[float, ...]
    first_p50_s: float
    first_p99_s: float
    peer_first_p50_s: float | None
    peer_first_p99_s: float | None
    models_p99_s: float
    failures: int
    peer_failures: int
    peer_settings: str
    measured: str


def measured(shape: str, options: argparse.Namespace) -> list[Row]:
    """One shape: the search for the peer's settings, then both sides in alternation."""
    folder = model_of(shape, options.cache, os.cpu_count() or 1).folder
    found: dict[tuple[int, int], list[Load]] = {}
    beside: dict[int, list[Load]] = {}
    settings = searched(folder, max(options.clients), options) if options.peer else None
    for _ in range(options.rounds):
        for adapters in options.adapters:
            with ours(folder, adapters, options.cache / "serving", "--no-worker") as server:
                for clients, load in _all_loads(server, options):
                    found.setdefault((clients, adapters), []).append(load)
        if settings is not None:
            with peer(folder, settings, options.cache / "serving-peer") as server:
                for clients, load in _all_loads(server, options):
                    beside.setdefault(clients, []).append(load)
    return [_row(shape, key, loads, beside.get(key[0], []), settings) for key, loads in sorted(found.items())]


def _all_loads(server: Server, options: argparse.Namespace) -> list[tuple[int, Load]]:
    """Each number of clients, after a short time that loads the model, and the adapters that it meets."""
    asyncio.run(loaded(server, 2, min(WARM_S, options.seconds)))
    return [(clients, asyncio.run(loaded(server, clients, options.seconds))) for clients in options.clients]


def searched(folder: Path, clients: int, options: argparse.Namespace) -> PeerSettings:
    """The settings with which the peer is the fastest. Raises `SystemExit` where it serves with none of them."""
    speeds: dict[PeerSettings, float] = {}
    for settings in PEER_SWEEP:
        try:
            with peer(folder, settings, options.cache / "serving-peer") as server:
                asyncio.run(loaded(server, 2, min(WARM_S, options.seconds)))
                load = asyncio.run(loaded(server, clients, min(SEARCHED_S, options.seconds)))
        except AssertionError as error:  # it did not start
            print(f"  the peer with {settings}: {str(error)[-300:]}", flush=True)
            continue
        speeds[settings] = load.speed
        print(f"  the peer with {settings}: {load.speed:,.0f} tokens/s, {load.failures} failures", flush=True)
    if not any(speeds.values()):
        raise SystemExit(f"`transformers serve` answers with none of its settings. {options.cache / 'serving-peer' / 'peer.log'} says why.")
    return max(speeds, key=lambda settings: speeds[settings])


def _row(shape: str, key: tuple[int, int], loads: list[Load], beside: list[Load], settings: PeerSettings | None) -> Row:
    first, other = ([s for load in side for s in load.first] for side in (loads, beside))
    return Row(
        shape=shape,
        clients=key[0],
        adapters=key[1],
        ours=tuple(load.speed for load in loads),
        peer=tuple(load.speed for load in beside),
        ratios=tuple(a.speed / b.speed for a, b in zip(loads, beside, strict=False) if b.speed),
        first_p50_s=_at(first, 0.5),
        first_p99_s=_at(first, 0.99),
        peer_first_p50_s=_at(other, 0.5) if other else None,
        peer_first_p99_s=_at(other, 0.99) if other else None,
        models_p99_s=_at([s for load in loads for s in load.listed], 0.99),
        failures=sum(load.failures for load in loads),
        peer_failures=sum(load.failures for load in beside),
        peer_settings="" if settings is None else str(settings),
        measured=datetime.now().isoformat(timespec="minutes"),
    )


def _at(values: Sequence[float], share: float) -> float:
    """A quantile; 0 of nothing."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    head = ("shape", "clients", "adapters", "tokens/s", "peer's", "ratio", "first token p50, p99", "peer's", "/v1/models p99", "failed")
    peers_set = sorted({f"{row.shape}: {row.peer_settings}" for row in rows if row.peer_settings})
    return as_table([head, *map(_cells, rows)]) + (f"\n\nThe peer, at its fastest: {'; '.join(peers_set)}." if peers_set else "")


def _cells(row: Row) -> tuple[object, ...]:
    theirs = "" if row.peer_first_p50_s is None else _span(row.peer_first_p50_s, row.peer_first_p99_s or 0.0)
    return (
        row.shape,
        row.clients,
        row.adapters,
        f"{statistics.median(row.ours):,.0f}",
        f"{statistics.median(row.peer):,.0f}" if row.peer else "",
        Spread.of(row.ratios).text(1, "×") if row.ratios else "",
        _span(row.first_p50_s, row.first_p99_s),
        theirs,
        f"{row.models_p99_s * 1000:,.0f} ms",
        f"{row.failures}, the peer's {row.peer_failures}" if row.peer else row.failures,
    )


def _span(middle: float, end: float) -> str:
    return f"{middle * 1000:,.0f}, {end * 1000:,.0f} ms"


def keep(rows: Sequence[Row], path: Path) -> list[Row]:
    """The results file, with these rows in the place of earlier ones."""
    known = msgspec.json.decode(path.read_bytes(), type=list[Row]) if path.is_file() else []
    new = {(row.shape, row.clients, row.adapters) for row in rows}
    kept = sorted([*(row for row in known if (row.shape, row.clients, row.adapters) not in new), *rows], key=_order)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
    path.with_suffix(".md").write_text(table(kept) + "\n", encoding="utf-8")
    return kept


def _order(row: Row) -> tuple[int, int, int]:
    return SHAPES[row.shape].num_parameters, row.clients, row.adapters


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["m15", "m125"])
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 32, 64])
    parser.add_argument("--adapters", nargs="+", type=int, default=[0, 1, 100], help="0: the base itself")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True, help="measure `transformers serve`, too")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, help=f"the results file (default: {RESULTS.name}; of toys, beside the models)")
    options = parser.parse_args(given)
    if options.peer:
        peers.install()
    out = options.out or (options.cache / "quick" / RESULTS.name if TOYS & set(options.shapes) else RESULTS)
    for shape in options.shapes:
        print(f"{SHAPES[shape].title}", flush=True)
        rows = keep(measured(shape, options), out)
    print(f"{table(rows)}\n\n{out}")


if __name__ == "__main__":
    main()
