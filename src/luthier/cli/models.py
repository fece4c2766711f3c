"""Which models the platform offers: bases on this machine, other names for them, and what was tuned."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli._home import DatabaseOption, HomeOption, JsonOption

if TYPE_CHECKING:
    from luthier.store.models import Models

SECTION = "Platform"

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_(
    project: Annotated[str, typer.Option(help="Whose tuned models.")] = "default",
    home: HomeOption = None,
    database: DatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Models that can be asked and tuned, and other names for them."""
    models = _models(home, database)
    found, aliases = models.of(project), models.aliases()
    if as_json:
        rows = [{"name": m.name, "kind": m.kind, "base": m.base, "created_at": m.created_at, "lineage": m.lineage} for m in found]
        typer.echo(json.dumps({"models": rows, "aliases": aliases}, indent=2))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("model", "what it is", "since", "also called"):
        table.add_column(column, no_wrap=column != "also called", overflow="fold")  # a name is there to be copied
    for model in found:
        others = ", ".join(name for name, target in aliases.items() if target == model.name)
        kind = {"base": "base", "adapter": "tuned", "model": "tuned, whole weights"}[model.kind]
        kind = "checkpoint" if ":ckpt-step-" in model.name else kind
        since = f"{datetime.fromtimestamp(model.created_at):%Y-%m-%d %H:%M}"
        table.add_row(escape(model.name), kind, since, escape(others))
    Console(highlight=False).print(table)


@app.command()
def add(
    path: Annotated[str, typer.Argument(help="A model folder, or the id of a model that `hf download` has fetched.")],
    name: Annotated[str | None, typer.Option(help="Its name here. Default: the folder's or id's last part.")] = None,
    home: HomeOption = None,
    database: DatabaseOption = None,
) -> None:
    """Offer a model on this machine as a base."""
    model = _models(home, database).add_base(path, name)
    typer.echo(f"{model.name}  {model.base}")


@app.command()
def alias(
    name: Annotated[str, typer.Argument(help="Another name, such as gpt-4o-mini-2024-07-18; `openai` for all of OpenAI's names.")],
    target: Annotated[str, typer.Argument(help="What it stands for: a model's name, a folder, or a Hugging Face id.")],
    home: HomeOption = None,
    database: DatabaseOption = None,
) -> None:
    """Let another name stand for a model, so that scripts that hold it go on working."""
    from luthier.api.names import let_stand

    names = let_stand(_models(home, database), f"{name}={target}")
    typer.echo(f"{', '.join(names)}  →  {target}")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="A base, an alias, or a tuned model. A base's own files stay.")],
    project: Annotated[str, typer.Option(help="Whose tuned model.")] = "default",
    home: HomeOption = None,
    database: DatabaseOption = None,
) -> None:
    """Forget a base or an alias; delete a tuned model."""
    models = _models(home, database)
    if name in models.aliases():
        models.remove_alias(name)
    elif name.startswith("ft:"):
        models.remove(name, project)
    else:
        models.remove_base(name)
    typer.echo(f"{name}  removed")


def _models(home: str | None, database: str | None) -> "Models":
    from luthier.store.blobs import blobs_of
    from luthier.store.home import Home
    from luthier.store.models import Models

    opened = Home(home, database)
    return Models(opened.database, blobs_of(opened), opened.folder / "models")
