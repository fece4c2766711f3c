"""An eval's criteria: graders of which each says of an answer how good it is, and whether that is enough.

Enough is a `pass_threshold`; without one, what the grader itself says (`string_check`, `label_model`), and else the middle of its range.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.api.errors import ApiError
from luthier.api.evals_wire import name_of
from luthier.errors import SettingsError, UserError
from luthier.graders.base import Grader, Outside
from luthier.graders.case import Case
from luthier.graders.grading import Grading
from luthier.graders.judge import Judge, Question, Reply
from luthier.graders.load import configured, grader
from luthier.spec.base import Spec

MIDDLE = 0.5
"""Of the range that most graders have."""
THE_ANSWERS_FAULT = {"sample_parse_error", "invalid_variable_error"}
"""Flags of answers that lack what they should have: they have failed. All others say that grading did, and nothing of the answer."""


@dataclass(frozen=True)
class Verdict:
    """Of one criterion on one answer. `passed`: None where it could not be graded; `may_go_well_later`: then another try is worth it.

    `result`: as an item tells it. `usage`: of judges, by model.
    """

    passed: bool | None
    result: dict[str, Any]
    usage: list[dict[str, Any]]
    may_go_well_later: bool = False


def settings_of(criterion: Mapping[str, Any], where: str) -> tuple[Spec, float | None]:
    """The checked settings of a criterion's grader, and from which score on an answer passes.

    Raises:
        SettingsError: what is wrong with it.
    """
    given = dict(criterion)
    least = given.pop("pass_threshold", None)
    if least is not None and (isinstance(least, bool) or not isinstance(least, int | float) or not math.isfinite(least)):
        raise SettingsError(f"`{where}.pass_threshold` is no number.")
    config = configured(given, where)
    if least is None and given.get("type") == "text_similarity":
        raise SettingsError(f"`{where}.pass_threshold` is missing. Say from which likeness on an answer passes, such as 0.8.")
    return config, least


def judges_of(criteria: Sequence[Mapping[str, Any]]) -> list[str]:
    """The models that are asked to judge."""
    parts = [part for one in criteria for part in (one, *(one.get("graders") or {}).values())]
    return list(dict.fromkeys(part["model"] for part in parts if part["type"] in ("score_model", "label_model")))


class Criterion:
    """One of an eval's. It grades one answer a call, from any thread; and where it is `one_at_a_time`, from one thread at a time."""

    def __init__(self, criterion: Mapping[str, Any], outside: Outside, where: str) -> None:
        """Raises UserError: it needs something that is not there, such as a sandbox."""
        self.name, self.type = name_of(criterion), str(criterion["type"])
        config, self._least = settings_of(criterion, where)
        self._metered = _Metered(outside.judge)
        self._grader: Grader[Any] = grader(config, Outside(self._metered, outside.embed, outside.limits), where)
        self._middle = sum(getattr(config, "bounds", (0.0, 1.0))) / 2 if self.type == "score_model" else MIDDLE
        self.one_at_a_time = _has_a_sandbox(criterion)

    def grade(self, case: Case) -> Verdict:
        """Nothing is raised for what goes wrong with one answer."""
        self._metered.begin()
        try:
            grading = self._grader.grade([case])[0]
        except UserError as error:
            return self._ungraded(str(error))
        except ApiError as error:  # of the model that embeds
            return self._ungraded(error.message, error.status >= 429)
        if grading.why and (grading.misnamed or set(grading.errors.raised) - THE_ANSWERS_FAULT):
            return self._ungraded(grading.why, grading.errors.model_grader_server_error)
        if not math.isfinite(grading.score):
            return self._ungraded("The score is not finite.")
        passed = not grading.why and self._passes(grading)
        return Verdict(passed, self._result(grading.score, passed, grading.why, grading.scores), self._metered.usage())

    def close(self) -> None:
        """Let go of processes; an answer that is being graded is not graded to its end."""
        self._grader.close()

    def _passes(self, grading: Grading) -> bool:
        if self._least is not None:
            return grading.score >= self._least
        return grading.passed if grading.passed is not None else grading.score >= self._middle

    def _ungraded(self, why: str, may_go_well_later: bool = False) -> Verdict:
        return Verdict(None, self._result(0.0, False, why, {}), self._metered.usage(), may_go_well_later)

    def _result(self, score: float, passed: bool, why: str, scores: Mapping[str, float]) -> dict[str, Any]:
        judged = [{"model": one["model_name"], "usage": one} for one in self._metered.usage()]
        told: dict[str, Any] = {"name": self.name, "type": self.type, "score": score, "passed": passed}
        told["sample"] = judged[0] if judged else None
        return {**told, **({"scores": dict(scores)} if scores else {}), **({"error": why} if why else {})}


class _Metered:
    """A judge whose replies are counted, for each thread by itself."""

    def __init__(self, judge: Judge | None) -> None:
        self._judge, self._seen = judge, threading.local()

    def __call__(self, questions: Sequence[Question]) -> list[Reply]:
        assert self._judge is not None, "the platform always has a judge"
        replies = self._judge(questions)
        self._seen.replies.extend(replies)
        return replies

    def begin(self) -> None:
        self._seen.replies = []

    def usage(self) -> list[dict[str, Any]]:
        return [usage_of(reply.model, reply.tokens - reply.written, reply.written) for reply in self._seen.replies if reply.tokens]


def usage_of(model: str, read: int, written: int, cached: int = 0) -> dict[str, Any]:
    """Tokens of one question to a model."""
    tokens = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written, "cached_tokens": cached}
    return {"model_name": model, "invocation_count": 1, **tokens}


def _has_a_sandbox(criterion: Mapping[str, Any]) -> bool:
    """Whether there is a process behind it, which is at one answer at a time."""
    return criterion["type"] == "python" or any(part["type"] == "python" for part in (criterion.get("graders") or {}).values())
