"""Measure Luthier, TRL and the limit side by side, in alternation, and write what came out: `make bench`.

    python -m benchmarks.run                          # everything; on 2 cores about an hour and a half
    python -m benchmarks.run --cases m125-bf16        # one row of the table
    python -m benchmarks.run --cases m125-bf16 --keep-sweep   # again, with the settings that were best for TRL last time
    python -m benchmarks.run --quick                  # does the benchmark itself work?

Each side runs in a process of its own. Within a round they follow each other at once, so that what else the machine does hits them alike;
the ratios are taken within rounds.
"""

import argparse
import os
import subprocess
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
from tokenizers import Tokenizer

from benchmarks import ours, peer, report, results, rows
from benchmarks.cases import CASES, QUICK, Case, best
from benchmarks.process import ROOT, CommandFailed, run
from benchmarks.results import CaseResult, LimitMeasurement, Machine, Measurement, PeerSettings, Results, Round, SweepEntry
from benchmarks.shapes import SHAPES
from luthier.batches.order import steps
from luthier.cli._machine import read_memory, read_processor

CACHE = Path(os.environ.get("LUTHIER_BENCH_CACHE") or Path.home() / ".cache" / "luthier-benchmarks")
SHARED = Path(os.environ.get("LUTHIER_SHARED") or ROOT.parent / "shared")
SENTENCEPIECE = SHARED / "tokenizers" / "llama2-32k" / "tokenizer.model"
REAL_VOCABULARY = 32_000
SAME_LOSS = 2e-3
"""Relative difference of first losses that the two sides' roundings explain, in bf16 too."""
GSM8K = SHARED / "data" / "gsm8k" / "train.jsonl"


class Bench:
    """One case: its model, its rows, its rounds."""

    def __init__(self, case: Case, options: argparse.Namespace) -> None:
        self.case, self.threads, self.rounds = case, options.threads, options.rounds
        self.with_peer: bool = options.peers
        self.scratch: Path = options.cache / "scratch"
        real, self.model = self._model(options.cache)
        self.peer_versions: dict[str, str] = {}
        self.rows_from, self.rows = self._rows(real)

    def _model(self, cache: Path) -> tuple[bool, Path]:
        """Whether Llama 2's tokenizer is used, and the model's folder, made if it is not there.

        The tokenizer needs a large enough vocabulary, the shared folder, and a package of the peers' environment to convert it.
        """
        shape = SHAPES[self.case.shape]
        real = SENTENCEPIECE.is_file() and peer.PYTHON.exists() and shape.vocabulary >= REAL_VOCABULARY
        folder = cache / f"{shape.name}-{'llama2' if real else 'generated'}"
        if not folder.is_dir():
            print(f"Making {folder}", flush=True)
            python = peer.PYTHON if real else sys.executable
            more: list[str | Path] = ["--tokenizer", SENTENCEPIECE] if real else []
            run([python, "-m", "benchmarks.shapes", shape.name, folder, *more], self.threads, self.scratch / "shapes.log")
        return real, folder

    def _rows(self, real: bool) -> tuple[str, Path]:
        """Where the rows are from, and the file. GSM8K only with a real tokenizer: its lengths are what it is taken for."""
        number = self.case.work.num_rows
        if real and GSM8K.is_file():
            return "GSM8K", rows.write(self.scratch / "gsm8k.jsonl", rows.gsm8k(GSM8K, number))
        tokenizer = Tokenizer.from_file(str(self.model / "tokenizer.json"))
        found = rows.generated(number, lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids))
        return "generated", rows.write(self.scratch / "generated.jsonl", found)

    def _peer_rows(self, rows_per_step: int) -> Path:
        """The same rows in the order in which Luthier sees them, so that each step of both sides has the same rows."""
        lines = self.rows.read_text(encoding="utf-8").splitlines(keepends=True)
        order = [i for step in steps([0] * len(lines), [1.0], rows_per_step, ours.SEED, 0) for i in step]
        path = self.scratch / "peer-rows.jsonl"
        path.write_text("".join(lines[i] for i in order), encoding="utf-8")
        return path

    def _sweep(self, keep: bool) -> tuple[SweepEntry, ...]:
        """How TRL does with each of its settings, now or, to `keep`, the last time on this machine."""
        known = self.scratch.parent / f"sweep-{self.case.name}.json"
        if keep and known.is_file():
            return msgspec.json.decode(known.read_bytes(), type=tuple[SweepEntry, ...])
        found = peer.sweep(self.case, self.model, self._peer_rows(self.case.sweep_work.rows_per_step), self.threads, self.scratch)
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
        )

    def _round(self, number: int, given: list[str], settings: PeerSettings | None) -> Round:
        work = self.case.work
        mine = ours.measure(self.model, self.rows, given, self.threads, self.scratch)
        theirs = None
        if settings is not None:
            theirs, self.peer_versions = peer.measure(
                self.model, self._peer_rows(work.rows_per_step), settings, work, self.threads, self.scratch
            )
            refuse_different(mine, theirs, settings)
        measured = Round(mine, self._limit(), theirs)
        print(f"  round {number}  {report.one_line(measured)}", flush=True)
        return measured

    def _limit(self) -> LimitMeasurement:
        out, work = self.scratch / "limit.json", self.case.work
        command = [sys.executable, "-m", "benchmarks.limit", self.case.shape, self.case.dtype, self.model, self.rows, out]
        amount = ["--rows-per-step", work.rows_per_step, "--num-steps", work.num_steps, "--threads", self.threads]
        run([str(word) for word in (*command, *amount)], self.threads, self.scratch / "limit.log")
        return msgspec.json.decode(out.read_bytes(), type=LimitMeasurement)


