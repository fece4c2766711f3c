"""Measure Luthier, TRL and the limit side by side, in alternation, and write what came out: `make bench`.

    python -m benchmarks.run                          # everything; on 2 cores about two hours and a half
    python -m benchmarks.run --cases m125-bf16 dpo    # rows of the table
    python -m benchmarks.run --cases m125-bf16 --keep-sweep   # again, with the settings that were best for TRL last time
    python -m benchmarks.run --quick                  # does the benchmark itself work?

Each side runs in a process of its own. Within a round they follow each other at once, so that what else the machine does hits them alike;
the ratios are taken within rounds.
"""

import argparse
import os
import shutil
import subprocess
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from benchmarks import ours, peer, report, results
from benchmarks.cases import CASES, TOYS, Case, Work, best
from benchmarks.inputs import CACHE, model_of, rows_of
from benchmarks.process import ROOT, CommandFailed, run
from benchmarks.results import CaseResult, LimitMeasurement, Machine, Measurement, PeerSettings, Results, Round, SweepEntry
from benchmarks.shapes import SHAPES
from luthier.batches.order import steps
from luthier.cli._machine import read_memory, read_processor

SAME = 2e-3
"""Relative difference of what the first step finds that the two sides' roundings explain, in bf16 too."""
AS_LONG = 0.02
"""Relative difference in tokens where each side draws its own answers."""
HEAD = "reward_head.safetensors"
"""What a checkpoint of a reward model calls its head."""


class Bench:
    """One case: its model, its rows, its rounds."""

    def __init__(self, case: Case, options: argparse.Namespace) -> None:
        self.case, self.threads, self.rounds = case, options.threads, options.rounds
        self.with_peer: bool = options.peers
        self.scratch: Path = options.cache / "scratch"
        found = model_of(case.shape, options.cache, options.threads)
        self.model = found.folder
        self.peer_versions: dict[str, str] = {}
        self.rows_from, self.rows = rows_of(found, case.method, case.work.num_rows, self.scratch)
        self.head: Path | None = None

    def _peer_rows(self, work: Work) -> Path:
        """The same rows in the order in which Luthier sees them, so that each step of both sides has the same rows."""
        lines = self.rows.read_text(encoding="utf-8").splitlines(keepends=True)
        order = [i for step in steps([0] * len(lines), [1.0], work.read_per_step, ours.SEED, 0) for i in step]
        path = self.scratch / "peer-rows.jsonl"
        path.write_text("".join(lines[i] for i in order), encoding="utf-8")
        return path

    def _sweep(self, keep: bool) -> tuple[SweepEntry, ...]:
        """How TRL does with each of its settings, now or, to `keep`, the last time on this machine."""
        known = self.scratch.parent / f"sweep-{self.case.name}.json"
        if keep and known.is_file():
            return msgspec.json.decode(known.read_bytes(), type=tuple[SweepEntry, ...])
        found = peer.sweep(self.case, self.model, self._peer_rows(self.case.sweep_work), self.threads, self.scratch)
        known.write_bytes(msgspec.json.encode(found))
        return found

    def measure(self, keep_sweep: bool) -> CaseResult:
        """The sweep, then all rounds."""
        case, work = self.case, self.case.work
        shape = SHAPES[case.shape]
        amount = f"{work.rows_per_step} a step, {work.num_steps} steps, {self.threads} threads"
        print(f"{case.title}: {self.rows_from} rows, {amount}", flush=True)
        sweep = self._sweep(keep_sweep) if self.with_peer else ()
        settings = best(sweep) if sweep else None
        given = ours.settings(case, work, self.threads)
        rounds = tuple(self._round(number, given, settings) for number in range(1, self.rounds + 1))
        return CaseResult(
            title=case.title,
            shape=shape.title,
            num_parameters=shape.num_parameters,
            dtype=case.dtype,
            rows=self.rows_from,
            rows_per_step=work.rows_per_step,
            threads=self.threads,
            measured=datetime.now().isoformat(timespec="minutes"),
            ours=tuple(given),
            rounds=rounds,
            ratios=results.ratios(rounds),
            peer=settings,
            sweep=sweep,
            unit=case.unit,
        )

    def _round(self, number: int, given: list[str], settings: PeerSettings | None) -> Round:
        case, work = self.case, self.case.work
        mine = ours.measure(case.method, self.model, self.rows, given, self.threads, self.scratch, self._look)
        theirs = None
        if settings is not None:
            theirs, self.peer_versions = peer.measure(
                case.method, self.model, self._peer_rows(work), settings, work, self.threads, self.scratch, self.head
            )
            refuse_different(mine, theirs, settings, case.draws)
        measured = Round(mine, self._limit() if case.method == "sft" else None, theirs)
        print(f"  round {number}  {report.one_line(measured)}", flush=True)
        return measured

    def _look(self, folder: Path) -> None:
        """Both sides' reward models begin with one head: Luthier's."""
        if self.case.method == "reward_model":
            self.head = Path(shutil.copy(folder / "checkpoints" / "step-00000000" / HEAD, self.scratch / HEAD))

    def _limit(self) -> LimitMeasurement:
        out, work = self.scratch / "limit.json", self.case.work
        command = [sys.executable, "-m", "benchmarks.limit", self.case.shape, self.case.dtype, self.model, self.rows, out]
        amount = ["--rows-per-step", work.rows_per_step, "--num-steps", work.num_steps, "--threads", self.threads]
        run([str(word) for word in (*command, *amount)], self.threads, self.scratch / "limit.log")
        return msgspec.json.decode(out.read_bytes(), type=LimitMeasurement)


