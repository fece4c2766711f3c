"""The files that the case study starts from, written from a seed: what the staff answered, and the questions to be ranked."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.engine.folder import write_atomic
from luthier.recipes.case_study.check import tasks
from luthier.recipes.case_study.demonstrations import archive
from luthier.recipes.case_study.prompts import Question, ranked_questions

TEMPERATURE = 0.7
"""At which answers are drawn, to be ranked and to be measured: at 1 the starter model garbles every second answer."""

ANSWERS_PER_QUESTION = 4
MOST_NEW_TOKENS = 110
"""A rambling answer has about 100 tokens."""


@dataclass(frozen=True)
class Inputs:
    """`demonstrations`: chat rows for supervised tuning. `prompts`: rows to be answered, in the order of `questions`."""

    demonstrations: Path
    prompts: Path
    questions: tuple[Question, ...]


def write_inputs(folder: Path, seed: int, at_most: int | None = None) -> Inputs:
    """Write both files into a folder that is there; the same seed writes the same bytes. `at_most`: questions."""
    questions = tuple(ranked_questions(seed)[:at_most])
    demonstrations, prompts = folder / "staff_answers.jsonl", folder / "questions.jsonl"
    write_atomic(demonstrations, as_lines(archive(seed)))
    write_atomic(prompts, as_lines(tasks(questions)))
    return Inputs(demonstrations, prompts, questions)


def as_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as JSONL."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
