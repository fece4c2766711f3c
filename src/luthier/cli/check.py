"""Check data files, or a run before it starts: what is wrong, where, and what is in them."""

from pathlib import Path
from typing import Annotated

import typer

SECTION = "Start here"

RUN_FILES = (".yaml", ".yml")


def command(
    files: Annotated[list[str], typer.Argument(help="Data files, or one run file (run.yaml).", metavar="FILE...")],
    validation: Annotated[list[str] | None, typer.Option("--validation", "-v", help="Validation file; may be given several times.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Count in this model's tokens: a model folder, a Hugging Face id, or starter.")
    ] = None,
    chat_template: Annotated[str | None, typer.Option(help="A Jinja file, or plain, instead of the model's own template.")] = None,
    near_duplicates: Annotated[bool, typer.Option("--near-duplicates", help="Look for rows that share most of their words, too.")] = False,
    group: Annotated[str | None, typer.Option(help="Count rows and labels by the values of this column.")] = None,
    format: Annotated[str, typer.Option(help="How the files are to be read, where that is not recognized.")] = "auto",
    split: Annotated[str | None, typer.Option(help="The part to check of a file that holds several, such as train.")] = None,
    fix: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the clean rows to a new file. Never overwrites one.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="OUT", help="Draw one page that needs nothing else.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value, for a program.")] = False,
) -> int:
    """Check data files, or a run before it starts: what is wrong, where, and what is in them.

    Files are read in one pass, however large. Exit code 1 if there are errors. `--fix` leaves out rows that can't be used, that stand there
    a second time, that are validation rows, too, and pairs whose answers are the same; with `--near-duplicates` also near duplicates.
    """
    if any(file.endswith(RUN_FILES) for file in files):
        return _check_run(files, as_json)
    from luthier.recipes.check import Request, check
    from luthier.spec.run import ModelSpec

    spec = ModelSpec(path=model, chat_template=chat_template) if model is not None else None
    request = Request(tuple(files), tuple(validation or ()), spec, format, split, group, near_duplicates, fix)
    report = check(request)
    if html is not None:
        from luthier.recipes.check_page import write_page

        write_page(html, report)
    if as_json:
        _print_json({"ready": report.ready, "report": report})
    else:
        from luthier.cli._checked import show

        show(report, html)
    return 0 if report.ready else 1


def _print_json(value: object) -> None:
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def _check_run(files: list[str], as_json: bool) -> int:
    from luthier.errors import SettingsError

    if len(files) > 1:
        raise SettingsError("A run file is checked alone: it names its data files itself. Give either one run file or data files.")
    from luthier.recipes.preflight import preflight
    from luthier.spec.load import load_run

    findings = preflight(load_run(files[0]))
    ready = all(finding.severity != "error" for finding in findings)
    if as_json:
        _print_json({"ready": ready, "findings": findings})
    else:
        from luthier.cli._checked import show_findings

        show_findings(files[0], findings)
    return 0 if ready else 1
