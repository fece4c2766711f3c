"""Train on growing shares of the data and say what more data would bring."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

SECTION = "Train"


def command(
    run: Annotated[str, typer.Argument(help="A run file (run.yaml), or a method, such as sft.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Any setting as key=value, such as train.epochs=3.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A model folder, a Hugging Face id, or starter.")] = None,
    data: Annotated[list[str] | None, typer.Option("--data", "-d", help="Training file; may be given several times.")] = None,
    validation: Annotated[list[str] | None, typer.Option("--validation", "-v", help="File of rows to measure on.")] = None,
    shares: Annotated[str, typer.Option(help="Shares of the training rows, growing.")] = "0.1,0.2,0.35,0.6,1",
    budget_minutes: Annotated[float | None, typer.Option(min=0.01, help="Begin no share that would not end within this time.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The curve's folder. Default: runs/curve-<data>.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value, for a program.")] = False,
) -> None:
    """Train on growing shares of the data and say what more data would bring.

    Each share is trained with the same settings and measured on the same held-out rows: the loss, and the accuracy where the rows are
    texts with a label. Through the points goes a power law, and its forecast says what twice the data would bring, with an interval.
    The same command goes on where it was stopped; shares that are done are not trained again.
    """
    from luthier.errors import SettingsError
    from luthier.spec.load import load_request

    try:
        asked = tuple(float(share) for share in shares.split(","))
    except ValueError:
        raise SettingsError(f"`--shares` is {shares!r}; it must be numbers with commas between them, such as 0.1,0.3,1.") from None
    spec = load_request(run, settings or [], model=model, data=data or None, validation=validation or None)
    if not spec.data.train:
        raise SettingsError("`data.train` is empty. Give a file: `--data FILE`, or `data.train=FILE`.")
    folder = out or Path(spec.out or f"runs/curve-{Path(spec.data.train[0].path).name.split('.')[0]}")
    from rich.console import Console

    from luthier.cli._console import ConsoleReporter
    from luthier.engine.report import Silent
    from luthier.recipes.curve import Plan, curve
    from luthier.recipes.curve_figure import draw

    console = Console(stderr=True, quiet=as_json)
    plan = Plan(spec, folder, asked, None if budget_minutes is None else 60 * budget_minutes)
    found = curve(
        plan, lambda text: console.print(f"[dim]{text}[/dim]", highlight=False), Silent if as_json else lambda: ConsoleReporter(console)
    )
    files = draw(found, folder)
    if as_json:
        typer.echo(json.dumps({**found, "folder": str(folder), "figures": [str(file) for file in files]}, indent=2, ensure_ascii=False))
        return
    show(Console(highlight=False), found)
    typer.echo(f"\n{files[0]}")


def show(console: "Console", found: dict[str, Any]) -> None:
    """Points, curve and forecasts."""
    from rich.table import Table

    classifies = "error_rate" in found["fits"]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for name in ("share", "rows", "loss", *(("accuracy", "TF-IDF") if classifies else ()), "time"):
        table.add_column(name, justify="right")
    from luthier.recipes.quantities import duration

    for p in found["points"]:
        accuracies = (f"{100 * p['accuracy']:.1f} %", f"{100 * p['accuracy_tfidf']:.1f} %") if classifies else ()
        table.add_row(f"{100 * p['share']:g} %", f"{p['rows']:,}", f"{p['loss']:.4f}", *accuracies, duration(p["seconds"]))
    console.print(table)
    for name in sorted(found["fits"]):
        _plot(console, found, name)
    console.print()
    for name in sorted(found["fits"]):
        for sentence in sentences(found, name):
            console.print(sentence)


def _plot(console: "Console", found: dict[str, Any], name: str) -> None:
    import math

    from luthier.cli._plot import Line, plot
    from luthier.recipes.curve_figure import NAMES, measured, shown, value_at

    fit, rows = found["fits"][name], [point["rows"] for point in found["points"]]
    last = fit["forecasts"][-1]["rows"]
    steps = [rows[0] * math.exp(math.log(last / rows[0]) * i / 60) for i in range(61)]
    lines = [
        Line("power law", [(size, shown(value_at(fit, size), name == "error_rate")) for size in steps], "blue", dotted=True),
        Line("measured", list(zip(rows, measured(found, name), strict=True)), "bold green"),
    ]
    console.print(f"\n[bold]{NAMES[name].capitalize()}[/bold]")
    console.print(plot(lines, width=max(20, min(72, console.width - 16)), height=9, x_name="rows"))


def sentences(found: dict[str, Any], name: str) -> list[str]:
    """What the forecasts say."""
    best = found["points"][-1]
    said = []
    for forecast in found["fits"][name]["forecasts"]:
        size = "all rows" if forecast["rows"] == found["total_rows"] else "twice the data"
        if name == "error_rate":
            middle, low, high = 1 - forecast["value"], 1 - forecast["high"], 1 - forecast["low"]
            now = f"{best['accuracy'] * 100:.1f} %"
            what = f"an accuracy of [bold]{middle * 100:.1f} %[/bold] (95 %: {low * 100:.1f}–{high * 100:.1f} %), from {now}"
        else:
            middle, low, high = (forecast[key] for key in ("value", "low", "high"))
            what = f"a loss of [bold]{middle:.4f}[/bold] (95 %: {low:.4f}–{high:.4f}), from {best['loss']:.4f}"
        said.append(f"{size.capitalize()} ({forecast['rows']:,} rows) would bring {what} with {best['rows']:,}.")
    return said
