"""What `luthier migrate` looks like in a terminal: settings key by key, and an account as it comes."""

import sys
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from luthier.arrivals.archive import Archive
from luthier.arrivals.sheet import Line
from luthier.arrivals.translate import Translation

LONGEST = 48
"""Characters of a value that are shown."""


def show(translation: Translation, out: str) -> None:
    """All of it, with what needs a person last."""
    console = Console(highlight=False)
    left = len(translation.of("todo", "without", "unknown"))
    sign = "[bold green]✓[/]" if not left else "[bold yellow]![/]"
    rest = "" if not left else f", {left} setting{'s' if left > 1 else ''} to look at"
    console.print(f"{sign} [bold]{escape(out)}[/]  a run of {translation.spec.method.name}, from {translation.tool}'s settings in "
                  f"{escape(translation.path)}{rest}", soft_wrap=True)  # fmt: skip
    _kept(console, "Carried over", translation.of("carried", "translated"))
    _kept(console, f"{translation.tool}'s defaults, written out where ours differ", translation.of("default"))
    _reasons(console, "Done by itself, or needless here", translation.of("automatic"), "[dim]·[/]")
    _reasons(console, "To do before it runs", translation.of("todo"), "[bold yellow]![/]")
    _reasons(console, "Nothing like it here", translation.of("without"), "[bold yellow]![/]")
    _reasons(console, "Not known here", translation.of("unknown"), "[bold red]?[/]")
    if translation.differences:
        _heading(console, "Would be silently different")
        for sentence in translation.differences:
            console.print(_listed([("[cyan]→[/]", escape(sentence))]))
    _heading(console, "Try next")
    for command, why in ((f"luthier check {out}", "what would be wrong with this run"), (f"luthier train {out}", "train")):
        console.print(f"  [dim]# {why}[/dim]\n  [cyan]{escape(command)}[/cyan]", soft_wrap=True)


def _kept(console: Console, heading: str, lines: list[Line]) -> None:
    if not lines:
        return
    _heading(console, heading)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
    table.add_column(overflow="fold", ratio=2)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold", ratio=3)
    for line in lines:
        theirs = escape(line.source) if line.value is None else f"{escape(line.source)}: {_value(line.value)}"
        why = f"  [dim]{escape(line.text)}[/]" if line.text else ""
        table.add_row(theirs, "→", f"{line.to}: [bold]{_value(line.now)}[/]{why}")
    console.print(Padding(table, (0, 0, 0, 2)))


def _reasons(console: Console, heading: str, lines: list[Line], sign: str) -> None:
    if not lines:
        return
    _heading(console, heading)
    console.print(
        _listed(
            [
                (sign, f"{escape(line.source)}{'' if line.value is None else f': {_value(line.value)}'}  [dim]{escape(line.text)}[/]")
                for line in lines
            ]
        )
    )


def _listed(rows: list[tuple[str, str]]) -> Padding:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=120)
    for row in rows:
        table.add_row(*row)
    return Padding(table, (0, 0, 0, 2))


def _value(value: Any) -> str:
    text = (
        "true"
        if value is True
        else "false"
        if value is False
        else "null"
        if value is None
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
    text = " ".join(text.split())
    return escape(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def _heading(console: Console, text: str) -> None:
    console.print(f"\n[bold]{escape(text)}[/]")


class Telling:
    """Bars while an account is taken: one a kind of thing. Says what happens; a waiting for OpenAI, too."""

    def __init__(self, on: bool) -> None:
        console = Console(stderr=True, highlight=False)
        self.on = on
        self.progress = Progress(
            TextColumn("{task.description:<22}"), BarColumn(bar_width=28), TextColumn("{task.fields[status]}"), console=console,
            disable=not (on and console.is_terminal),
        )  # fmt: skip
        self.tasks: dict[str, TaskID] = {}
        self.done: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def total(self, what: str, number: int | None) -> None:
        """So many there are, or nobody knows yet."""
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what, total=number, status="")
        else:
            self.progress.update(self.tasks[what], total=number)

    def step(self, what: str, status: str = "") -> None:
        """One more of them is done."""
        self.done[what] = self.done.get(what, 0) + 1
        self.progress.update(self.tasks[what], advance=1, status=status or f"{self.done[what]:,}")

    def say(self, sentence: str) -> None:
        if not self.on:
            return
        if self.progress.disable:
            sys.stderr.write(f"{sentence}\n")
        else:
            self.progress.console.print(sentence, style="yellow", markup=False)


def show_archive(archive: Archive, into_platform: bool) -> None:
    """What is there now, what is not, and what to do next."""
    console = Console(highlight=False)
    counts = archive.counts()
    console.print(
        f"[bold green]✓[/] [bold]{escape(str(archive.folder))}[/]  everything that OpenAI hands out, each with its hash in manifest.jsonl",
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    where = {"files": "files of the project here, under their old ids" if into_platform else "files/ID/content", "stored completions":
             "stored completions of the project here" if into_platform else "completions/"}  # fmt: skip
    for what, number in counts.items():
        table.add_row(what, f"{number:,}", where.get(what, ""))
    table.add_row("bytes of files", decimal(archive.bytes_of_files()), "")
    console.print(Padding(table, (0, 0, 0, 2)))
    if missing := archive.missing():
        _heading(console, "Could not be taken")
        console.print(_listed([("[bold yellow]![/]", f"{escape(one['what'])}  [dim]{escape(one['why'])}[/]") for one in missing[:20]]))
        if len(missing) > 20:
            console.print(f"    [dim]and {len(missing) - 20:,} more in manifest.jsonl[/]")
    tuned = archive.tuned_models()
    _heading(console, "What OpenAI does not hand out")
    text = f"The weights of tuned models: {len(tuned):,} here. They are trained again, from the same files, on an open model."
    console.print(Padding(text, (0, 0, 0, 2)))
    _heading(console, "Try next")
    console.print("  [dim]# every job, as a command that runs it here; read it first[/dim]")
    console.print(f"  [cyan]less {escape(str(archive.next_steps))}[/cyan]", soft_wrap=True)
    if into_platform and tuned:
        console.print("  [dim]# when a job has ended, the old name stands for the new model[/dim]")
        console.print(f"  [cyan]luthier models alias {escape(tuned[0])} NEW-NAME[/cyan]", soft_wrap=True)
