"""Draw a run's page of results, one HTML file that needs nothing else."""

import json
from typing import Annotated

import typer

SECTION = "After a run"


def command(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    out: Annotated[str | None, typer.Option("--out", "-o", help="The file to write. Default: index.html in the run's folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print where it lies as JSON.")] = False,
) -> None:
    """Draw a run's page of results, one HTML file that needs nothing else.

    The page shows what record.json, metrics.jsonl, samples.jsonl and, where questions were compared, comparison.jsonl say. It asks no
    network for anything, so it can be sent as it is.
    """
    from luthier.recipes.page import write_page

    file = write_page(run, out)
    typer.echo(json.dumps({"page": str(file)}) if as_json else str(file))
