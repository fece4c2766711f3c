"""The page of rows: one HTML file in which each token has the colour of what becomes of it. Needs neither torch nor anything else."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from luthier.engine.folder import write_atomic
from luthier.text.shown import MEANINGS, Shown
from luthier.text.visible import LINE_BREAK, SPACE, TAB, stretches

PAGES = Path(__file__).resolve().parent / "pages"


def render(rows: Sequence[Shown], model: str, max_length: int) -> str:
    """The page of some rows of one file."""
    environment = Environment(
        loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    signs = {LINE_BREAK: "line break", SPACE: "space at an edge", TAB: "tab"}
    page = environment.get_template("rows.html.jinja")
    return page.render(rows=rows, model=model, max_length=max_length, meanings=MEANINGS, stretches=stretches, signs=signs)


def write_page(file: Path, rows: Sequence[Shown], model: str, max_length: int) -> None:
    write_atomic(file, render(rows, model, max_length))
