"""Where the time of one optimizer step goes: torch's profiler over a step of a real run, after one that warms up.

python -m benchmarks.profile_step                         # the 125M shape in bf16, 16 rows
python -m benchmarks.profile_step m600 --dtype bfloat16 --rows 8 --threads 2 --trace step.json
python -m benchmarks.profile_step m15 --method grpo --rows 64        # drawing the answers included
"""

import argparse
import os
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from torch.profiler import ProfilerActivity, profile

from benchmarks import ours
from benchmarks.cases import CASES, Case
from benchmarks.inputs import CACHE
from benchmarks.results import as_table
from benchmarks.run import Bench
from benchmarks.shapes import SHAPES
from luthier.engine.report import Silent
from luthier.recipes.train import train
from luthier.spec.load import load_run

NUM_STEPS = 4

GROUPS = {
    "attention": ("bmm", "flash_attention", "SegmentAttention", "masked_fill", "tril"),
    "matrix products of layers, adapters and head": ("mm", "addmm", "linear", "_Product"),
    "copies and types": ("copy_", "clone", "cat", "contiguous", "to", "_to_copy", "index", "index_select", "repeat", "fill_", "zero_"),
    "softmax and loss": ("logsumexp", "exp", "gather", "scatter_add_", "amax", "_LinearLogprobs"),
    "optimizer": ("_fused_adamw_", "_foreach_", "linalg_vector_norm"),
}
"""Operations, by the words in their names, and what they are for. Only attention multiplies matrices in batches."""


def group_of(operation: str) -> str:
    name = operation.removeprefix("aten::")
    for group, words in GROUPS.items():
        if any(name in (word, f"{word}_") or (len(word) > 6 and word in name) for word in words):
            return group
    return "elementwise and the rest"


class Profiler(Silent):
    """A run's reporter that profiles from the end of each step to the end of the next, and keeps the fastest.

    The fastest, because a certificate falls between two of them.
    """

    def __init__(self) -> None:
        self.running: profile | None = None
        self.began = 0.0
        self.fastest: tuple[float, dict[str, float], profile] | None = None

    def step(self, metrics: dict[str, float], seconds_left: float) -> None:
        seconds = time.perf_counter() - self.began
        if self.running is not None:
            self.running.stop()
            if self.fastest is None or seconds < self.fastest[0]:
                self.fastest = seconds, metrics, self.running
        if metrics["step"] < NUM_STEPS:
            self.running = profile(activities=[ProfilerActivity.CPU])
            self.running.start()
            self.began = time.perf_counter()


def profiled(model: Path, rows: Path, case: Case, threads: int) -> tuple[float, dict[str, float], profile]:
    """Seconds, metrics and profile of the fastest step of a short run."""
    reporter = Profiler()
    with tempfile.TemporaryDirectory() as scratch:
        given = {"model": str(model), "data": {"train": [str(rows)]}, "out": f"{scratch}/run"}
        train(load_run(None, ours.settings(case, case.work, threads), method=case.method, **given), reporter)
    assert reporter.fastest is not None
    return reporter.fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", nargs="?", choices=SHAPES, default="m125")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--method", choices=sorted({case.method for case in CASES.values()}), default="sft")
    parser.add_argument("--rows", type=int, default=16, help="of the step (default 16)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--top", type=int, default=25, help="operations to list")
    parser.add_argument("--trace", type=Path, help="write a trace for chrome://tracing or Perfetto")
    parser.add_argument("--cache", type=Path, default=CACHE, help="the folder for models")
    options = parser.parse_args()
    options.rounds, options.peers = 1, False
    known = next(case for case in CASES.values() if case.method == options.method)
    work = replace(known.work, rows_per_step=options.rows, num_steps=NUM_STEPS)
    case = replace(known, shape=options.shape, dtype=options.dtype, work=work)
    bench = Bench(case, options)
    seconds, metrics, profiler = profiled(bench.model, bench.rows, case, options.threads)
    print(f"{metrics['tokens']:,.0f} tokens in {metrics['streams']:.0f} streams, {seconds:.2f} s under the profiler\n")
    found = [(e.key, e.self_cpu_time_total / 1e6, e.count) for e in profiler.key_averages()]
    total = sum(seconds for _, seconds, _ in found)
    groups: dict[str, float] = defaultdict(float)
    for name, spent, _ in found:
        groups[group_of(name)] += spent
    largest = sorted(groups.items(), key=lambda item: -item[1])
    print(as_table([("what", "s", "share"), *((name, f"{spent:.3f}", f"{spent / total:.1%}") for name, spent in largest)]), "\n")
    top = sorted(found, key=lambda row: -row[1])[: options.top]
    print(as_table([("operation", "self s", "share", "calls"), *((n, f"{s:.3f}", f"{s / total:.1%}", f"{c:,}") for n, s, c in top)]))
    if options.trace:
        profiler.export_chrome_trace(str(options.trace))


if __name__ == "__main__":
    main()
