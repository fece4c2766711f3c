"""The options by which a command finds the platform that it works on."""

from typing import Annotated

import typer

HomeOption = Annotated[str | None, typer.Option("--home", help="The platform's folder. Default: $LUTHIER_HOME, or ~/.luthier.")]
DatabaseOption = Annotated[
    str | None, typer.Option("--database", help="The database's URL. Default: $LUTHIER_DATABASE, or a file in the folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value, for a program.")]
