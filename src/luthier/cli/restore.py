"""Make a platform of a backup, where there is none yet."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

SECTION = "Platform"


def command(
    backup: Annotated[Path, typer.Argument(help="A file of `luthier backup`.", exists=True, dir_okay=False)],
    home: Annotated[
        str | None, typer.Option(help="The platform's folder, empty or not there. Default: $LUTHIER_HOME, or ~/.luthier.")
    ] = None,
    database: Annotated[
        str | None, typer.Option(help="The URL of an empty database. Default: $LUTHIER_DATABASE, or a file in the folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value, for a program.")] = False,
) -> None:
    """Make a platform of a backup, where there is none yet.

    Every file and row is compared with the hashes in the backup. Where something does not match, or the folder or the database holds
    something already, nothing is changed. A backup of an older version is brought up to date.
    """
    from luthier.cli._kept import tell
    from luthier.store.backup import SECRET
    from luthier.store.home import DATABASE_VARIABLE, SECRET_VARIABLE, VARIABLE
    from luthier.store.restore import restore

    folder = Path(home or os.environ.get(VARIABLE) or "~/.luthier").expanduser().absolute()
    manifest = restore(backup, folder, database or os.environ.get(DATABASE_VARIABLE))
    if as_json:
        typer.echo(json.dumps({"home": str(folder), "rows": manifest.rows, "made_by": manifest.luthier, "created_at": manifest.created_at}))
        return
    tell(f"{folder} holds again", manifest)
    if SECRET not in manifest.members and SECRET_VARIABLE not in os.environ:
        typer.echo(f"Its secret is not in the backup: set ${SECRET_VARIABLE} to what it was, or no key opens anything.")
