"""Runs and checks that wait for a worker: submit, look, cancel, pause, resume."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli._home import DatabaseOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from luthier.jobs.queue import Queue
    from luthier.jobs.records import Job

SECTION = "Platform"
STYLES = {"succeeded": "green", "failed": "red", "cancelled": "dim", "running": "bold", "paused": "yellow"}

app = typer.Typer(no_args_is_help=True)

JobArgument = Annotated[str, typer.Argument(help="A job's id, such as ftjob-….")]


@app.command()
def submit(
    what: Annotated[str, typer.Argument(help="A run file (run.yaml) or a method to train; or a data file to check.")],
    settings: Annotated[list[str] | None, typer.Argument(help="Any setting of the run as key=value; or further files to check.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="A model folder, a Hugging Face id, or starter.")] = None,
    data: Annotated[list[str] | None, typer.Option("--data", "-d", help="Training file; may be given several times.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call it. Default: its file's name.")] = None,
    priority: Annotated[int, typer.Option(help="Higher is sooner.")] = 0,
    after: Annotated[list[str] | None, typer.Option(help="A job that must succeed before; may be given several times.")] = None,
    processes: Annotated[int, typer.Option("--processes", "-p", min=1, help="Devices of one machine, as of `luthier train`.")] = 1,
    home: HomeOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a run or a check of data files into the queue. It is kept when this returns; `luthier worker` does it."""
    import shutil

    from luthier.cli._submitted import asked
    from luthier.errors import UserError
    from luthier.jobs.queue import Queue
    from luthier.store.home import Home

    opened = Home(home, database)
    wanted = asked(opened.jobs, what, settings or [], model, data or [], name, priority, after or [], processes)
    try:
        job = Queue(opened.database).submit(wanted)
    except UserError:
        shutil.rmtree(wanted.folder)
        raise
    _print(job, as_json)


@app.command("list")
def list_(home: HomeOption = None, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Jobs, the newest first; below them, why some wait that no worker here can take."""
    queue = _queue(home, database)
    jobs = queue.newest()
    waiting = queue.waiting(jobs)
    if as_json:
        typer.echo(json.dumps([{**_public(job), "waits": waiting.get(job.id)} for job in jobs], indent=2))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("job", "status", "since", "name"):
        table.add_column(column, no_wrap=column != "name", overflow="fold")
    for job in jobs:
        style = STYLES.get(job.status, "")
        status = f"[{style}]{job.status}[/]" if style else job.status
        table.add_row(job.id, status, f"{datetime.fromtimestamp(job.created_at):%m-%d %H:%M}", escape(job.name))
    console = Console(highlight=False)
    console.print(table if jobs else "[dim]No jobs yet.[/dim]")
    for why in dict.fromkeys(waiting.values()):
        several = [job.id for job in jobs if waiting.get(job.id) == why]
        console.print(f"\n{', '.join(several)}\n  {escape(why)}", soft_wrap=True)


@app.command()
def show(job: JobArgument, home: HomeOption = None, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """A job, and what happened to it."""
    queue = _queue(home, database)
    found, events = queue.get(job), queue.events(job)
    waits = queue.waiting([found]).get(job)
    if as_json:
        typer.echo(json.dumps({**_public(found), "waits": waits, "events": [asdict(event) for event in events]}, indent=2))
        return
    _print(found, False)
    if waits:
        typer.echo(f"  {waits}")
    for event in events:
        typer.echo(f"  {datetime.fromtimestamp(event.at):%Y-%m-%d %H:%M:%S}  {event.message}")


@app.command()
def cancel(job: JobArgument, home: HomeOption = None, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """End a job for good. One that runs has ended within seconds."""
    _print(_queue(home, database).cancel(job), as_json)


@app.command()
def pause(job: JobArgument, home: HomeOption = None, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Let a job save its state and leave its worker."""
    _print(_queue(home, database).pause(job), as_json)


@app.command()
def resume(job: JobArgument, home: HomeOption = None, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Put a paused job back into the queue; it goes on where it stopped."""
    _print(_queue(home, database).resume(job), as_json)


def _queue(home: str | None, database: str | None) -> "Queue":
    from luthier.jobs.queue import Queue
    from luthier.store.home import Home

    return Queue(Home(home, database).database)


def _public(job: "Job") -> dict[str, object]:
    """What is anybody's business: not the word that only the worker knows."""
    return {name: value for name, value in asdict(job).items() if name != "lease"}


def _print(job: "Job", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_public(job), indent=2))
        return
    wanted = f" (will be {job.wanted})" if job.wanted else ""
    typer.echo(f"{job.id}  {job.status}{wanted}  {job.name}\n  {job.folder}")
    if job.error:
        typer.echo(f"  {job.error}")
