"""TRL from outside: its environment, its sweep, and one measured run."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks.cases import ALPHA, LEARNING_RATE, RANK, STAGES, Case, Method, Work, best, kinds
from benchmarks.process import ROOT, CommandFailed, Watched, run
from benchmarks.results import Measurement, PeerSettings, Step, SweepEntry, spread_over

ENVIRONMENT = ROOT / ".venv-peers"
PYTHON = ENVIRONMENT / "bin" / "python"
REQUIREMENTS = Path(__file__).with_name("requirements-peers.txt")
FACTS: dict[Method, tuple[str, ...]] = {
    "sft": ("loss",),
    "dpo": ("loss", "logps/chosen", "logps/rejected"),
    "reward_model": ("loss",),
    "grpo": ("entropy",),
}
"""What of TRL's first log is compared, by its names there."""


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


def measure(
    method: Method, model: Path, rows: Path, settings: PeerSettings, work: Work, threads: int, scratch: Path, head: Path | None = None
) -> tuple[Measurement, dict[str, str]]:
    """One run, and the versions it ran on.

    Args:
        head: the file of the scalar head that a reward model begins with; None for one of TRL's own.
    Raises:
        CommandFailed: TRL does not run with these settings.
    """
    given = {
        **msgspec.to_builtins(settings),
        **msgspec.to_builtins(work),
        "model": str(model),
        "rows": str(rows),
        "threads": threads,
        "learning_rate": LEARNING_RATE,
        "rank": RANK,
        "alpha": ALPHA,
        "head": None if head is None else str(head),
    }
    asked, diary = scratch / "peer.json", scratch / "peer.jsonl"
    asked.parent.mkdir(parents=True, exist_ok=True)
    asked.write_text(json.dumps(given, indent=2), encoding="utf-8")
    diary.unlink(missing_ok=True)
    load = float(psutil.getloadavg()[0])
    watched = run([PYTHON, "-m", f"benchmarks.peer_{method}", asked, diary], threads, scratch / "peer.log")
    lines = [json.loads(line) for line in diary.read_text(encoding="utf-8").splitlines()]
    return _measurement(method, lines, watched, load), lines[0]["versions"]


def _measurement(method: Method, lines: list[dict[str, Any]], watched: Watched, load: float) -> Measurement:
    imported, loaded, begin = (next(line["time"] for line in lines if line["kind"] == kind) for kind in ("imported", "loaded", "begin"))
    ends, logs = ([line for line in lines if line["kind"] == kind] for kind in ("step", "log"))
    kept = sum(line["seconds"] for line in lines if line["kind"] == "kept")
    times = [begin, *(line["time"] for line in ends)]
    steps = [Step(line["tokens"], line["time"] - before, log["loss"]) for line, before, log in zip(ends, times, logs, strict=False)]
    return Measurement(
        steps=spread_over(steps, kept),
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
        facts={name: logs[0][name] for name in FACTS[method]},
        kept_s=kept,
    )


def sweep(case: Case, model: Path, rows: Path, threads: int, scratch: Path) -> tuple[SweepEntry, ...]:
    """Types first, then layouts in the fastest type, then what else TRL offers; each a short run."""
    entries = [_try(case, model, rows, settings, threads, scratch) for settings in kinds(case)]
    for stage in STAGES:
        entries += [_try(case, model, rows, settings, threads, scratch) for settings in stage(case, best(entries))]
    return tuple(entries)


def _try(case: Case, model: Path, rows: Path, settings: PeerSettings, threads: int, scratch: Path) -> SweepEntry:
    try:
        found, _ = measure(case.method, model, rows, settings, case.sweep_work, threads, scratch)
    except CommandFailed as error:
        print(f"  sweep  {settings}: failed", flush=True)
        return SweepEntry(settings, None, None, str(error))
    print(f"  sweep  {settings}: {found.tokens_per_second:,.0f} tokens/s, {found.peak_bytes / 2**30:.1f} GiB", flush=True)
    return SweepEntry(settings, found.tokens_per_second, found.peak_bytes)
