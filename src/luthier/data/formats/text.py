"""Raw text: JSONL rows `{"text": "…"}`, or a text file of documents, parted by `<|endoftext|>` where it occurs, else by blank lines."""

from collections.abc import Iterator
from pathlib import Path

from luthier.data import files, jsonl
from luthier.data.sample import Sample, sample
from luthier.spec.rows import Document, Origin

DESCRIPTION = "rows with `text`, or a `.txt` file of raw text"

MARKER = "<|endoftext|>"
SUFFIXES = (".txt", ".text", ".md")


def sniff(sample: Sample) -> float:
    if sample.objects:
        return 0.0 if any("label" in row for row in sample.objects) else sample.share("text")
    return 0.5 if sample.suffix in SUFFIXES else 0.0


def mapping(sample: Sample) -> str:
    return "`text` → a document" if sample.share("text") else f"each stretch between `{MARKER}` marks, or else blank lines → a document"


def read(path: Path) -> Iterator[Document]:
    return _rows(path) if sample(path).share("text") >= 0.5 else _documents(path)


def _rows(path: Path) -> Iterator[Document]:
    for origin, line in jsonl.lines(path):
        fields = jsonl.fields(line, origin)
        if "text" not in fields:
            raise jsonl.missing(origin, ["text"], fields, "text")
        if not isinstance(fields["text"], str):
            raise jsonl.wrong(origin, "`text`", fields["text"], "it must be text in quotes")
        yield Document(fields["text"], origin)


def _documents(path: Path) -> Iterator[Document]:
    """A first pass looks for the marker: where it occurs, blank lines only part paragraphs."""
    by_marker = any(MARKER.encode() in line for _, line in files.lines(path))
    begin, parts = 0, list[str]()
    for number, stretch, ends in _stretches(path, by_marker):
        if stretch.strip() or parts:
            begin = begin if parts else number
            parts.append(stretch)
        if ends and parts:
            yield Document("\n".join(parts).strip(), Origin(str(path), begin))
            parts = []
    if text := "\n".join(parts).strip():
        yield Document(text, Origin(str(path), begin))


def _stretches(path: Path, by_marker: bool) -> Iterator[tuple[int, str, bool]]:
    """Lines, or the parts of lines around markers: number, text, and whether a document ends there."""
    for number, line in files.lines(path):
        text = files.text(line, path, number)
        if not by_marker:
            yield number, text, not text.strip()
            continue
        *ended, rest = text.split(MARKER)
        for stretch in ended:
            yield number, stretch, True
        if rest or not ended:
            yield number, rest, False
