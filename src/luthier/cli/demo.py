"""Tune the bundled model on bundled data and show what changed: two minutes, no network."""

import json
import sys
from typing import Annotated

import typer

SECTION = "Start here"


def command(
    settings: Annotated[list[str] | None, typer.Argument(help="Any setting as key=value, such as train.epochs=2.")] = None,
    out: Annotated[str | None, typer.Option("--out", "-o", help="The run's folder. Default: runs/demo-<date>.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of tables.")] = False,
) -> None:
    """Tune the bundled model on bundled data and show what changed: two minutes, no network.

    A small model that comes with Luthier learns to answer as the support of a lender does. The run's folder then holds a page of results,
    index.html: held-out loss and accuracy before and after, three questions answered by both models, the certificate, time, memory, energy.
    """
    from rich.console import Console

    from luthier.cli._console import ConsoleReporter
    from luthier.cli._results import show
    from luthier.recipes.demo import demo, demo_spec
    from luthier.recipes.page import Results

    spec = demo_spec(out, overrides=settings or [])
    if as_json:
        sys.stdout.write(json.dumps(demo(spec).record, indent=2) + "\n")
        return
    console = Console(highlight=False)
    reporter = ConsoleReporter(console)
    try:
        run = demo(spec, reporter)
    finally:
        reporter.progress.stop()
    show(console, Results(run.folder, str(run.path)))
