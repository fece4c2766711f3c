"""From data files to the examples of a run, and what the record says about them."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.batches.chunk import Encoding
from luthier.batches.encode import Learns, Remark
from luthier.batches.stored import Stored, Table
from luthier.data.cache import TOKENS, Cache
from luthier.data.split import set_aside, shared_rows
from luthier.engine.report import Progress, untold
from luthier.engine.text_check import NUMBER, check_text, learned_conversation
from luthier.errors import DataError, TrainingFailed
from luthier.methods.base import Method
from luthier.recipes.faults.learned import of_learned
from luthier.recipes.tokens import DataFile, TokenReader
from luthier.spec.paths import shown
from luthier.spec.rows import Conversation
from luthier.spec.run import RunSpec, Sources
from luthier.text.renderer import Renderer

MOST_NOTES = 100
"""Notes on rows that the record keeps of each data set."""

LOOKED_THROUGH = 10_000
"""Rows of a file that are looked through for a few conversations to check."""


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of one file that are for training, or those that are for validation: `rows` (R,) bool."""

    file: DataFile
    rows: np.ndarray
    table: Table

    @property
    def num_rows(self) -> int:
        return int(self.rows.sum())

    @property
    def examples(self) -> np.ndarray:
        """(n,) int64: their places in the table."""
        return self.table.examples_of(self.rows)

    def remarks(self) -> Iterator[Remark]:
        """What happened to the rows on the way, in their order."""
        return self.table.remarks(np.flatnonzero(self.rows))

    def total(self, name: str) -> int:
        return int(self.table.arrays[name][self.rows].sum(dtype=np.int64))


@dataclass(frozen=True, eq=False)
class RunExamples:
    """`names`: of the training sets. `record`: files with hashes, counts, and what a person should know."""

    train: Stored
    validation: Stored
    names: tuple[str, ...]
    record: dict[str, Any]
    train_parts: tuple[Part, ...]
    validation_parts: tuple[Part, ...]


def read_examples(
    spec: RunSpec,
    method: type[Method[Any, Any]],
    renderer: Renderer,
    max_length: int,
    say: Callable[[str], None],
    progress: Progress = untold,
    learns: Learns | None = None,
) -> RunExamples:
    """Training and validation examples.

    Args:
        learns: which tokens are scored, where the method's settings decide it.
    Raises:
        DataError: rows that cannot be used, or that are in both sets. TrainingFailed: no token would be learned.
    """
    record: dict[str, Any] = {"notes": [str(note) for note in renderer.notes]}
    encoding = Encoding(learns or method.learns, max_length, spec.data.too_long)
    cache = Cache.of_user(TOKENS, os.environ)
    reader = TokenReader(renderer, encoding, spec.method.name, method.rows, cache, say, progress, torch.get_num_threads())
    train_files = _look(reader, spec.data.train, "train", record)
    validation_files = _look(reader, spec.data.validation, "validation", record)
    train = [(file, np.ones(len(file.lines), bool)) for file in train_files]
    validation = [(file, np.ones(len(file.lines), bool)) for file in validation_files]
    if spec.data.validation_share:
        validation = [(file, set_aside(file.keys, spec.data.validation_share, spec.train.seed)) for file in train_files]
        train = [(file, ~aside) for file, aside in validation]
    if "shared-rows" not in spec.preflight.accept:
        _refuse_shared(train, validation)
    tables = {id(file): reader.table(file) for file in (*train_files, *validation_files)}
    parts = [tuple(Part(file, rows, tables[id(file)]) for file, rows in chosen) for chosen in (train, validation)]
    stored = [_stored(part, name, encoding, renderer, record) for part, name in zip(parts, ("train", "validation"), strict=True)]
    if not stored[0]:
        raise TrainingFailed(f"No row has a token to learn. {_why_nothing(parts[0])}".strip())
    return RunExamples(stored[0], stored[1], _names(spec), record, parts[0], parts[1])


