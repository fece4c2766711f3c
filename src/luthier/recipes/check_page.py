"""The page of a check: one HTML file that tells what was found in data files. Needs neither torch nor anything else."""

import re
from html import escape
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from luthier.data.survey.lengths import span
from luthier.data.survey.places import named
from luthier.data.survey.report import LeftOut, Report
from luthier.engine.folder import write_atomic
from luthier.recipes.quantities import duration

PAGES = Path(__file__).resolve().parent / "pages"
MAX_LABELS = 200
"""Labels that the page draws."""


def render(report: Report) -> str:
    """The page of a report."""
    environment = Environment(
        loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["coded"] = coded
    names = [Path(file.path).name for file in report.files if file.use == "training"]
    return environment.get_template("check.html.jinja").render(
        report=report,
        title=", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else ""),
        summary=report.summary,
        span=span,
        duration=duration,
        number=number,
        lines=lines,
        max_labels=MAX_LABELS,
    )


def write_page(file: Path, report: Report) -> None:
    """Write the page, over an earlier one."""
    write_atomic(file, render(report))


def coded(sentence: str) -> str:
    """A sentence as HTML, in which what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(sentence))


def number(value: int) -> str:
    return f"{value:,}"


def lines(part: LeftOut) -> str:
    """`lines 3–5, 9`"""
    return named(line for first, last in part.lines for line in range(first, last + 1))
