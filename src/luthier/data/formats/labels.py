"""A text and its class: `{"text": "…", "label": "…"}`, a table with such columns, or lines that begin with the class (`1 a fine film`).

A class is learned as a word: numbers and truth values become text. Several columns of text (such as a premise and a hypothesis) are read
as one, each part under its name.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from luthier.data import files, jsonl
from luthier.data.columns import labeled
from luthier.data.sample import Sample
from luthier.data.turns import ANSWERS
from luthier.errors import DataError
from luthier.spec.nearest import listed
from luthier.spec.rows import Faulty, Labeled, Origin

DESCRIPTION = "rows with `text` and `label`, or lines such as `1 a fine film`"

LINE = re.compile(r"(\d{1,3}|__label__\S+)[ \t]+(\S.*)")
"""A number or fastText's mark, then the text."""


def sniff(sample: Sample) -> float:
    if sample.container == "text":
        return _sniff_lines(sample)
    return sample.fitting(_fits)


def mapping(sample: Sample) -> str:
    found = next((columns for row in sample.objects if (columns := labeled(tuple(row)))), None)
    if found is None:
        return "the first word of a line → its class, the rest → the text"
    texts, label = found
    values = list(dict.fromkeys(_name(row.get(label)) for row in sample.objects))
    classes = f" ({listed(values[:4], 'and') if len(values) <= 4 else listed(values[:3]) + ' …'})"
    text = f"{listed(texts, 'and')} → the text" + (", each part under its name" if len(texts) > 1 else "")
    return f"{text}, `{label}` → its class{classes}" + sample.unread((*texts, label))


def row(fields: Mapping[str, Any], origin: Origin) -> Labeled:
    found = labeled(tuple(fields))
    if found is None:
        raise jsonl.missing(origin, _wanted(fields), fields, "labels")
    texts, label = found
    for key in texts:
        if not isinstance(fields[key], str):
            raise jsonl.wrong(origin, f"`{key}`", fields[key], "it must be text in quotes")
    if not _is_class(fields[label]):
        raise jsonl.wrong(origin, f"`{label}`", fields[label], "it must be the name of a class, or its number")
    text = fields[texts[0]] if len(texts) == 1 else "\n".join(f"{key}: {fields[key]}" for key in texts)
    return Labeled(text, _name(fields[label]), origin)


def read(path: Path) -> Iterator[Labeled | Faulty]:
    """Lines that begin with their class."""
    for number, line in files.lines(path):
        origin = Origin(str(path), number)
        try:
            text = files.text(line, path, number).strip()
        except DataError as error:
            yield Faulty(str(error), origin)
            continue
        if found := LINE.fullmatch(text):
            yield Labeled(found[2], found[1].removeprefix("__label__"), origin)
        elif text:
            yield Faulty(
                f"{origin}: this line is {jsonl.shown(text)}, and does not begin with a class and a text after it. Mend or remove it.",
                origin,
            )


def _sniff_lines(sample: Sample) -> float:
    """At least two lines, all but a few of which begin with a class, and fewer classes than lines. Surer than raw text."""
    found = [match[1] for line in sample.lines if (match := LINE.fullmatch(line.strip()))]
    fits = len(found) > 1 and len(found) > 0.9 * sample.num and len(set(found)) <= max(2, len(found) // 2)
    return len(found) / sample.num if fits and not _counts_up(found) else 0.0


def _counts_up(found: list[str]) -> bool:
    """A numbered list is no list of classes."""
    return found == [str(i) for i in range(int(found[0]), int(found[0]) + len(found))] if found[0].isdigit() else False


def _fits(row: Mapping[str, Any]) -> bool:
    """Where there is an answer, it is what the label judges (format `thumbs`)."""
    found = labeled(tuple(row))
    return found is not None and _is_class(row[found[1]]) and not any(answer in row for answer in ANSWERS)


def _is_class(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and value.is_integer())


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _wanted(fields: Mapping[str, Any]) -> list[str]:
    names = {name.lower() for name in fields}
    return [key for key in ("text", "label") if key not in names]
