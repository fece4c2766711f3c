"""See what a run will need, and whether it fits, before anything is loaded."""

import json
from dataclasses import replace
from typing import Annotated

import typer

SECTION = "Train"


def command(
    method: Annotated[str, typer.Argument(help="A method (sft, pretrain), a run file (run.yaml), or a Python file of your own.")] = "sft",
    settings: Annotated[list[str] | None, typer.Argument(help="Any setting as key=value, such as train.token_budget=4096.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A model folder (config.json is enough), a Hugging Face id, or starter.")
    ] = None,
    data: Annotated[list[str] | None, typer.Option("--data", "-d", help="Training file; without one, full rows are assumed.")] = None,
    validation: Annotated[list[str] | None, typer.Option("--validation", "-v", help="Validation file; may be given several times.")] = None,
    fit: Annotated[str | None, typer.Option(metavar="SIZE", help="Propose settings that fit into so much memory, such as 24GB.")] = None,
    probe: Annotated[bool, typer.Option("--probe", help="Run three real steps for the time, instead of estimating it.")] = False,
    price: Annotated[float | None, typer.Option(metavar="PRICE", min=0, help="What an hour of this machine costs, in euros.")] = None,
    processes: Annotated[int, typer.Option("--processes", "-p", min=1, help="For so many processes, as `luthier train` takes them.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value, for a program.")] = False,
) -> int:
    """See what a run will need, and whether it fits, before anything is loaded.

    Reads the model's config and the rows, never the weights. Exit code 1 where it does not fit.
    """
    from luthier.spec.load import load_request

    spec = load_request(method, settings or [], model=model, data=data or None, validation=validation or None)
    from luthier.recipes.fit import Fitted, bytes_of
    from luthier.recipes.fit import fit as find
    from luthier.recipes.plan import estimate, survey
    from luthier.recipes.several import of_several

    room = bytes_of(fit) if fit is not None else None
    known = survey(spec)
    if processes > 1:
        known = replace(known, assumed=(*known.assumed, of_several(spec, processes)))
    share = None
    if probe:
        from luthier.recipes.speed_probe import measure

        share = measure(spec)
    plan = estimate(spec, known, price, room, share)
    fitted: Fitted | None = None if plan.fits else find(spec, known, price, room)
    if as_json:
        proposed = None if fitted is None else {"settings": fitted.settings, "plan": fitted.plan.as_dict()}
        typer.echo(json.dumps({**plan.as_dict(), "proposed": proposed}, indent=2))
    else:
        from rich.console import Console

        from luthier.cli._planned import show

        show(Console(highlight=False), plan, fitted, named_room=fit)
    return 0 if plan.fits else 1
