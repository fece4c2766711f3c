"""What a demo's results look like in a terminal: answers side by side, the figures, the page, and what to try next."""

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from luthier.recipes import quantities
from luthier.recipes.page import FILE, Results


def show(console: Console, results: Results) -> None:
    """All of it, in this order."""
    if results.comparison:
        _heading(console, "The same questions, before and after")
        for line in results.comparison:
            console.print(Padding(f"“{escape(line['question'])}”", (0, 0, 0, 2)))
            console.print(Padding(_answers(line["base"], line["tuned"]), (0, 0, 1, 4)))
    _heading(console, "Results")
    if results.headlines:
        console.print(Padding(_before_and_after(results), (0, 0, 1, 2)))
    console.print(Padding(_facts(results), (0, 0, 0, 2)))
    if (results.folder.path / FILE).is_file():
        _heading(console, "The page of results, to look at and to show")
        console.print(f"  {results.name}/{FILE}", soft_wrap=True)
    _heading(console, "Try next")
    for command, what in results.next_commands:
        console.print(f"  [dim]# {what}[/dim]")
        console.print(f"  [cyan]{command}[/cyan]", soft_wrap=True)


def _heading(console: Console, text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")


def _answers(base: str, tuned: str) -> Table:
    table = _grid()
    table.add_row("[dim]base[/dim]", escape(" ".join(base.split())) or "[dim](nothing)[/dim]")
    table.add_row("[green]tuned[/green]", escape(" ".join(tuned.split())) or "[dim](nothing)[/dim]")
    return table


def _before_and_after(results: Results) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("held out")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    for name, before, after in results.headlines:
        table.add_row(quantities.words(name), quantities.metric(name, before), f"[bold]{quantities.metric(name, after)}[/bold]")
    return table


def _facts(results: Results) -> Table:
    record, table = results.record, _grid()
    table.add_row("[dim]status[/dim]", record["status"])
    if results.certificate:
        worst = results.worst_difference
        exact = "" if worst is None else f", exact to {quantities.one_part_in(worst)}"
        times = len(results.certificate)
        checks = f"checked {times} times{exact}" if times > 1 else f"checked once{exact}"
        table.add_row("[dim]certificate[/dim]", f"[green]passed[/green], {checks}" if results.certified else "[red]FAILED[/red]")
    speed = f", {record['tokens_per_second']:,.0f} tokens/s" if record["tokens_per_second"] else ""
    table.add_row("[dim]time[/dim]", f"{quantities.duration(record['seconds'])}{speed}")
    table.add_row("[dim]memory[/dim]", f"{quantities.memory(record['peak_memory_bytes'])} at the peak")
    table.add_row("[dim]energy[/dim]", f"{quantities.energy(record['energy_wh_estimated'])} (an estimate)")
    return table


def _grid() -> Table:
    return Table(show_header=False, box=None, padding=(0, 2, 0, 0))
