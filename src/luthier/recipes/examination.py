"""`Examination`: what an evaluation is made of: the rows that are asked, those to learn from, and the models that are asked."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from luthier.data import load as loading
from luthier.data.seeded import generator
from luthier.data.split import split_validation
from luthier.engine.folder import RunFolder, write_atomic
from luthier.errors import SettingsError
from luthier.recipes.assistant import Assistant, open_assistant
from luthier.spec.load import load_run
from luthier.spec.rows import Row
from luthier.spec.run import DataSource

Say = Callable[[str], None]
Done = Callable[[str, int, int], None]
"""Told a column's name, how many of its rows are done, and how many there are."""


@dataclass(frozen=True)
class Question:
    """What to evaluate, and how.

    `name`: a run's folder, a model folder, a Hugging Face id, or `starter`. `data`: a file, or parts of it. `train`: what the rivals learn
    from; empty for the run's own training files. `base`: the run's base model as a column of its own. `out_of_scope`: the label of rows
    that belong to no class, with `threshold` or `calibration` (rows to find a threshold on) where the model did not learn it as a class.
    `most_rows`: evaluate so many, drawn by `seed`. `max_new_tokens`: longest answer where answers are written.
    """

    name: str
    data: tuple[DataSource, ...]
    train: tuple[DataSource, ...] = ()
    base: bool = False
    out_of_scope: str | None = None
    threshold: float | None = None
    calibration: tuple[DataSource, ...] = ()
    most_rows: int | None = None
    seed: int = 0
    max_new_tokens: int = 256
    predictions: Path | None = None


def kept(question: Question) -> dict[str, Any]:
    """A question as a record keeps it, so that it can be asked again: all but the run's own name, with whole paths."""

    def whole(source: DataSource) -> dict[str, Any]:
        return {**source.model_dump(mode="json", exclude_defaults=True), "path": str(Path(source.path).expanduser().absolute())}

    parts = {"data": question.data, "train": question.train, "calibration": question.calibration}
    sources = {name: [whole(source) for source in of] for name, of in parts.items()}
    plain = ("base", "out_of_scope", "threshold", "most_rows", "seed", "max_new_tokens")
    return {**sources, **{name: getattr(question, name) for name in plain}}


def question_of(kept_one: dict[str, Any], run: str) -> Question:
    """The inverse of `kept`, of the run in the folder `run`."""
    sources = {name: tuple(DataSource(**source) for source in kept_one[name]) for name in ("data", "train", "calibration")}
    return Question(run, **{**kept_one, **sources})


class Examination:
    """The rows to be asked and those to learn from, and the models."""

    def __init__(self, question: Question, say: Say, on_done: Done) -> None:
        self.question, self.say, self.on_done = question, say, on_done
        path = Path(question.name).expanduser()
        self.run = RunFolder(path) if (path / "run.yaml").is_file() else None
        if question.base and self.run is None:
            raise SettingsError(f"{question.name} is no run, so it has no base model to stand beside it. Leave `--base` out.")
        self.notes: list[str] = []
        self.loaded = [loading.load(source) for source in question.data]
        self.every = [row for loaded in self.loaded for row in loaded.rows]
        self.rows = _drawn(self.every, question.most_rows, question.seed)

    @cached_property
    def training(self) -> list[Row]:
        """What the run learned from, or what was said to learn from; empty where neither is known."""
        sources = self.question.train
        if sources:
            return [row for source in sources for row in loading.read(source)]
        if self.run is None:
            return []
        spec = load_run(str(self.run.run_file))
        said = {entry["path"]: entry["sha256"] for entry in self.run.read_record()["data"]["train"]}
        rows: list[Row] = []
        for source in spec.data.train:
            if not Path(source.path).is_file():
                self.notes.append(f"{source.path}, which the run learned from, is gone: the rivals had nothing to learn from.")
                return []
            loaded = loading.load(source)
            if said.get(source.path) not in (None, loaded.fingerprint):
                self.notes.append(f"{source.path} has changed since the run: the rivals learned from it as it is now.")
            share = spec.data.validation_share
            rows += split_validation(loaded.rows, share, spec.train.seed)[0] if share else loaded.rows
        return rows

    def assistants(self) -> list[tuple[str, Assistant]]:
        """(column's name, the model) of each model that is asked."""
        named = [("tuned" if self.run else "model", False)] + ([("base", True)] if self.question.base else [])
        return [(name, self._opened(base)) for name, base in named]

    def _opened(self, base: bool) -> Assistant:
        assistant = open_assistant(self.question.name, base, self.say, packed=True)
        self.notes += assistant.notes
        return assistant

    def about(self, kind: str) -> dict[str, Any]:
        """What was asked about."""
        source = self.question.data[0]
        return {
            "kind": kind,
            "measured": datetime.now().isoformat(timespec="seconds"),
            "data": {
                "path": source.path,
                "split": [part.split for part in self.question.data if part.split],
                "format": self.loaded[0].recognized.format,
                "sha256": self.loaded[0].fingerprint,
                "rows": len(self.rows),
                "rows_of_file": len(self.every),
                "seed": self.question.seed if len(self.rows) < len(self.every) else None,
            },
        }


def _drawn(rows: Sequence[Row], most: int | None, seed: int) -> list[Row]:
    """At most so many, drawn by seed, in their order."""
    if most is None or most >= len(rows):
        return list(rows)
    return [rows[i] for i in sorted(generator(seed, "evaluation").permutation(len(rows))[:most])]


def write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
