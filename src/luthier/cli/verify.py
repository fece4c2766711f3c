"""Check that a run's record is true, by deriving it again."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

SECTION = "After a run"

SIGNS = {"same": "[green]✓[/green]", "differs": "[bold red]✗[/bold red]", "not checked": "[yellow]–[/yellow]"}


def command(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    compute: Annotated[bool, typer.Option("--replay/--no-replay", help="Compute the run's last steps again, as long as they took.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON value.")] = False,
) -> int:
    """Check that a run's record is true, by deriving it again.

    Compares hashes of settings, data, model, template, result and checkpoints; figures with the lines written on the way; and computes the
    steps between the last two checkpoints once more in a temporary folder: they must arrive at the same weights, bit for bit. Tables of
    `luthier evaluate` and a reward model's report are measured once more, too.

    Exit code 1 where something differs. What could not be checked is said, and is no failure.
    """
    from rich.console import Console
    from rich.markup import escape

    from luthier.recipes.verify import verify

    console = Console(highlight=False, soft_wrap=True, quiet=as_json)
    checks = []
    for check in verify(run, compute):
        checks.append(check)
        console.print(f"{SIGNS[check.outcome]} {check.what:<12} {escape(check.detail)}")
    wrong = [check for check in checks if check.outcome == "differs"]
    left = sum(check.outcome == "not checked" for check in checks)
    if as_json:
        typer.echo(
            json.dumps({"run": str(run), "true": not wrong, "checks": [asdict(check) for check in checks]}, indent=2, ensure_ascii=False)
        )
    elif wrong:
        console.print(f"\n[bold red]{len(wrong)} of {len(checks)} differ:[/bold red] the record does not say what is there.")
    else:
        console.print("\nThe record is true" + (f" as far as it could be checked; {left} could not." if left else "."))
    return 1 if wrong else 0
