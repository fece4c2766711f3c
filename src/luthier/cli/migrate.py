"""Bring along settings of another tool as a run file, or everything that an OpenAI account has."""

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli._home import DatabaseOption, HomeOption

if TYPE_CHECKING:
    from luthier.arrivals.archive import Archive
    from luthier.arrivals.platform import Arriving
    from luthier.arrivals.translate import Translation

SECTION = "Start here"

OPENAI = "openai"
"""The word that stands for an account instead of a file."""
KEY = "OPENAI_API_KEY"
OPENAI_URL = "https://api.openai.com/v1"


def command(
    what: Annotated[
        str, typer.Argument(metavar="FILE | openai", help="Settings of another tool (YAML, JSON, Python, notebook), or `openai`.")
    ],
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="The run file (default: run.yaml), or a folder for what OpenAI has.")
    ] = None,
    tool: Annotated[str | None, typer.Option(help="Whose settings they are, where they are not recognized.")] = None,
    method: Annotated[str | None, typer.Option(help="The method, where the file does not say it: sft, dpo, kto, grpo …")] = None,
    devices: Annotated[int, typer.Option(min=1, help="On how many devices it ran: batches are multiplied by it.")] = 1,
    base_url: Annotated[str, typer.Option(help="With `openai`: where it answers.")] = OPENAI_URL,
    project: Annotated[str, typer.Option(help="With `openai`: the project here that gets the files.")] = "default",
    home: HomeOption = None,
    database: DatabaseOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value, for a program.")] = False,
) -> None:
    """Bring along settings of another tool as a run file, or everything that an OpenAI account has.

    Settings of TRL, LLaMA-Factory, Axolotl, Unsloth and Soup, and OpenAI's jobs, are recognized by their keys. Python is read, never run.
    What carries over, what is computed, what has no equivalent and what would be silently different is listed, key by key.

    `luthier migrate openai` takes files, jobs with events and checkpoints, evals and stored completions out of the account whose key is in
    OPENAI_API_KEY: into the platform, or with `--out` into a folder. Broken off, it goes on where it was.
    """
    if what == OPENAI:
        _account(out, base_url, project, home, database, as_json)
    else:
        _settings(what, out or "run.yaml", tool, method, devices, as_json)


def _settings(path: str, out: str, tool: str | None, method: str | None, devices: int, as_json: bool) -> None:
    from pathlib import Path

    from luthier.arrivals.translate import translated
    from luthier.errors import SettingsError

    if Path(out).exists():
        raise SettingsError(f"{out} is there already, and nothing is written over. Choose another name with `--out`.")
    translation = translated(path, tool, method, devices)
    with Path(out).open("x", encoding="utf-8") as file:
        file.write(translation.text)
    if as_json:
        typer.echo(json.dumps({"file": out, **facts(translation)}, indent=2, ensure_ascii=False, default=str))
        return
    from luthier.cli._migrated import show

    show(translation, out)


def facts(translation: "Translation") -> dict[str, Any]:
    """As JSON: what became of each setting."""
    lines = [
        {
            "fate": line.fate,
            "key": line.source,
            "value": line.value,
            "line": line.line,
            "to": line.to or None,
            "now": line.now,
            "text": line.text,
        }
        for line in translation.lines
    ]
    return {
        "tool": translation.tool,
        "method": translation.spec.method.name,
        "settings": lines,
        "differences": list(translation.differences),
    }


def _account(out: str | None, base_url: str, project: str, home: str | None, database: str | None, as_json: bool) -> None:
    from pathlib import Path

    from luthier.arrivals.account import Account
    from luthier.arrivals.archive import Archive
    from luthier.arrivals.taking import take
    from luthier.cli._migrated import Telling, show_archive
    from luthier.errors import SettingsError

    key = os.environ.get(KEY, "").strip()
    if not key:
        raise SettingsError(f"The environment variable {KEY} is not set. Put the account's key there, such as: export {KEY}=sk-…")
    arriving = _arriving(project, home, database) if out is None else None
    archive = Archive(arriving.folder if arriving is not None else Path(out or ""))
    with Account(base_url, key) as account, Telling(not as_json) as telling:
        take(account, archive, arriving, telling)
    if as_json:
        typer.echo(json.dumps(archive_facts(archive), indent=2, ensure_ascii=False))
        return
    show_archive(archive, arriving is not None)


def _arriving(project: str, home: str | None, database: str | None) -> "Arriving":
    from luthier.accounts.projects import Projects
    from luthier.arrivals.platform import Arriving
    from luthier.store.home import Home

    opened = Home(home, database)
    return Arriving.at(opened, Projects(opened.database).get(project).id)


def archive_facts(archive: "Archive") -> dict[str, Any]:
    """As JSON: how many of what there are, and what could not be taken."""
    return {"folder": str(archive.folder), "counts": archive.counts(), "missing": archive.missing(), "next": str(archive.next_steps)}
