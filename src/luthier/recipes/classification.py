"""Labeled rows: the model scores the words of every label; its rivals are TF-IDF with logistic regression, and the commonest label."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from luthier.data import load as loading
from luthier.errors import DataError, SettingsError
from luthier.evaluate import baselines
from luthier.evaluate.choices import choices
from luthier.evaluate.classify import classify
from luthier.evaluate.metrics import confusions
from luthier.evaluate.table import ClassColumn, Outside, Predicted, class_column
from luthier.recipes.assistant import Assistant
from luthier.recipes.examination import Examination, write_lines
from luthier.spec.rows import Labeled
from luthier.text.plain import PLAIN
from luthier.text.renderer import Renderer


class Classification:
    """Labeled rows: the model scores every label; the rivals are the commonest label and TF-IDF with logistic regression."""

    def __init__(self, job: Examination) -> None:
        self.job = job
        self.rows = [row for row in job.rows if isinstance(row, Labeled)]
        self.truth = [row.label for row in self.rows]
        self.training = [row for row in job.training if isinstance(row, Labeled)]
        self.learned = {row.label for row in self.training}
        label = job.question.out_of_scope
        self.outside = None if label is None else Outside(label, job.question.threshold, label in self.learned)
        self.calibration: list[Labeled] = []
        if self.outside is not None:
            self._prepare_outside(self.outside)
        every = self.learned | set(self.truth)
        self.labels = sorted(every - ({label} if self.outside and not self.outside.known else set()))

    def _prepare_outside(self, outside: Outside) -> None:
        question = self.job.question
        if outside.label not in self.truth:
            raise DataError(f"No row of {question.data[0].path} has the label `{outside.label}`, so `--out-of-scope` has nothing to find.")
        if question.calibration:
            known = [row for source in question.calibration for row in loading.read(source)]
            self.calibration = [row for row in known if isinstance(row, Labeled)]
            if not self.calibration:
                raise DataError(f"{question.calibration[0].path} holds no texts with a label, so no threshold can be found on it.")
        elif question.threshold is None and not outside.known:
            raise SettingsError(
                f"`{outside.label}` is no class that was learned, so a row can only be called so where the model is unsure. Say below "
                f"which probability, `--threshold 0.5`, or give labeled rows to find it on, some of them `{outside.label}`: "
                f"`--calibrate FILE`."
            )

    def table(self) -> dict[str, Any]:
        models = [(name, self._asked(name, assistant)) for name, assistant in self.job.assistants()]
        columns = [self._column(name, predicted, known) for name, (predicted, known) in models]
        columns += self._rivals()
        first = models[0][1][0]
        outside = self._outside_of(columns[0])
        decided = first if outside is None else outside.apply(first)
        if self.job.question.predictions is not None:
            self._write(self.job.question.predictions, decided)
        return {
            **self.job.about("classification"),
            "classes": len(self.labels),
            "out_of_scope": None if self.outside is None else {"label": self.outside.label, "learned": self.outside.known},
            "columns": [asdict(column) for column in columns],
            "confusions": confusions(self.truth, decided.classes),
        }

    def _asked(self, name: str, assistant: Assistant) -> tuple[Predicted, Predicted | None]:
        """What a model says of the rows, and of those that a threshold is found on."""
        renderer = assistant.renderer if assistant.converses else Renderer(assistant.renderer.tokenizer, PLAIN)

        def ask(rows: list[Labeled]) -> Predicted:
            asked = choices(rows, self.labels, renderer, assistant.context)
            found = classify(assistant.root, assistant.adapter, asked, on_done=lambda done: self.job.on_done(name, done, len(rows)))
            return Predicted(tuple(self.labels[p.answer] for p in found), tuple(float(np.exp(p.logprob)) for p in found))

        return ask(self.rows), ask(self.calibration) if self.calibration else None

    def _column(self, name: str, predicted: Predicted, known: Predicted | None) -> ClassColumn:
        outside = self.outside
        if outside is not None and known is not None:
            outside = outside.calibrated([row.label for row in self.calibration], known)
        return class_column(name, self.truth, predicted, outside)

    def _outside_of(self, column: ClassColumn) -> Outside | None:
        return None if self.outside is None else Outside(self.outside.label, column.threshold, self.outside.known)

    def _rivals(self) -> list[ClassColumn]:
        rows = self.training or self.rows
        usual = baselines.commonest([row.label for row in rows])
        where = "" if self.training else " of these rows"
        self.job.notes.append(f"The commonest class{where} is “{usual}”: the last column always says so.")
        trivial = class_column("commonest", self.truth, Predicted((usual,) * len(self.rows), (1.0,) * len(self.rows)), None)
        if not self.training:
            self.job.notes.append(
                "No training rows are known, so there is no column of TF-IDF and logistic regression: name them with `--train`."
            )
            return [trivial]
        texts, labels = [row.text for row in self.training], [row.label for row in self.training]
        asked = [row.text for row in (*self.rows, *self.calibration)]
        self.job.say("TF-IDF and logistic regression learn from the same rows")
        classes, probabilities = baselines.tfidf_classes(texts, labels, asked)
        here = len(self.rows)
        known = Predicted(tuple(classes[here:]), tuple(probabilities[here:])) if self.calibration else None
        return [self._column("TF-IDF", Predicted(tuple(classes[:here]), tuple(probabilities[:here])), known), trivial]

    def _write(self, path: Path, decided: Predicted) -> None:
        lines = [
            {"text": row.text, "label": row.label, "predicted": name, "probability": p, "origin": str(row.origin)}
            for row, name, p in zip(self.rows, decided.classes, decided.probabilities, strict=True)
        ]
        write_lines(path, lines)
