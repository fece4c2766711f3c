"""What a training run looks like in a terminal: a table of what it is, a bar with time left, a line each validation, a summary."""

import json
import sys
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from luthier.cli._processes import is_first
from luthier.cli._results import show
from luthier.engine.report import Reporter, Silent
from luthier.recipes.page import Results
from luthier.recipes.quantities import duration, metric, words
from luthier.recipes.run import Run

WORTH_A_BAR_S = 2.0
"""What is done sooner needs no bar."""


class ConsoleReporter:
    """Tells a person."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description} {task.fields[place]}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[status]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task: TaskID | None = None
        self.total = 0

    def encoding(self, done: int, total: int, seconds_left: float) -> None:
        if self.task is None:
            if seconds_left < WORTH_A_BAR_S:
                return
            self.progress.start()
            self.task = self.progress.add_task("encoding row", total=total, place="", status="")
        self.progress.update(self.task, completed=done, place=f"{done:,}/{total:,}", status=f"{duration(seconds_left)} left")
        if done == total:
            self.progress.remove_task(self.task)
            self.progress.stop()
            self.task = None

    def started(self, description: dict[str, str], total_steps: int, first_step: int) -> None:
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in description.items():
            table.add_row(f"[dim]{name}[/dim]", value)
        self.console.print(table)
        self.total = total_steps
        self.progress.start()
        self.task = self.progress.add_task(
            "step", total=total_steps, completed=first_step, place=f"{first_step}/{total_steps}", status="checking"
        )

    def step(self, metrics: dict[str, float], seconds_left: float) -> None:
        assert self.task is not None
        parts = [f"loss {metrics['loss']:.4f}"] if "loss" in metrics else []
        parts.append(f"{metrics['tokens_per_second']:,.0f} tokens/s")
        if "share_of_limit" in metrics:
            parts.append(f"{metrics['share_of_limit']:.0%} of the limit")
        parts.append(f"{duration(seconds_left)} left")
        place = f"{metrics['step']:.0f}/{self.total}"
        self.progress.update(self.task, completed=metrics["step"], place=place, status=" · ".join(parts))

    def validated(self, step: int, metrics: dict[str, float], best: bool) -> None:
        shown = "  ".join(f"{words(name)} {metric(name, value)}" for name, value in metrics.items() if "/" not in name)
        self.console.print(f"[dim]step {step:>5}[/dim]  held-out {shown}{'  [green]best[/green]' if best and step else ''}")

    def collected(self, step: int, metrics: dict[str, float]) -> None:
        names = ("reward", "check", "kl", "answer_tokens", "unfinished")
        shown = "  ".join(f"{words(name)} {metric(name, metrics[name])}" for name in names if name in metrics)
        if shown:
            self.console.print(f"[dim]step {step:>5}[/dim]  answers  {shown}")

    def event(self, message: str) -> None:
        style = "yellow" if message.startswith("Warning:") else "dim"
        self.console.print(message, style=style, highlight=False, markup=False)

    def ended(self, status: str) -> None:
        self.progress.stop()


def show_run(run: Callable[[Reporter], Run], as_json: bool) -> None:
    """Run and show it; as JSON, print the record alone. Of several processes the first one shows it."""
    if not is_first():
        run(Silent())
        return
    if as_json:
        sys.stdout.write(json.dumps(run(Silent()).record, indent=2) + "\n")
        return
    console = Console()
    finished = reported(run, console)
    results = Results(finished.folder, str(finished.path))
    if results.comparison:
        show(console, results)
        return
    summary(console, finished)
    paused = finished.record["status"] == "paused"
    console.print(f"Paused. Go on with:  luthier resume {finished.path}" if paused else f"Try it:  luthier chat {finished.path}")


def reported(run: Callable[[Reporter], Run], console: Console) -> Run:
    """Run, telling a person as it goes."""
    reporter = ConsoleReporter(console)
    try:
        return run(reporter)
    finally:
        reporter.progress.stop()


def run_from_python(run: Callable[[Reporter], Run], quiet: bool) -> Run:
    """Run, telling the terminal, or a notebook as plain text, how it goes and how it went."""
    if quiet:
        return run(Silent())
    console = Console(force_jupyter=False)
    finished = reported(run, console)
    summary(console, finished)
    return finished


def summary(console: Console, run: Run) -> None:
    """How it went."""
    record = run.record
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("[dim]status[/dim]", record["status"])
    before, after = record["evaluation"]["before"], record["evaluation"]["after"]
    if before and after:
        for name in after:
            if name not in ("step", "kind") and "/" not in name:
                shown = f"{metric(name, before[name])} → {metric(name, after[name])}"
                table.add_row(f"[dim]held-out {words(name)}[/dim]", shown)
    for finding in record["certificate"][-1:]:
        own = (
            f", {finding['run_dtype']:.1e} in the run's type (noise {finding['noise']:.1e})"
            if finding["run_dtype"] and finding["noise"]
            else ""
        )
        table.add_row("[dim]certificate[/dim]", f"gradient exact to {finding['fp32']:.1e} in fp32{own}" if finding["fp32"] else own[2:])
    table.add_row(
        "[dim]time[/dim]", f"{duration(record['seconds'])}, {record['tokens']:,} tokens, peak {record['peak_memory_bytes'] / 2**30:.2f} GiB"
    )
    table.add_row("[dim]energy[/dim]", f"{record['energy_wh_estimated']:.2f} Wh (an estimate)")
    table.add_row("[dim]folder[/dim]", str(run.path))
    console.print(table)
