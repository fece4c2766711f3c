"""Add a run's adapter to its base and write a plain model."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

SECTION = "After a run"


def command(
    run: Annotated[Path, typer.Argument(help="A finished run's folder.")],
    out: Annotated[Path, typer.Argument(help="A new folder for the model.")],
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None, typer.Option(help="Type of the weights. Default: that of the base's files.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as one JSON value.")] = False,
) -> None:
    """Add a run's adapter to its base and write a plain model.

    The sum is made in fp32. The model is loaded again, its logits on rows of the run's data are compared with those of base and adapter,
    and it is kept only if they agree. Tokenizer and chat template lie beside it: transformers, vLLM and others load the folder as it is.
    """
    from rich.console import Console
    from rich.table import Table

    from luthier.recipes.merge import merge

    aside = Console(stderr=True, quiet=as_json)
    done = merge(run, out, dtype, lambda text: aside.print(f"[dim]{text}[/dim]", highlight=False))
    if as_json:
        typer.echo(json.dumps({**asdict(done), "path": str(done.path)}, indent=2))
        return
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_row("[dim]merged[/dim]", f"{done.num_layers} layers, saved in {done.dtype}")
    compared = f"logits of {done.num_rows} rows differ by {done.difference:.1e} from those of base and adapter"
    table.add_row("[dim]compared[/dim]", f"{compared} (allowed {done.tolerance:.1e}; the adapter changed them by {done.effect:.1e})")
    table.add_row("[dim]folder[/dim]", str(done.path))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(f"Try it:  luthier chat {done.path}")
