"""Write all that the platform has into one file."""

import json
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli._home import DatabaseOption, HomeOption

SECTION = "Platform"


def command(
    out: Annotated[Path, typer.Argument(help="The file to write, such as luthier.tar.")],
    jobs: Annotated[bool, typer.Option("--jobs/--no-jobs", help="With the folders of jobs: records, metrics, checkpoints.")] = True,
    home: HomeOption = None,
    database: DatabaseOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value, for a program.")] = False,
) -> None:
    """Write all that the platform has into one file.

    The database's rows as they are at one moment, the bytes of all files and tuned models, the folders of jobs, and the secret that keys
    are hashed with: whoever has the file has the platform, so keep it where nobody else reads it. The platform may run meanwhile.
    `luthier restore` makes a platform of it again, on SQLite or PostgreSQL, whichever it came from.

    Base models are not in it: they lie where they were added from.
    """
    from luthier.cli._kept import tell
    from luthier.store.backup import SECRET, back_up
    from luthier.store.blobs import blobs_of
    from luthier.store.home import Home

    opened = Home(home, database)
    manifest = back_up(opened, blobs_of(opened), out, jobs)
    if as_json:
        typer.echo(
            json.dumps({"backup": str(out), "bytes": out.stat().st_size, "rows": manifest.rows, "secret": SECRET in manifest.members})
        )
        return
    tell(f"{out} holds", manifest)
    if SECRET not in manifest.members:
        typer.echo("The secret is that of $LUTHIER_SECRET, which is not in it: keep that, too, or all keys must be made anew.")
