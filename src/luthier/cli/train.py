"""Tune a model on your data: sft, pretrain, or a method of your own."""

from typing import Annotated

import typer

SECTION = "Train"


def command(
    method: Annotated[str, typer.Argument(help="A method (sft, pretrain), a run file (run.yaml), or a Python file of your own.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Any setting as key=value, such as train.epochs=3 adapter.rank=8.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A model folder, a Hugging Face id, or starter.")] = None,
    data: Annotated[list[str] | None, typer.Option("--data", "-d", help="Training file; may be given several times.")] = None,
    validation: Annotated[list[str] | None, typer.Option("--validation", "-v", help="Validation file; may be given several times.")] = None,
    out: Annotated[str | None, typer.Option("--out", "-o", help="The run's folder. Default: runs/<date>-<method>-<data>.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of a progress bar.")] = False,
) -> None:
    from luthier.spec.load import load_request

    spec = load_request(method, settings or [], model=model, data=data or None, validation=validation or None, out=out)
    from luthier.cli._console import show_run  # torch comes with these: what is wrong with the settings is said before
    from luthier.recipes.train import train

    show_run(lambda reporter: train(spec, reporter), as_json)
