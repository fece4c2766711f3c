"""Keys to the platform: make one, see who has which, let one open nothing any more."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli._home import DatabaseOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from luthier.accounts.accounts import Accounts
    from luthier.accounts.keys import Key

SECTION = "Platform"
WIDE, ROOMY = 160, 100
"""Columns of a terminal."""
STYLES = {"active": "green", "expired": "yellow", "revoked": "dim"}

app = typer.Typer(no_args_is_help=True)


@app.command()
def create(
    role: Annotated[str, typer.Option(help="admin, member, rater, auditor or inference, as above.")] = "admin",
    project: Annotated[str, typer.Option(help="Whose files, jobs and models it sees: a project's name or id.")] = "default",
    name: Annotated[str, typer.Option(help="What you will know it by, such as whose it is.")] = "",
    days: Annotated[float | None, typer.Option(help="After how many days it opens nothing any more. Default: never.")] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="For every project: of an admin, or of an auditor who reads them all.")] = False,
    home: HomeOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key. It is printed this once, alone on stdout: KEY=$(luthier keys create) has it.

    admin: everything in its project, its keys too. member: files, jobs, models and answers. rater: feedback alone. auditor: reads every
    record and changes nothing. inference: asks models, and nothing else.
    """
    from luthier.accounts.audit import note
    from luthier.accounts.keys import Wanted
    from luthier.accounts.roles import at_this_machine

    accounts = _accounts(home, database)
    whose = accounts.projects.get(project)
    known, key = accounts.keys.create(Wanted(whose.id, role, name, days, everywhere))
    note(accounts.database, at_this_machine(whose.id), "keys.create", known.id, {"role": role, "name": name, "everywhere": everywhere})
    if as_json:
        typer.echo(json.dumps({**asdict(known), "value": key}, indent=2))
        return
    until = f", until {_day(known.expires_at)}" if known.expires_at else ""
    typer.echo(key)
    typer.echo(f"\n{known.id}: {role} of {'every project' if everywhere else whose.name}{until}. The key is shown this once.", err=True)


@app.command("list")
def list_(
    project: Annotated[str | None, typer.Option(help="Only those of this project.")] = None,
    home: HomeOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keys, the newest first: what is known of them, not the keys themselves."""
    accounts = _accounts(home, database)
    names = {one.id: one.name for one in accounts.projects.all()}
    keys = accounts.keys.of(accounts.projects.get(project).id if project else None, limit=10_000)
    if as_json:
        typer.echo(json.dumps([asdict(key) for key in keys], indent=2))
        return
    if keys:
        _show(keys, names)
    else:
        typer.echo("No keys yet. Make one:  luthier keys create")


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="A key's id, such as key_…; `luthier keys list` shows them.")],
    home: HomeOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a key open nothing any more, at every running server within seconds."""
    from luthier.accounts.audit import note
    from luthier.accounts.roles import at_this_machine

    accounts = _accounts(home, database)
    before = accounts.keys.get(key)
    revoked = accounts.revoke(key)
    if before.status != "revoked":
        note(accounts.database, at_this_machine(revoked.project), "keys.revoke", key)
    if as_json:
        typer.echo(json.dumps(asdict(revoked), indent=2))
        return
    already = "already revoked" if before.status == "revoked" else "revoked"
    typer.echo(f"{revoked.id}  {revoked.hint}  {already}{f'  {revoked.name}' if revoked.name else ''}")


def _show(keys: "list[Key]", names: dict[str, str]) -> None:
    """As a table, without when they were used where there is no room. `names`: of projects, by id."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDE)  # a program's, or a file's: lines stay whole
    wide = console.width >= ROOMY
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("id", "key", "role", "project", "status", *(["last used"] if wide else []), "name"):
        table.add_column(column, no_wrap=column not in ("project", "name"), overflow="fold")
    for key in keys:
        where = "[italic]every[/italic]" if key.everywhere else escape(names[key.project])
        used = [_day(key.last_used_at)] if wide else []
        table.add_row(key.id, key.hint, key.role, where, _status(key), *used, escape(key.name))
    console.print(table)


def _accounts(home: str | None, database: str | None) -> "Accounts":
    from luthier.accounts.accounts import Accounts
    from luthier.store.home import Home

    opened = Home(home, database)
    return Accounts(opened.database, opened.secret)


def _status(key: "Key") -> str:
    said = f"until {datetime.fromtimestamp(key.expires_at):%Y-%m-%d}" if key.status == "active" and key.expires_at else key.status
    return f"[{STYLES[key.status]}]{said}[/]"


def _day(at: float | None) -> str:
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M}" if at is not None else "never"
