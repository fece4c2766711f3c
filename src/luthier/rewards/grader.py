"""Any OpenAI grader as a reward: its JSON, exactly, under `grader`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from luthier.errors import GradingError, SettingsError
from luthier.graders.case import Case, Sample
from luthier.graders.grading import Grading
from luthier.graders.judge_url import UrlJudgeSettings
from luthier.graders.load import configured, grader
from luthier.graders.sandbox import Limits
from luthier.rewards.base import Judged, Reward
from luthier.rewards.judging import outside_for
from luthier.spec.base import Spec


class Config(Spec):
    """Rewards what a grader finds good."""

    grader: dict[str, Any]
    """The grader as OpenAI's API takes it: `{type: string_check, name: …, input: …, reference: …, operation: eq}`."""
    judge_url: UrlJudgeSettings | None = None
    """The OpenAI-compatible server that judges, for `score_model` and `label_model`. Default: the grader's `model` as a local model."""
    embedding_model: str | None = None
    """The model whose mean-pooled hidden states `cosine` compares: a folder, a Hugging Face id, or `starter`."""
    limits: Limits = Field(default_factory=Limits)
    """What a Python grader may use."""
    most_failures: float = Field(0.5, ge=0, le=1)
    """The largest share of a batch that may fail to be graded, and so score 0. Above it the run stops."""

    @field_validator("grader")
    @classmethod
    def _readable(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            configured(value)
        except SettingsError as error:
            raise ValueError(str(error).rstrip(".")) from None
        return value


TOLD_ERRORS = (
    "sample_parse_error",
    "invalid_variable_error",
    "python_grader_runtime_error",
    "model_grader_server_error",
    "other_error",
)
"""Flags whose share is told of each lot."""


class GraderReward(Reward[Config]):
    """The grader's score. An answer that cannot be graded scores 0, as at OpenAI; a row that no answer could help stops the run."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        outside = outside_for(config.grader, config.judge_url, config.embedding_model, config.limits)
        self._grader = grader(config.grader, outside)
        self.last: Sequence[Grading] = ()
        """Of the last batch, for who wants to see sub-scores and failures."""

    def score(self, answers: Sequence[Judged]) -> np.ndarray:
        gradings = self._grader.grade([case_of(judged) for judged in answers])
        self.last = gradings
        if misnamed := [grading for grading in gradings if grading.misnamed]:
            raise SettingsError(
                f"{misnamed[0].why} A template names a field that the rows do not have: {len(misnamed)} of {len(gradings)}."
            )
        failures = [grading for grading in gradings if _unhelped(grading)]
        if len(failures) > self.config.most_failures * len(gradings):
            raise GradingError(
                f"{len(failures)} of {len(gradings)} answers could not be graded. The first: {failures[0].why} Mend that, or allow more "
                f"with `most_failures`."
            )
        return np.array([grading.score for grading in gradings], dtype=np.float64)

    def details(self) -> dict[str, np.ndarray]:
        """`grader/NAME`: the score that each grader gave, of `multi` its parts; `grader_error/FLAG`: 1 where that went wrong."""
        own = {} if self.config.grader.get("type") == "multi" else {str(self.config.grader.get("name") or "grader"): None}
        names = own or dict.fromkeys(self.config.grader["graders"])
        scores = {f"grader/{name}": [float(one.score if own else one.scores.get(name, 0.0)) for one in self.last] for name in names}
        errors = {f"grader_error/{flag}": [float(getattr(one.errors, flag)) for one in self.last] for flag in TOLD_ERRORS}
        return {name: np.array(values) for name, values in {**scores, **errors}.items()}

    def close(self) -> None:
        self._grader.close()


def case_of(judged: Judged) -> Case:
    item: Mapping[str, Any] = judged.item
    return Case(Sample(judged.answer, judged.tool_calls), item)


def _unhelped(grading: Grading) -> bool:
    """It failed for another reason than the answer's own form: JSON that does not parse, a field that its JSON lacks."""
    return bool(set(grading.errors.raised) - {"sample_parse_error", "invalid_variable_error"})
