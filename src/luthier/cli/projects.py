"""Projects on the platform: whose files, jobs and models they are, and how much each may use."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli._home import DatabaseOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from luthier.accounts.accounts import Accounts
    from luthier.accounts.projects import Project

SECTION = "Platform"

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
UNITS |= {"K": 10**3, "M": 10**6, "G": 10**9}

app = typer.Typer(no_args_is_help=True)

ProjectArgument = Annotated[str, typer.Argument(help="A project's name or id.")]
SettingsArgument = Annotated[
    list[str], typer.Argument(help="What it may use, as key=value, such as max_files_bytes=10GB; none: as at first. `show` lists them.")
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What people will call it.")],
    settings: SettingsArgument = [],  # noqa: B006  (typer reads it, nobody writes it)
    home: HomeOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a project. It sees nothing of others, nor they of it. Then make a key for it."""
    accounts = _accounts(home, database)
    made = accounts.projects.create(name, _read(settings))
    _note(accounts, "projects.create", made, {"name": name})
    if as_json:
        typer.echo(json.dumps(_public(made), indent=2))
        return
    typer.echo(f"{made.id}  {made.name}\n\nMake a key for it:  luthier keys create --project {made.name} --role member")


@app.command("list")
def list_(home: HomeOption = None, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """Projects, the oldest first."""
    accounts = _accounts(home, database)
    projects = accounts.projects.all()
    if as_json:
        typer.echo(json.dumps([_public(project) for project in projects], indent=2))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("project", "id", "active keys", "open jobs", "files"):
        table.add_column(column, overflow="fold", justify="right" if column in ("active keys", "open jobs", "files") else "left")
    for project in projects:
        usage = accounts.usage(project.id)
        active = [key for key in accounts.keys.of(project.id, limit=10_000) if key.status == "active"]
        table.add_row(escape(project.name), project.id, str(len(active)), str(usage.open_jobs), _size(usage.files_bytes))
    Console(highlight=False).print(table)


@app.command()
def show(project: ProjectArgument, home: HomeOption = None, database: DatabaseOption = None, as_json: JsonOption = False) -> None:
    """What a project may use, and what it has of it."""
    accounts = _accounts(home, database)
    found = accounts.projects.get(project)
    _print(accounts, found, as_json)


@app.command("set")
def set_(
    project: ProjectArgument,
    settings: SettingsArgument,
    home: HomeOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set what a project may use. It holds at every running server within seconds."""
    accounts, changes = _accounts(home, database), _read(settings)
    changed = accounts.projects.change(project, changes)
    _note(accounts, "projects.change", changed, changes)
    _print(accounts, changed, as_json)


def _read(settings: list[str]) -> dict[str, Any]:
    """Of `key=value`, with numbers as people write them. Raises `SettingsError`."""
    from luthier.errors import SettingsError

    found = {}
    for given in settings:
        key, sign, value = given.partition("=")
        if not key or not sign:
            raise SettingsError(f"`{given}` should be key=value, such as max_open_jobs=5.")
        found[key] = None if value.lower() in ("none", "null", "") else _json(value) if value[0] in "[{" else _number(value)
    return found


def _json(value: str) -> Any:
    from luthier.errors import SettingsError

    try:
        return json.loads(value)
    except ValueError as error:
        raise SettingsError(f"`{value}` is no JSON: {error}. Put it in single quotes, so that the shell leaves its double ones.") from error


def _number(value: str) -> Any:
    """`10GB`, `1_000` or `500,000` as a number; anything else as it stands, for whoever checks it to name."""
    plain = value.replace("_", "").replace(",", "").strip().upper()
    digits = plain.rstrip("BIKMGT")
    unit = plain[len(digits) :]
    try:
        number = float(digits) * (UNITS[unit] if unit else 1)
    except (ValueError, KeyError):
        return value
    return int(number) if number == int(number) else number


def _accounts(home: str | None, database: str | None) -> "Accounts":
    from luthier.accounts.accounts import Accounts
    from luthier.store.home import Home

    opened = Home(home, database)
    return Accounts(opened.database, opened.secret)


def _note(accounts: "Accounts", action: str, project: "Project", details: dict[str, Any]) -> None:
    from luthier.accounts.audit import note
    from luthier.accounts.roles import at_this_machine

    note(accounts.database, at_this_machine(project.id), action, project.id, details)


def _public(project: "Project") -> dict[str, Any]:
    return {"id": project.id, "name": project.name, "settings": project.settings.model_dump(), "created_at": project.created_at}


def _print(accounts: "Accounts", project: "Project", as_json: bool) -> None:
    usage = accounts.usage(project.id)
    if as_json:
        typer.echo(json.dumps({**_public(project), "usage": asdict(usage)}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    has = {
        "max_open_jobs": f"{usage.open_jobs}",
        "max_files_bytes": _size(usage.files_bytes),
        "trained_tokens_per_month": f"{usage.trained_tokens:,}",
    }
    typer.echo(f"{project.name}  {project.id}\n")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("setting", "has", "value"):
        table.add_column(column, overflow="fold", justify="right" if column == "has" else "left")
    for name, value in project.settings.model_dump(mode="json").items():
        table.add_row(name, has.get(name, ""), _value(name, value))
    Console(highlight=False).print(table)
    typer.echo(f"\nChange one:  luthier projects set {project.name} max_open_jobs=5")


def _value(name: str, value: Any) -> str:
    """A setting as people write it for `set`."""
    from rich.markup import escape

    if value is None:
        return "[dim]no limit[/dim]"
    if name == "max_files_bytes":
        return _size(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return escape(json.dumps(value, ensure_ascii=False))


def _size(num_bytes: int) -> str:
    """In units of 1,000, as they are written for `set`."""
    size = float(num_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"
