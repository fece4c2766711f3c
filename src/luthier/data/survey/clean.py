"""A clean copy of a file: its usable rows, each once, as they stood there. What is left out is named by line."""

import gzip
from array import array
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from luthier.data import files, load
from luthier.data.records import of_split, records
from luthier.data.survey.columns import view
from luthier.data.survey.counted import FileCounts
from luthier.data.survey.places import stretches
from luthier.data.survey.report import Fixed, LeftOut
from luthier.data.survey.survey import Survey
from luthier.errors import DataError
from luthier.spec.rows import Conversation, Document, Faulty, Labeled, Skipped

ENDINGS = (".jsonl", ".jsonl.gz")

_encode = msgspec.json.Encoder(enc_hook=str).encode


def refuse_taken(out: Path) -> None:
    """Raises `DataError` where a clean copy cannot be written: before anything is read."""
    if not out.name.endswith(ENDINGS):
        raise DataError(f"`--fix` writes JSONL: give it a name that ends in .jsonl or .jsonl.gz, such as {out.with_suffix('.jsonl')}.")
    if out.exists():
        raise DataError(f"{out} is already there, and nothing is written over. Give `--fix` another name.")
    if not out.parent.is_dir():
        raise DataError(f"There is no folder {out.parent} to write {out.name} into. Make it first.")


def write(survey: Survey, out: Path) -> Fixed:
    """Write the clean rows of the one training file of a survey. Lines of JSONL are copied byte by byte; other files become JSONL.

    Nothing is written where no row is left. Raises:
        DataError: several files; or `out` is there, or can't be written.
    """
    if len(survey.train.files) != 1:
        raise DataError("`--fix` writes the clean copy of one file. Give one file at a time.")
    refuse_taken(out)
    file = survey.train.files[0]
    reasons = _reasons(survey, file)
    dropped = {line for _, lines in reasons for line in lines}
    last = survey.train.columns.places.lines[-1] if file.rows else 0
    kept = 0
    try:
        with out.open("xb") as plain:
            kept = _copy(_lines(file, dropped, last), plain, out.suffix == ".gz")
    finally:
        if not kept:
            out.unlink(missing_ok=True)  # half a file would pass for a whole one
    left_out = tuple(LeftOut(why, len(lines), tuple(stretches(lines))) for why, lines in reasons)
    return Fixed(str(out) if kept else "", kept, left_out)


def _copy(lines: Iterable[bytes], plain: BinaryIO, packed: bool) -> int:
    kept = 0
    with gzip.open(plain, "wb") if packed else nullcontext(plain) as target:
        for line in lines:
            target.write(line + b"\n")
            kept += 1
    return kept


def _reasons(survey: Survey, file: FileCounts) -> list[tuple[str, list[int]]]:
    """(why, ascending lines) of what is left out; each line for one reason."""
    alike = survey.train.pairs.alike
    faulty = [(kind.why, list(kind.lines)) for kind in file.faults.kinds.values()]
    rows: list[tuple[str, np.ndarray]] = [
        ("the same as an earlier row", survey.repeats.later),
        ("a validation row, too", survey.repeats.shared),
        ("both answers are the same", view(alike.get("none", array("I")))),
        ("nearly the same as an earlier row", survey.repeats.near),
    ]
    lines = view(survey.train.columns.places.lines)
    out = np.zeros(len(lines), dtype=bool)
    for _, numbers in rows:
        out[numbers] = True
    staying = set(lines[~out].tolist())  # a line may hold what several people said: it goes only as a whole
    found, seen = faulty, {line for _, some in faulty for line in some}
    for why, numbers in rows:
        going = [line for line in dict.fromkeys(lines[numbers].tolist()) if line not in staying and line not in seen]
        seen.update(going)
        found.append((why, going))
    return [(why, sorted(set(some))) for why, some in found if some]


def _lines(file: FileCounts, dropped: set[int], last: int) -> Iterator[bytes]:
    """What the clean copy consists of, up to the last row that can be used: behind it a file may break off."""
    path, container = Path(file.source.path), file.recognized.container if file.recognized else "text"
    if not last:
        return
    if container == "jsonl":
        for number, line in files.lines(path):
            if number not in dropped and line and not line.isspace():
                yield line
            if number == last:
                break
    elif container == "text":
        yield from _written(file, dropped)
    else:
        for record in records(path, container):
            ours = file.source.split is None or of_split(record, file.source.split)
            if ours and not isinstance(record, Faulty) and record[0].line not in dropped:
                yield _encode(record[1])
            if not isinstance(record, Faulty) and record[0].line == last:
                break


def _written(file: FileCounts, dropped: set[int]) -> Iterator[bytes]:
    """Rows of text files, which have no fields, in the fields that their kind has in JSONL."""
    for row in load.stream(file.source, file.recognized):
        if isinstance(row, Faulty | Skipped) or row.origin.line in dropped:
            continue
        if isinstance(row, Conversation):
            yield _encode({"messages": row.messages})
        elif isinstance(row, Document | Labeled):
            yield _encode({"text": row.text} | ({"label": row.label} if isinstance(row, Labeled) else {}))
        else:
            raise DataError(f"{row.origin}: `--fix` can't write such rows from a text file. Write them as JSONL.")
