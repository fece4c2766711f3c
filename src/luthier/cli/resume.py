"""Go on with a run that was paused or killed, exactly where it stood."""

from typing import Annotated

import typer

SECTION = "Train"


def command(
    run: Annotated[str, typer.Argument(help="The run's folder.")],
    processes: Annotated[int, typer.Option("--processes", "-p", min=1, help="As many as before, or another number.")] = 1,
    ray: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Of a Ray cluster, to go on there: HOST:PORT, auto or local.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of a progress bar.")] = False,
) -> int | None:
    if processes > 1 or ray is not None:
        from luthier.cli._processes import run_several

        return run_several(processes, ray, ["resume", run, *(["--json"] if as_json else [])])
    from luthier.cli._console import show_run
    from luthier.recipes.train import resume

    show_run(lambda reporter: resume(run, reporter), as_json)
    return None
