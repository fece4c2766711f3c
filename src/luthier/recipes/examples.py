"""From data files to the examples of a run, and what the record says about them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.batches import encode as encoding
from luthier.batches.examples import Example
from luthier.data import load as loading
from luthier.data.split import shared_rows, split_validation
from luthier.engine.text_check import check_text
from luthier.errors import DataError, TrainingFailed
from luthier.methods.base import Method
from luthier.spec.rows import Row
from luthier.spec.run import RunSpec, Sources
from luthier.text.renderer import Renderer

MOST_NOTES = 100
"""Notes on rows that the record keeps of each data set."""


@dataclass(frozen=True, eq=False)
class RunExamples:
    """`names`: of the training sets. `record`: files with hashes, counts, and what a person should know."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    names: tuple[str, ...]
    record: dict[str, Any]


def read_examples(
    spec: RunSpec, method: type[Method[Any, Any]], renderer: Renderer, max_length: int, say: Callable[[str], None]
) -> RunExamples:
    """Training and validation examples.

    Raises:
        DataError: rows that cannot be used, or that are in both sets. TrainingFailed: no token would be learned.
    """
    record: dict[str, Any] = {"notes": [str(note) for note in renderer.notes]}
    train = _load(spec.data.train, "train", record, say)
    validation = _load(spec.data.validation, "validation", record, say)
    if spec.data.validation_share:
        splits = [split_validation(rows, spec.data.validation_share, spec.train.seed) for rows in train]
        train, validation = [kept for kept, _ in splits], [aside for _, aside in splits]
    _refuse_shared(train, validation)
    encoder = _Encoder(spec, method, renderer, max_length, record)
    examples = RunExamples(encoder.encode("train", train), encoder.encode("validation", validation), _names(spec), record)
    if not examples.train:
        raise TrainingFailed("No row has a token to learn: every assistant message is empty, has weight 0, or was cut away.")
    return examples


def _load(sources: Sources, part: str, record: dict[str, Any], say: Callable[[str], None]) -> list[Sequence[Row]]:
    """Each file's rows; files, hashes and notes into the record."""
    sets: list[Sequence[Row]] = []
    record[part] = []
    for source in sources:
        loaded = loading.load(source)
        say(f"{source.path}: {len(loaded.rows):,} rows{' for validation' if part == 'validation' else ''}, {loaded.recognized}")
        entry = {"path": source.path, "rows": len(loaded.rows), "sha256": loaded.fingerprint, "format": loaded.recognized.format}
        record[part].append(entry)
        record["notes"] += loaded.notes
        sets.append(loaded.rows)
    return sets


@dataclass(frozen=True)
class _Encoder:
    spec: RunSpec
    method: type[Method[Any, Any]]
    renderer: Renderer
    max_length: int
    record: dict[str, Any]

    def encode(self, part: str, sets: list[Sequence[Row]]) -> tuple[Example, ...]:
        """The examples of one part, its counts and notes into the record."""
        everything = self.method.learns == "everything"
        examples: list[Example] = []
        dropped = cut = left_out = checked = 0
        for number, rows in enumerate(sets):
            encoding.refuse_kinds(rows, self.method.rows, self.spec.method.name)
            encoded = encoding.encode(
                rows, self.renderer, everything, self.max_length, self.spec.data.too_long, number, part == "validation"
            )
            if not everything:
                checked += check_text(rows, encoded.examples, self.renderer)
            examples += encoded.examples
            self.record["notes"] += encoded.notes[:MOST_NOTES]
            dropped, cut, left_out = dropped + encoded.num_dropped, cut + encoded.num_cut, left_out + encoded.characters_left_out
        self.record[f"{part}_counts"] = {
            "examples": len(examples),
            "tokens": sum(e.num_tokens for e in examples),
            "trained_tokens": sum(e.num_trained for e in examples),
            "rows_dropped": dropped,
            "rows_cut": cut,
            "characters_left_out_by_template": left_out,
            "rows_text_checked": checked,
        }
        return tuple(examples)


def _names(spec: RunSpec) -> tuple[str, ...]:
    """Short names of the data sets, told apart by number where two files are called the same."""
    stems = [Path(s.path).name.split(".")[0] for s in spec.data.train]
    return tuple(stem if stems.count(stem) == 1 else f"{stem}-{i}" for i, stem in enumerate(stems))


def _refuse_shared(train: list[Sequence[Row]], validation: list[Sequence[Row]]) -> None:
    shared = shared_rows([r for rows in train for r in rows], [r for rows in validation for r in rows])
    if shared:
        first, second = shared[0]
        raise DataError(
            f"{second}: this validation row is also a training row ({first}); {len(shared)} rows are. "
            f"A loss measured on rows that were learned says nothing: remove them from one of the two."
        )
