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
    processes: Annotated[int, typer.Option("--processes", "-p", min=1, help="Devices of this machine, or processes on its CPU.")] = 1,
    ray: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Of a Ray cluster, to train there: HOST:PORT, auto or local.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of a progress bar.")] = False,
) -> int | None:
    from luthier.spec.load import load_request

    spec = load_request(method, settings or [], model=model, data=data or None, validation=validation or None, out=out)
    if processes > 1 or ray is not None:
        from luthier.cli._processes import run_several

        given: dict[str, list[str | None]] = {
            "--model": [model],
            "--data": [*(data or [])],
            "--validation": [*(validation or [])],
            "--out": [out],
        }
        options = [word for name, values in given.items() for value in values if value is not None for word in (name, value)]
        return run_several(processes, ray, ["train", method, *(settings or []), *options, *(["--json"] if as_json else [])])
    from luthier.cli._console import show_run  # torch comes with these: what is wrong with the settings is said before
    from luthier.recipes.train import train

    show_run(lambda reporter: train(spec, reporter), as_json)
    return None