def refuse_different(mine: Measurement, theirs: Measurement, settings: PeerSettings, draws: bool = False) -> None:
    """Stop where the two sides did not do the same work: a ratio would say nothing.

    Each step has the same tokens, and the first, from the same weights, finds the same, unless TRL packs, which moves rows between steps.
    Where each side draws its own answers, there are as many tokens but for a few.
    """
    if settings.layout == "packed":
        return
    tokens = [[step.tokens for step in side.steps] for side in (mine, theirs)]
    allowed = AS_LONG if draws else 0.0
    as_many = len(tokens[0]) == len(tokens[1]) and all(abs(a - b) <= allowed * b for a, b in zip(*tokens, strict=True))
    facts = mine.facts.keys() == theirs.facts.keys() and all(abs(mine.facts[n] - x) <= SAME * abs(x) for n, x in theirs.facts.items())
    if not as_many or not facts:
        raise SystemExit(
            f"Luthier and TRL ({settings}) did not do the same work. Tokens of each step: {tokens[0]} and {tokens[1]}; the first step "
            f"found {mine.facts} and {theirs.facts}. Look at how each renders the rows."
        )


def machine() -> Machine:
    processor, memory = read_processor(), read_memory()
    return Machine(processor.model, processor.cores, round(memory.total_gib, 1), processor.instruction_sets, sys.platform)


def commit() -> str | None:
    """The commit that is measured, `+` where files differ from it; None outside a repository."""
    try:
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "src"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


def of_today(out: Path) -> tuple[Path, Results]:
    """The results file of today and this machine, and what it holds so far."""
    here, today = machine(), datetime.now().date().isoformat()
    path = out / f"{today}-{here.slug}.json"
    known = results.read(path) if path.is_file() else Results(today, here, {}, None, {})
    mine = {name: version(name) for name in ("luthier", "torch", "transformers", "tokenizers")}
    return path, msgspec.structs.replace(known, versions={**known.versions, "luthier": mine}, commit=commit())


def told(known: Results, path: Path) -> None:
    """Draw and print all of it."""
    draw = [sys.executable, "-m", "benchmarks.figure", str(path)]  # a process of its own keeps this one small while it measures
    subprocess.run(draw, cwd=ROOT, check=True)
    print(f"\n{report.markdown(known)}\n\n{path}", flush=True)


def arguments(description: str, cases: dict[str, str], toys: dict[str, str]) -> argparse.ArgumentParser:
    """What is asked of any of these benchmarks. `cases`, `toys`: their names and titles."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=[*cases, *toys], help="rows of the table (default: all; with --quick all toys)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured (default 3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each side (default: all cores)")
    parser.add_argument("--quick", action="store_true", help="toy models, one round, no peer: does the benchmark work?")
    parser.add_argument("--out", type=Path, help="the folder for results (default: benchmarks/results; with --quick, beside the models)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="the folder for models")
    return parser


def read(parser: argparse.ArgumentParser, given: list[str] | None, cases: dict[str, str], toys: dict[str, str]) -> argparse.Namespace:
    options = parser.parse_args(given)
    if options.quick:
        options.rounds, options.threads = 1, 1
    options.cases = options.cases or list(toys if options.quick else cases)
    options.out = options.out or (options.cache / "quick" if options.quick else results.FOLDER)
    return options


def main(given: list[str] | None = None) -> Path:
    """Measure, write after each case, draw. The results file of the same day and machine is added to."""
    assert __doc__ is not None
    cases, toys = ({case.name: case.title for case in found.values()} for found in (CASES, TOYS))
    parser = arguments(__doc__, cases, toys)
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=None, help="measure TRL, too (default: unless --quick)")
    parser.add_argument("--keep-sweep", action="store_true", help="TRL's settings as the last sweep on this machine found them")
    options = read(parser, given, cases, toys)
    options.peers = not options.quick if options.peers is None else options.peers
    if options.peers:
        peer.install()
    path, known = of_today(options.out)
    for name in options.cases:
        bench = Bench({**CASES, **TOYS}[name], options)
        result = bench.measure(options.keep_sweep)
        path, known = of_today(options.out)  # others may have written meanwhile
        versions = {**known.versions, **({"trl": bench.peer_versions} if bench.peer_versions else {})}
        known = msgspec.structs.replace(known, versions=versions, cases={**known.cases, name: result})
        results.write(known, path)
    told(known, path)
    return path


if __name__ == "__main__":
    try:
        main()
    except CommandFailed as error:
        raise SystemExit(str(error)) from None
