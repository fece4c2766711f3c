"""Raw text: JSONL rows `{"text": "…"}`, or a text file of documents, parted by `<|endoftext|>` where it occurs, else by blank lines."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from luthier.data import files, jsonl
from luthier.data.columns import labeled
from luthier.data.records import TEXTS
from luthier.data.sample import Sample
from luthier.errors import DataError
from luthier.spec.rows import Document, Faulty, Origin

DESCRIPTION = "rows with `text`, or a `.txt` file of raw text"

MARKER = "<|endoftext|>"


def sniff(sample: Sample) -> float:
    if sample.objects:
        return sample.fitting(lambda row: "text" in row and labeled(tuple(row)) is None)
    return 0.5 if sample.suffix in TEXTS else 0.0


def mapping(sample: Sample) -> str:
    return (
        "`text` → a document" + sample.unread(("text",))
        if sample.share("text")
        else f"each stretch between `{MARKER}` marks, or else blank lines → a document"
    )


def row(fields: Mapping[str, Any], origin: Origin) -> Document:
    if "text" not in fields:
        raise jsonl.missing(origin, ["text"], fields, "text")
    if not isinstance(fields["text"], str):
        raise jsonl.wrong(origin, "`text`", fields["text"], "it must be text in quotes")
    return Document(fields["text"], origin)


def read(path: Path) -> Iterator[Document | Faulty]:
    """The documents of a text file. A first pass looks for the marker: where it occurs, blank lines only part paragraphs."""
    by_marker = any(MARKER.encode() in line for _, line in files.lines(path))
    begin, parts = 0, list[str]()
    for number, stretch, ends in _stretches(path, by_marker):
        if isinstance(stretch, Faulty):
            yield stretch
            continue
        if stretch.strip() or parts:
            begin = begin if parts else number
            parts.append(stretch)
        if ends and parts:
            yield Document("\n".join(parts).strip(), Origin(str(path), begin))
            parts = []
    if text := "\n".join(parts).strip():
        yield Document(text, Origin(str(path), begin))


def _stretches(path: Path, by_marker: bool) -> Iterator[tuple[int, str | Faulty, bool]]:
    """Lines, or the parts of lines around markers: number, text (or what is wrong with it), and whether a document ends there."""
    for number, line in files.lines(path):
        try:
            text = files.text(line, path, number)
        except DataError as error:
            yield number, Faulty(str(error), Origin(str(path), number)), False
            continue
        if not by_marker:
            yield number, text, not text.strip()
            continue
        *ended, rest = text.split(MARKER)
        for stretch in ended:
            yield number, stretch, True
        if rest or not ended:
            yield number, rest, False
