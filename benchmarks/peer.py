"""TRL from outside: its environment, its sweep, and one measured run."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks.cases import ALPHA, LEARNING_RATE, RANK, Case, Work, best, kinds, layouts
from benchmarks.process import ROOT, CommandFailed, Watched, run
from benchmarks.results import Measurement, PeerSettings, Step, SweepEntry

ENVIRONMENT = ROOT / ".venv-peers"
PYTHON = ENVIRONMENT / "bin" / "python"
REQUIREMENTS = Path(__file__).with_name("requirements-peers.txt")
SCRIPT = Path(__file__).with_name("peer_sft.py")


def install() -> None:
    """Make the peers' environment, or bring it to what requirements-peers.txt says."""
    stamp = ENVIRONMENT / ".installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    print(f"Installing TRL and what it needs into {ENVIRONMENT.name} (the first time some minutes)", flush=True)
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", REQUIREMENTS], check=True)
    stamp.write_text(wanted, encoding="utf-8")


def measure(model: Path, rows: Path, settings: PeerSettings, work: Work, threads: int, scratch: Path) -> tuple[Measurement, dict[str, str]]:
    """One run, and the versions it ran on.

    Raises:
        CommandFailed: TRL does not run with these settings.
    """
    given = {
        **msgspec.to_builtins(settings),
        "model": str(model),
        "rows": str(rows),
        "rows_per_step": work.rows_per_step,
        "num_steps": work.num_steps,
        "threads": threads,
        "learning_rate": LEARNING_RATE,
        "rank": RANK,
        "alpha": ALPHA,
    }
    asked, diary = scratch / "peer.json", scratch / "peer.jsonl"
    asked.parent.mkdir(parents=True, exist_ok=True)
    asked.write_text(json.dumps(given, indent=2), encoding="utf-8")
    diary.unlink(missing_ok=True)
    load = float(psutil.getloadavg()[0])
    watched = run([PYTHON, SCRIPT, asked, diary], threads, scratch / "peer.log")
    lines = [json.loads(line) for line in diary.read_text(encoding="utf-8").splitlines()]
    return _measurement(lines, watched, load), lines[0]["versions"]


def _measurement(lines: list[dict[str, Any]], watched: Watched, load: float) -> Measurement:
    imported, loaded, begin = (next(line["time"] for line in lines if line["kind"] == kind) for kind in ("imported", "loaded", "begin"))
    ends = [line for line in lines if line["kind"] == "step"]
    losses = [line["loss"] for line in lines if line["kind"] == "loss"]
    times = [begin, *(line["time"] for line in ends)]
    steps = tuple(Step(line["tokens"], line["time"] - before, loss) for line, before, loss in zip(ends, times, losses, strict=False))
    return Measurement(
        steps=steps,
        startup={
            "start and imports": imported - watched.started,
            "model": loaded - imported,
            "rows and trainer": begin - loaded,
            "step 1": times[1] - begin,
        },
        total_s=watched.seconds,
        peak_bytes=watched.peak_bytes,
        peak_in_steps_bytes=watched.peak_within([(times[0], times[-1])]),
        load=load,
    )


def sweep(case: Case, model: Path, rows: Path, threads: int, scratch: Path) -> tuple[SweepEntry, ...]:
    """Types first, then layouts in the fastest type; each a short run."""
    entries = [_try(case, model, rows, settings, threads, scratch) for settings in kinds(case.dtype)]
    entries += [_try(case, model, rows, settings, threads, scratch) for settings in layouts(best(entries))]
    return tuple(entries)


def _try(case: Case, model: Path, rows: Path, settings: PeerSettings, threads: int, scratch: Path) -> SweepEntry:
    try:
        found, _ = measure(model, rows, settings, case.sweep_work, threads, scratch)
    except CommandFailed as error:
        print(f"  sweep  {settings}: failed", flush=True)
        return SweepEntry(settings, None, None, str(error))
    print(f"  sweep  {settings}: {found.tokens_per_second:,.0f} tokens/s, {found.peak_bytes / 2**30:.1f} GiB", flush=True)
    return SweepEntry(settings, found.tokens_per_second, found.peak_bytes)
