"""List runs, show one with its curves, or compare two."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from luthier.recipes.runs import Sight

SECTION = "After a run"

STYLES = {"succeeded": "green", "failed": "bold red", "training": "cyan", "paused": "yellow", "interrupted": "yellow"}

app = typer.Typer(invoke_without_command=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value, for a program.")]
RunPath = Annotated[Path, typer.Argument(help="A run's folder.")]


@app.callback()
def command(context: typer.Context, as_json: Json = False) -> None:
    """List runs, show one with its curves, or compare two. Without a word: the list of those in `runs`."""
    if context.invoked_subcommand is None:
        list_(Path("runs"), as_json)


@app.command("list")
def list_(folder: Annotated[Path, typer.Argument(help="Where the runs lie.")] = Path("runs"), as_json: Json = False) -> None:
    """One line a run, the newest last."""
    from luthier.recipes.quantities import duration
    from luthier.recipes.runs import list_runs

    missing = folder == Path("runs") and not folder.is_dir()  # nothing was made here yet, which is no mistake
    sights, faults = ([], []) if missing else list_runs(folder)
    for fault in faults:
        typer.echo(fault, err=True)
    if as_json:
        typer.echo(json.dumps([sight.summary() for sight in sights], indent=2, ensure_ascii=False))
        return
    if not sights:
        typer.echo(f"No runs in {folder}. Make one:  luthier train sft --data FILE")
        return
    console = _console()
    wide = console.width >= 110
    table = _table("run", "status", *(("method", "model", "data") if wide else ()), "steps", "loss", "time")
    for column in table.columns[1:]:
        column.no_wrap, column.overflow = True, "ellipsis"
        column.justify = "right" if column.header in ("steps", "time") else "left"
    for sight in sights:
        line = sight.summary()
        what = (f"{line['method']}, {line['adapter']}", Path(line["model"]).name, line["data"])
        status = f"[{STYLES.get(line['status'], '')}]{line['status']}[/]"
        loss = "" if line["loss_before"] is None else _change((line["loss_before"], line["loss_after"]))
        table.add_row(line["name"], status, *(what if wide else ()), f"{line['steps']:,}", loss, duration(line["seconds"]))
    console.print(table)


@app.command()
def show(run: RunPath, as_json: Json = False) -> None:
    """Settings, results, certificate and curves of a run."""
    from luthier.recipes.runs import chosen, look, results

    sight = look(run)
    if as_json:
        facts = {**sight.summary(), "settings": chosen(sight.spec), "results": results(sight), "record": sight.record}
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    console = _console()
    console.print(f"[bold]{sight.path}[/bold]  [{STYLES.get(sight.status, '')}]{sight.status}[/]")
    if sight.record and sight.record["reason"]:
        console.print(sight.record["reason"], markup=False)
    _section(console, "Settings (the others are at their defaults)", {key: _value(value) for key, value in chosen(sight.spec).items()})
    _section(console, "Results", {name: _value(value) for name, value in results(sight).items()})
    if sight.record:
        _section(console, "Certificate: how far the fast gradient is from the naive one", _certificate(sight.record))
        _section(console, "Made on", {**sight.record["machine"], **sight.record["versions"]})
    _curves(console, [("training", sight.curve("train"), "blue"), ("validation", sight.curve("validation"), "bold green")])
    console.print()
    for purpose, line in _next(sight):
        console.print(f"[dim]{purpose:<12}[/dim] {line}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A run's folder.")], b: Annotated[Path, typer.Argument(help="Another's.")], as_json: Json = False
) -> None:
    """Settings in which two runs differ, and their results and curves side by side."""
    from luthier.recipes.runs import different, look, results

    sights = look(a), look(b)
    differing = different(sights[0].spec, sights[1].spec)
    found = [results(sight) for sight in sights]
    if as_json:
        facts = {"runs": [str(a), str(b)], "settings": differing, "results": found}
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    console = _console()
    names = _names(a, b)
    table = _table("", *names)
    for key, (mine, theirs) in differing.items():
        table.add_row(key, _value(mine), _value(theirs))
    console.print("[bold]Settings that differ[/bold]")
    console.print(table if differing else "none")
    table = _table("", *names)
    table.add_row("status", *(f"[{STYLES.get(sight.status, '')}]{sight.status}[/]" for sight in sights))
    for name in dict.fromkeys([*found[0], *found[1]]):
        table.add_row(name, *(_value(result.get(name)) for result in found))
    console.print("\n[bold]Results[/bold]")
    console.print(table)
    kind = "validation" if all(sight.curve("validation") for sight in sights) else "train"
    _curves(
        console,
        [(f"{name}, {kind}", sight.curve(kind), style) for name, sight, style in zip(names, sights, ("blue", "bold green"), strict=True)],
    )


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False)


def _table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _section(console: "Console", title: str, rows: dict[str, Any]) -> None:
    if not rows:
        return
    from rich.markup import escape

    table = _table("", "")
    table.show_header = False
    for name, value in rows.items():
        table.add_row(f"[dim]{name}[/dim]", escape(str(value)))
    console.print(f"\n[bold]{title}[/bold]")
    console.print(table)


def _curves(console: "Console", curves: list[tuple[str, list[tuple[float, float]], str]]) -> None:
    from luthier.cli._plot import Line, plot

    lines = [Line(name, points, style, dotted=number == 0) for number, (name, points, style) in enumerate(curves) if points]
    if lines:
        console.print("\n[bold]Loss[/bold]")
        console.print(plot(lines, width=max(20, min(72, console.width - 16))))


def _certificate(record: dict[str, Any]) -> dict[str, str]:
    rows = {}
    for finding in record["certificate"]:
        parts = [f"{finding['fp32']:.1e} in fp32"] if finding["fp32"] is not None else []
        if finding["run_dtype"] is not None:
            noise = f" (its noise {finding['noise']:.1e})" if finding["noise"] is not None else ""
            parts.append(f"{finding['run_dtype']:.1e} in {record['dtype']['chosen']}{noise}")
        rows[f"step {finding['step']}"] = f"{', '.join(parts)}: {'passed' if finding['passed'] else 'FAILED'}"
    return rows


def _next(sight: "Sight") -> list[tuple[str, str]]:
    if sight.status == "training":
        return [("look again", f"luthier runs show {sight.path}")]
    if sight.status != "succeeded":
        return [("go on", f"luthier resume {sight.path}")]
    return [("try it", f"luthier chat {sight.path}"), ("check it", f"luthier verify {sight.path}")]


def _value(value: Any) -> str:
    """A setting or a result as people read it."""
    if isinstance(value, tuple) and len(value) == 2:
        return _change(value)
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _change(ends: tuple[Any, ...]) -> str:
    return f"{ends[0]:.4f} → {ends[1]:.4f}"


def _names(a: Path, b: Path) -> tuple[str, str]:
    """The folders' names, or whole paths where the names are the same."""
    return (a.name, b.name) if a.name != b.name else (str(a), str(b))
