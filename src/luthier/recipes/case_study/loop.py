"""The steps from demonstrations to a policy that learned from rankings, in one folder: each is kept there, and skipped when it is there."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.engine.folder import RunFolder, write_atomic
from luthier.engine.report import Reporter, Silent
from luthier.recipes.assistant import Sampling, open_assistant
from luthier.recipes.case_study.inputs import ANSWERS_PER_QUESTION, MOST_NEW_TOKENS, TEMPERATURE, as_lines
from luthier.recipes.case_study.prompts import Question
from luthier.recipes.merge import merge
from luthier.recipes.run import Run
from luthier.recipes.train import resume, train
from luthier.spec.load import load_run
from luthier.spec.rows import Message

Rank = Callable[[Sequence[Question], Sequence[Sequence[str]]], list[dict[str, Any]]]
"""Given questions and the answers to each: ranking rows."""

QUIET: Mapping[str, Any] = {"evaluation": {"prompts": []}, "checkpoints": {"keep_weights": 1}}
"""Of a run among many: nobody reads its samples."""


class Loop:
    """One seed, in one folder that is there. `reporter`: makes one for each run."""

    def __init__(self, folder: Path, seed: int, reporter: Callable[[], Reporter] = Silent) -> None:
        self.folder, self.seed, self.reporter = folder, seed, reporter

    def train(self, name: str, settings: Mapping[str, Any], overrides: Sequence[str] = ()) -> Run:
        """A run in the folder of this name; one that was broken off goes on, one that succeeded is taken as it is.

        Args:
            overrides: `key=value`, over the settings.
        """
        path = self.folder / name
        if RunFolder(path).is_run:
            return resume(path, self.reporter())
        seeded = {**settings["train"], "seed": self.seed, "threads": 1}  # so small a model gains nothing by more
        return train(load_run(None, list(overrides), **{**QUIET, **settings, "train": seeded, "out": str(path)}), self.reporter())

    def merged(self, run: str, into: str) -> Path:
        """The run's adapter added to its base."""
        path = self.folder / into
        if not path.is_dir():
            merge(self.folder / run, path)
        return path

    def answers(self, model: str | Path, asked: Sequence[Question], seed: int, most_new_tokens: int = MOST_NEW_TOKENS) -> list[str]:
        """An answer to each question, drawn together."""
        assistant = open_assistant(str(model), packed=True)
        sampling = Sampling(temperature=TEMPERATURE, max_new_tokens=most_new_tokens, seed=seed)
        talks = (((Message("user", question.text),), ()) for question in asked)
        return [answer.text for answer in assistant.answers(talks, sampling)]

    def to_rank(self, model: str | Path, questions: Sequence[Question], most_new_tokens: int = MOST_NEW_TOKENS) -> list[list[str]]:
        """Four answers of the model to each question."""
        path = self.folder / "answers.jsonl"
        if not path.is_file():
            asked = [question for question in questions for _ in range(ANSWERS_PER_QUESTION)]
            texts = self.answers(model, asked, self.seed, most_new_tokens)
            groups = [texts[i : i + ANSWERS_PER_QUESTION] for i in range(0, len(texts), ANSWERS_PER_QUESTION)]
            rows = ({"prompt": question.text, "answers": group} for question, group in zip(questions, groups, strict=True))
            write_atomic(path, as_lines(rows))
        return [json.loads(line)["answers"] for line in path.read_text(encoding="utf-8").splitlines()]

    def rankings(self, questions: Sequence[Question], answers: Sequence[Sequence[str]], rank: Rank) -> Path:
        """The file with the answers in the order of `rank`."""
        path = self.folder / "rankings.jsonl"
        if not path.is_file():
            write_atomic(path, as_lines(rank(questions, answers)))
        return path
