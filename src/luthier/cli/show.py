"""Show rows as training sees them: each token coloured by whether it is learned, read, dropped or cut."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from luthier.spec.rows import Faulty, Row, Skipped
    from luthier.text.learning import Learning
    from luthier.text.shown import Shown

SECTION = "Train"

PLACE = re.compile(r"(?P<file>.+):(?P<line>\d+)")


def command(
    file: Annotated[str, typer.Argument(help="A data file; also train.jsonl:417, as messages name a row.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings of model, data and method as key=value: data.max_length=512 method=dpo.")
    ] = None,
    row: Annotated[
        int | None, typer.Option("--row", "--line", "-r", min=1, help="The line at which it begins. Default: the first row.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many rows, from there on.")] = 1,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Whose tokenizer and template. Default: starter.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page there that needs nothing else.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every token as JSON.")] = False,
) -> None:
    """Show rows as training sees them: each token coloured by whether it is learned, read, dropped or cut.

    Works for every kind of row, and without torch. Where there are no colours, brackets tell the kinds apart. Without a method, the tokens
    of answers are shown as learned; with one, those that it scores.
    """
    from luthier.data.load import stream
    from luthier.errors import DataError, SettingsError
    from luthier.spec.load import load_run
    from luthier.spec.rows import Faulty
    from luthier.text.folder import DEFAULT_CONTEXT, context_length, local_folder
    from luthier.text.learning import Learning, learning_of
    from luthier.text.renderer import Renderer
    from luthier.text.shown import show

    if others := [setting for setting in settings or [] if not setting.startswith(("model.", "data.", "method.", "method="))]:
        raise SettingsError(
            f"`{others[0]}` changes nothing here: `luthier show` reads settings of `model`, `data` and `method` alone. Leave it out."
        )
    path, line = _place(file, row)
    spec = load_run(None, settings or [], model=model, data=path)
    learning = learning_of(spec.method) if any(setting.startswith("method") for setting in settings or []) else Learning()
    found = chosen(stream(spec.data.train[0]), line or 1, count)
    if not found:
        raise DataError(f"{path} has no row.")
    if isinstance(found[0], Faulty):
        raise DataError(found[0].why)
    folder = local_folder(spec.model)
    renderer = Renderer.load(folder, spec.model.chat_template, arguments=spec.model.template_arguments)
    max_length = spec.data.max_length or context_length(folder) or DEFAULT_CONTEXT
    rows = [with_note(show(asked(row, learning), renderer, max_length, learning), learning) for row in found if not isinstance(row, Faulty)]
    faults = [row.why for row in found if isinstance(row, Faulty)]
    if html is not None:
        from luthier.recipes.row_page import write_page

        write_page(html, rows, spec.model.path, max_length)
    if as_json:
        facts = {"model": spec.model.path, "max_length": max_length, "rows": [_facts(row) for row in rows], "faults": faults}
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    elif html is not None:
        typer.echo(str(html))
    else:
        _print(rows, faults, spec.model.path, max_length, _aside(path, line, rows))


def asked(row: "Row", learning: "Learning") -> "Row":
    """The row as the method takes it: where the policy is to answer, its prompt alone.

    Raises:
        DataError: a kind of row that the method does not learn from.
    """
    from luthier.batches.encode import refuse_kind
    from luthier.data.prompts import prompt_of
    from luthier.spec.rows import Conversation, Task

    if learning.rows:
        refuse_kind(type(row).__name__, str(row.origin), learning.rows, learning.method)
    if (
        isinstance(row, Task)
        or not learning.scored.startswith("prompts")
        or (learning.scored != "prompts" and isinstance(row, Conversation))
    ):
        return row
    prompt = prompt_of(row)
    return Task(prompt.messages, prompt.origin, prompt.tools)


def with_note(row: "Shown", learning: "Learning") -> "Shown":
    return replace(row, notes=(*row.notes, learning.note)) if learning.note else row


def chosen(rows: "Iterable[Row | Faulty | Skipped]", line: int, count: int) -> "list[Row | Faulty]":
    """What stands at `line` and the next `count` - 1 places; where nothing begins there, from the place before it on, or the first.

    Several rows may come from one place: the judgements of several people.
    """
    from luthier.spec.rows import Skipped

    taken: dict[int, list[Row | Faulty]] = {}
    for row in rows:
        if isinstance(row, Skipped):
            continue
        at = row.origin.line
        if at <= line and at not in taken:
            taken.clear()
        if at not in taken and len(taken) == count:
            break
        taken.setdefault(at, []).append(row)
    return [row for place in taken.values() for row in place]


def _place(file: str, row: int | None) -> tuple[str, int | None]:
    """File and line, also from `train.jsonl:417`."""
    match = PLACE.fullmatch(file)
    if match is None or Path(file).exists():
        return file, row
    return match["file"], row or int(match["line"])


def _aside(path: str, line: int | None, rows: "Sequence[Shown]") -> str | None:
    if line is None or not rows or rows[0].origin.line == line:
        return None
    return f"No row of {path} begins at line {line}; the nearest begins at line {rows[0].origin.line}."


def _facts(row: "Shown") -> dict[str, Any]:
    """One row for a program."""
    parts = [
        {"name": part.name, "tokens": [{"id": t.id, "text": t.text, "kind": t.kind, "weight": t.weight} for t in part.tokens]}
        for part in row.parts
    ]
    counts = {"num_tokens": row.num_tokens, "num_trained": row.num_trained}
    return {"place": str(row.origin), "kind": row.kind, **counts, "facts": row.facts, "notes": row.notes, "parts": parts}


def _print(rows: "Sequence[Shown]", faults: Sequence[str], model: str, max_length: int, aside: str | None) -> None:
    from rich.console import Console
    from rich.text import Text

    from luthier.cli._shown import draw

    console = Console(highlight=False)
    for sentence in _sentences(aside, faults):
        console.print(Text(sentence, style="yellow"), soft_wrap=True)
    draw(console, rows, model, max_length)


def _sentences(aside: str | None, faults: Sequence[str]) -> Iterator[str]:
    if aside is not None:
        yield aside
    yield from faults
