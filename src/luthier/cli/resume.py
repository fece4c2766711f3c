"""Go on with a run that was paused or killed, exactly where it stood."""

from typing import Annotated

import typer

SECTION = "Train"


def command(
    run: Annotated[str, typer.Argument(help="The run's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of a progress bar.")] = False,
) -> None:
    from luthier.cli._console import show_run
    from luthier.recipes.train import resume

    show_run(lambda reporter: resume(run, reporter), as_json)
