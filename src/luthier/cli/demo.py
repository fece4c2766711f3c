"""See the whole loop on a bundled model: demonstrations, rankings, a reward model, PPO."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from luthier.recipes.demo import Told
    from luthier.recipes.demo_page import Shown

SECTION = "Start here"
NUMBER = {"sft": 1, "rankings": 2, "reward": 3, "ppo": 4, "results": 5}


def command(
    settings: Annotated[
        list[str] | None, typer.Argument(help="Any setting of one of the runs sft, reward and ppo, such as sft.train.epochs=2.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help="The demo's folder; one that was broken off goes on. Default: runs/demo-<date>."),
    ] = None,
    rank: Annotated[bool, typer.Option("--rank", help="Rank the answers to 12 of the questions yourself.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON instead of tables.")] = False,
) -> None:
    """See the whole loop on a bundled model: demonstrations, rankings, a reward model, PPO. Some minutes, no network.

    A small model that comes with Luthier imitates the support of a lender; its answers are ranked, by a simulated rater or by you; a reward
    model learns from the rankings, and the model from the reward model. The folder then holds a page of results, index.html: what it
    brought, answers side by side, and a page of each run with its certificate, time, memory and energy.
    """
    from rich.console import Console

    from luthier.errors import SettingsError
    from luthier.recipes.demo import BY_HAND, Plan, Told, demo, new_folder, overrides_of
    from luthier.recipes.demo_page import Shown, write_page

    if rank and as_json:
        raise SettingsError("`--rank` asks you at the keyboard, and `--json` prints for a program. Leave one of them out.")
    plan = Plan(overrides=overrides_of(settings or []), by_hand=BY_HAND if rank else 0)
    folder = new_folder(out, plan)
    console = Console(highlight=False)
    made = demo(folder, plan, Told() if as_json else _terminal(console, rank))
    if made.results is not None:
        shown = Shown(folder, str(folder))
        write_page(shown)
        if not as_json:
            show(console, shown)
    if as_json:
        sys.stdout.write(json.dumps(made.results, indent=2) + "\n")
    elif made.status == "paused":
        again = "".join(f" {setting}" for setting in settings or []) + (" --rank" if rank else "")
        console.print(f"Paused. Go on with:  luthier demo --out {folder}{again}", soft_wrap=True)


def _terminal(console: "Console", rank: bool) -> "Told":
    from rich.markup import escape

    from luthier.cli._console import ConsoleReporter
    from luthier.recipes.demo import Told
    from luthier.recipes.ranked import Person

    def heading(name: str, what: str) -> None:
        console.print(f"\n[bold]{NUMBER[name]} of {len(NUMBER)}  {name}[/bold]  [dim]{escape(what)}[/dim]", soft_wrap=True)

    def say(text: str) -> None:
        console.print(f"[dim]{escape(text)}[/dim]", soft_wrap=True)

    def write(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    return Told(heading, say, lambda: ConsoleReporter(console), Person(input, write) if rank else None)


def show(console: "Console", shown: "Shown") -> None:
    """Answers side by side, what it brought, the page, and what to try next."""
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    from luthier.recipes.page import FILE
    from luthier.recipes.quantities import duration

    console.print("\n[bold]The same question to each[/bold]")
    for line in shown.side_by_side:
        console.print(Padding(f"“{escape(line['question'])}”", (0, 0, 0, 2)))
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, style in STYLES.items():
            table.add_row(f"[{style}]{name}[/]", escape(" ".join(line[name].split())) or "[dim](nothing)[/dim]")
        console.print(Padding(table, (0, 0, 1, 4)))
    console.print("[bold]What it brought[/bold]")
    console.print(Padding(_figures(shown), (0, 0, 1, 2)))
    for sentence in shown.sentences():
        console.print(Padding(escape(sentence), (0, 0, 0, 2)))
    console.print(f"\n[bold]The page of results[/bold] [dim](all of it took {duration(shown.results['seconds'])})[/dim]")
    console.print(f"  {shown.name}/{FILE}", soft_wrap=True)
    console.print("\n[bold]Try next[/bold]")
    for command, what in shown.next_commands():
        console.print(f"  [dim]# {what}[/dim]")
        console.print(f"  [cyan]{escape(command)}[/cyan]", soft_wrap=True)


STYLES = {"base": "dim", "sft": "cyan", "ppo": "green"}


def _figures(shown: "Shown") -> "Table":
    from rich.table import Table

    from luthier.recipes.case_study.summary import told_json

    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("share of answers (95 % interval)")
    for name, style in STYLES.items():
        table.add_column(f"[{style}]{name}[/]", justify="right", no_wrap=True)
    for title, _, shares in shown.bars:
        *others, (_, last) = shares
        table.add_row(title, *(told_json(share) for _, share in others), f"[bold]{told_json(last)}[/bold]")
    return table