def _look(reader: TokenReader, sources: Sources, part: str, record: dict[str, Any]) -> list[DataFile]:
    """Each file; files, hashes and notes into the record."""
    found = []
    record[part] = []
    for source in sources:
        file = reader.look(source)
        kept = ", token ids as kept" if file.table else ""
        what = f"{len(file.lines):,} rows{' for validation' if part == 'validation' else ''}, {file.recognized}{kept}"
        reader.say(f"{shown(source.path)}: {what}")
        entry = {"path": source.path, "rows": len(file.lines), "sha256": file.sha256, "format": file.recognized.format}
        record[part].append(entry)
        record["notes"] += file.notes
        found.append(file)
    return found


def _stored(parts: Sequence[Part], name: str, encoding: Encoding, renderer: Renderer, record: dict[str, Any]) -> Stored:
    """The examples of training or validation, its counts and notes into the record."""
    stored = Stored([part.table for part in parts], [part.examples for part in parts])
    for part in parts:
        record["notes"] += [remark.text for remark in islice(part.remarks(), MOST_NOTES)]
    record[f"{name}_counts"] = {
        "examples": len(stored),
        "tokens": int(stored.column("num_tokens").sum()),
        "trained_tokens": int(stored.column("num_trained").sum()),
        "rows_dropped": sum(part.total("dropped") for part in parts),
        "rows_cut": sum(part.total("cut") for part in parts),
        "characters_left_out_by_template": sum(part.total("left_out") for part in parts),
        "rows_text_checked": 0 if encoding.learns != "answers" else sum(_checked(part, renderer) for part in parts),
    }
    return stored


def _checked(part: Part, renderer: Renderer) -> int:
    """How many of the first conversations were looked at a second time, as the file says them now."""
    rows: list[Conversation] = []
    places: list[int] = []
    for place, row in islice(enumerate(part.file.rows()), LOOKED_THROUGH):
        if part.rows[place] and (talk := learned_conversation(row)):
            rows.append(talk)
            places.append(place)
        if len(rows) == NUMBER:
            break
    chosen = np.flatnonzero(np.isin(part.table.row, places))
    return check_text(rows, [part.table.example(int(i), 0) for i in chosen], renderer)


def _why_nothing(parts: Sequence[Part]) -> str:
    """What the preflight says about rows of which nothing is learned."""
    found = (finding for part in parts for finding in of_learned(part.remarks(), part.num_rows))
    return " ".join(finding.message for finding in found if finding.severity == "error")


def _names(spec: RunSpec) -> tuple[str, ...]:
    """Short names of the data sets, told apart by number where two files are called the same."""
    stems = [Path(s.path).name.split(".")[0] for s in spec.data.train]
    return tuple(stem if stems.count(stem) == 1 else f"{stem}-{i}" for i, stem in enumerate(stems))


Chosen = list[tuple[DataFile, np.ndarray]]
"""Files, and which of their rows: (R,) bool."""


def _refuse_shared(train: Chosen, validation: Chosen) -> None:
    shared = shared_rows(_keys(train), _keys(validation))
    if shared:
        first, second = (_place(chosen, place) for chosen, place in zip((train, validation), shared[0], strict=True))
        raise DataError(
            f"{second}: this validation row is also a training row ({first}); {len(shared)} rows are. "
            f"A loss measured on rows that were learned says nothing: remove them from one of the two, or, where it is meant, give "
            f"`preflight.accept=[shared-rows]`."
        )


def _keys(chosen: Chosen) -> np.ndarray:
    return np.concatenate([np.empty((0, 2), np.uint64), *(file.keys[rows] for file, rows in chosen)])


def _place(chosen: Chosen, place: int) -> str:
    """Where the row stands that is number `place` of all that were chosen."""
    for file, rows in chosen:
        lines = file.lines[rows]
        if place < len(lines):
            return f"{file.path}:{lines[place]}"
        place -= len(lines)
    raise IndexError(place)
