"""Stages that feed each other, from one file: train, merge, draw answers, rank, compare; in rounds."""

import json
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from luthier.recipes.pipeline import Outcome, Watcher

SECTION = "Train"
STYLES = {"succeeded": "green", "failed": "red", "paused": "yellow", "waiting": "dim"}


def command(
    file: Annotated[str, typer.Argument(help="A pipeline file: `stages`, a list.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Any setting of a stage as key=value, such as stages.sft.train.epochs=2.")
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="The folder of its stages. Default: the file's, or pipelines/<name>.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be made, and what is skipped.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value, for a program.")] = False,
) -> None:
    """Go through stages that feed each other, from one file.

    What was made from the same settings, files and inputs is skipped; a stage that was broken off goes on where it stopped. Nothing is
    written over: a stage whose settings changed is made in a folder of its own, beside the old one.
    """
    from luthier.spec.pipeline_file import load_pipeline

    pipeline = load_pipeline(file, out, settings or ())
    from rich.console import Console

    from luthier.recipes import pipeline as recipe  # torch comes with it: what is wrong with the file is said before
    from luthier.recipes.pipeline_check import check

    check(pipeline)
    console = Console(highlight=False)
    if plan:
        found = recipe.plan(pipeline)
    elif as_json:
        found = recipe.run(pipeline)
    else:
        found = recipe.run(pipeline, _terminal(console))
        console.print()
    if as_json:
        typer.echo(json.dumps(found.facts(), indent=2, ensure_ascii=False))
    else:
        show(console, found, plan)
        if found.status == "paused":
            again = shlex.join(["luthier", "pipeline", file, *(settings or ()), *(("--out", out) if out else ())])
            console.print(f"\nPaused. Go on with:  {again}", markup=False, soft_wrap=True)


def _terminal(console: "Console") -> "Watcher":
    """Tells a person, and asks them where they rank."""
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from luthier.cli._console import ConsoleReporter
    from luthier.recipes.pipeline import Planned, Watcher
    from luthier.recipes.quantities import duration
    from luthier.recipes.ranked import Person
    from luthier.recipes.stages import Told

    class Terminal(Watcher):
        def __init__(self) -> None:
            self.bar: Progress | None = None
            self.tasks: dict[str, Any] = {}
            self.told = Told(self.say, self.on_done, lambda: ConsoleReporter(console), Person(input, self.write))

        def began(self, planned: Planned) -> None:
            entry = planned.entry
            console.print(f"\n[bold]{entry.stage}[/bold]  [dim]{entry.kind} · {escape(planned.why)}[/dim]", soft_wrap=True)

        def ended(self, planned: Planned) -> None:
            entry = planned.entry
            if planned.action == "skip":
                console.print(f"\n[bold]{entry.stage}[/bold]  [dim]{entry.kind} · skipped. {escape(planned.why)}[/dim]", soft_wrap=True)
                return
            figure = f"  {escape(entry.figure)}" if entry.figure else ""
            console.print(
                f"[{STYLES.get(entry.status, 'dim')}]{entry.status}[/]{figure}  [dim]{duration(entry.seconds)}[/dim]", soft_wrap=True
            )

        def said(self, sentence: str) -> None:
            console.print(f"\n{escape(sentence)}", soft_wrap=True)

        def say(self, text: str) -> None:
            console.print(f"[dim]{escape(text)}[/dim]", soft_wrap=True)

        def write(self, text: str) -> None:
            console.print(text, markup=False, soft_wrap=True)

        def on_done(self, name: str, done: int, total: int) -> None:
            if self.bar is None:
                columns = (TextColumn("{task.description}"), MofNCompleteColumn(), BarColumn(bar_width=28))
                self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
                self.bar.start()
            if name not in self.tasks:
                self.tasks[name] = self.bar.add_task(name, total=total)
            self.bar.update(self.tasks[name], completed=done, total=total)
            if all(task.finished for task in self.bar.tasks):
                self.bar.stop()
                self.bar, self.tasks = None, {}

    return Terminal()


def show(console: "Console", found: "Outcome", planned: bool) -> None:
    """A line a stage, and what ended the rounds."""
    from rich.markup import escape
    from rich.table import Table

    from luthier.recipes.quantities import duration
    from luthier.spec.paths import shown

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("stage", "kind", "would" if planned else "status"):
        table.add_column(column, no_wrap=True)
    if planned:
        table.add_column("why", overflow="fold")
    else:
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("figure", overflow="fold")
    for each in found.done:
        entry = each.entry
        if planned:
            style = "dim" if each.action == "skip" else "bold"
            table.add_row(entry.stage, entry.kind, f"[{style}]{each.action}[/]", escape(each.why))
        else:
            status = "skipped" if each.action == "skip" else entry.status
            table.add_row(
                entry.stage,
                entry.kind,
                f"[{STYLES.get(status, 'dim')}]{status}[/]",
                f"[dim]{duration(entry.seconds)}[/dim]",
                escape(entry.figure),
            )
    console.print(table)
    for sentence in found.rounds:
        console.print(f"\n{escape(sentence)}", soft_wrap=True)
    console.print(f"\n[dim]folder[/dim]  {escape(shown(str(found.folder)))}", soft_wrap=True)