def refuse_different(mine: Measurement, theirs: Measurement, settings: PeerSettings) -> None:
    """Stop where the two sides did not do the same work: a ratio would say nothing.

    Unless TRL packs, which moves rows between steps, each step has the same tokens, and the first, from the same weights, the same loss.
    """
    tokens = [[step.tokens for step in side.steps] for side in (mine, theirs)]
    losses = mine.steps[0].loss, theirs.steps[0].loss
    if settings.layout != "packed" and (tokens[0] != tokens[1] or abs(losses[0] - losses[1]) > SAME_LOSS * losses[1]):
        raise SystemExit(
            f"Luthier and TRL ({settings}) did not do the same work. Tokens of each step: {tokens[0]} and {tokens[1]}; loss of the first: "
            f"{losses[0]:.4f} and {losses[1]:.4f}. Look at how each renders the rows."
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


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="rows of the table (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured (default 3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each side (default: all cores)")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=None, help="measure TRL, too (default: unless --quick)")
    parser.add_argument("--keep-sweep", action="store_true", help="TRL's settings as the last sweep on this machine found them")
    parser.add_argument("--quick", action="store_true", help="a toy model, one round, no peer: does the benchmark work?")
    parser.add_argument("--out", type=Path, help="the folder for results (default: benchmarks/results; with --quick, beside the models)")
    parser.add_argument("--cache", type=Path, default=CACHE, help="the folder for models")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.threads = 1, 1
    options.out = options.out or (options.cache / "quick" if options.quick else results.FOLDER)
    options.peers = not options.quick if options.peers is None else options.peers
    return options


def main(arguments: list[str] | None = None) -> Path:
    """Measure, write after each case, draw. The results file of the same day and machine is added to."""
    options = parse(arguments)
    here, today = machine(), datetime.now().date().isoformat()
    path: Path = options.out / f"{today}-{here.slug}.json"
    known = results.read(path) if path.is_file() else Results(today, here, {}, None, {})
    if options.peers:
        peer.install()
    for case in [QUICK] if options.quick else [CASES[name] for name in options.cases]:
        bench = Bench(case, options)
        result = bench.measure(options.keep_sweep)
        mine = {name: version(name) for name in ("luthier", "torch", "transformers", "tokenizers")}
        versions = {**known.versions, "luthier": mine} | ({"trl": bench.peer_versions} if bench.peer_versions else {})
        known = Results(today, here, versions, commit(), {**known.cases, case.name: result})
        results.write(known, path)
    draw = [sys.executable, "-m", "benchmarks.figure", str(path)]  # a process of its own keeps this one small while it measures
    subprocess.run(draw, cwd=ROOT, check=True)
    print(f"\n{report.markdown(known)}\n\n{path}", flush=True)
    return path


if __name__ == "__main__":
    try:
        main()
    except CommandFailed as error:
        raise SystemExit(str(error)) from None
