"""Graders: whether one is sound, and what it makes of an answer."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict

from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.judging import outside
from luthier.api.platform import Here
from luthier.errors import UserError
from luthier.graders.base import Outside
from luthier.graders.case import Case, Sample
from luthier.graders.grading import response
from luthier.graders.judge import Question, Reply
from luthier.graders.load import grader

router = APIRouter(prefix="/fine_tuning/alpha/graders", tags=["Graders"])

Uses = Annotated[Caller, Depends(may("graders.use"))]


class Validated(BaseModel):
    """POST …/validate."""

    model_config = ConfigDict(extra="forbid")

    grader: dict[str, Any]


class Run(Validated):
    """POST …/run. `item`: the row's own fields."""

    model_sample: str
    item: dict[str, Any] | None = None
    reference_answer: Any = None


def grader_fault(value: Any, where: str = "method.reinforcement.grader") -> str | None:
    """What is wrong with a grader, as a sentence; None where nothing is."""
    try:
        grader(value, Outside(judge=_nobody), where).close()
    except UserError as error:
        return str(error)
    return None


@router.post("/validate")
def validate(asked: Validated, caller: Uses) -> dict[str, Any]:
    """The grader, where it is sound."""
    if why := grader_fault(asked.grader, "grader"):
        raise ApiError(400, why, "grader", "invalid_grader")
    return {"grader": asked.grader}


@router.post("/run")
def run(asked: Run, caller: Uses, here: Here) -> dict[str, Any]:
    """Grade one answer. What goes wrong with the answer stands in the flags; only a grader that is none is refused."""
    began = time.perf_counter()
    try:
        made = grader(asked.grader, outside(here, caller), "grader")
    except UserError as error:
        raise ApiError(400, str(error), "grader", "invalid_grader") from error
    try:
        item = asked.item if asked.item is not None else {"reference_answer": asked.reference_answer}
        graded = made.grade([Case(Sample(asked.model_sample), item)])[0]
    finally:
        made.close()
    return response(graded, asked.grader.get("name", ""), asked.grader["type"], time.perf_counter() - began)


def _nobody(questions: Any) -> list[Reply]:
    """Stands for a judge while a grader is only looked at: it is never asked."""
    asked: list[Question] = list(questions)
    raise AssertionError(f"{len(asked)} questions to nobody")
