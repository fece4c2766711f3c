"""Comparisons: two models answer the same prompts, and a judge says which answers are better."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from luthier.accounts.audit import note
from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.files import telling
from luthier.api.fine_tuning import refuse_more_jobs
from luthier.api.graders import grader_fault
from luthier.api.pages import After, listed
from luthier.api.places import places, without
from luthier.api.platform import Here, Platform
from luthier.jobs.comparisons import Comparing
from luthier.jobs.records import JobError
from luthier.spec.comparisons import Comparison, ComparisonExample, ComparisonExamples, ComparisonStatus, NewComparison
from luthier.spec.wire import Page
from luthier.store.models import Model, ModelNotFound

router = APIRouter(prefix="/comparisons", tags=["Comparisons"])

Reads = Annotated[Caller, Depends(may("runs.read"))]
Writes = Annotated[Caller, Depends(may("runs.write"))]

LARGEST = 2**31 - 1
JUDGES = "reward_model"
"""The method that makes models which judge, and answer nothing."""


@router.post("")
def create(asked: NewComparison, caller: Writes, here: Here, request: Request) -> Comparison:
    """Begin a comparison: a job. What is wrong with its prompts is told by the job, which then has failed."""
    a, b = (_contender(here, name, caller, param) for name, param in ((asked.a, "a"), (asked.b, "b")))
    if isinstance(asked.prompts, str):
        with telling("prompts"):
            here.files.find(caller.project, asked.prompts)
    _refuse_judge(here, asked, caller)
    try:
        made = here.comparisons.create(caller.project, asked, a, b, first=lambda connection: refuse_more_jobs(here, caller, connection))
    except ModelNotFound as error:  # one that its grader asks
        raise ApiError(400, f"{error}.", "judge", "model_not_available") from error
    note(here.database, caller, "comparisons.create", made.job.id, {"a": a.name, "b": b.name}, request.state.request_id)
    return _wire(here, made)


@router.get("")
def list_comparisons(
    caller: Reads,
    here: Here,
    status: ComparisonStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: After = None,
) -> Page[Comparison]:
    """The newest first."""
    return listed([_wire(here, one) for one in here.comparisons.newest(caller.project, limit + 1, after, status)], limit)


@router.get("/{comparison}")
def retrieve(comparison: str, caller: Reads, here: Here) -> Comparison:
    """With its result, once it has succeeded."""
    return _wire(here, _found(here, comparison, caller))


@router.get("/{comparison}/examples")
def examples(
    comparison: str,
    caller: Reads,
    here: Here,
    after_number: Annotated[int, Query(ge=0, le=LARGEST, description="Only what comes after the example with this number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> ComparisonExamples:
    """Its prompts with both answers, and what the judge made of them, once it has succeeded."""
    _found(here, comparison, caller)
    found = here.comparisons.examples(comparison, after_number, limit + 1)
    told = [ComparisonExample(number=number, **body) for number, body in found[:limit]]
    return ComparisonExamples(data=told, has_more=len(found) > limit)


@router.post("/{comparison}/cancel")
def cancel(comparison: str, caller: Writes, here: Here, request: Request) -> Comparison:
    """End it for good; one that runs has ended within seconds."""
    _found(here, comparison, caller)
    try:
        here.queue.cancel(comparison)
    except JobError as error:
        raise ApiError(400, str(error), "comparison", "invalid_job_status") from error
    note(here.database, caller, "comparisons.cancel", comparison, {}, request.state.request_id)
    wire = _wire(here, _found(here, comparison, caller))
    return wire.model_copy(update={"status": "cancelled"})  # its worker ends it within seconds


def _contender(here: Platform, name: str, caller: Caller, param: str) -> Model:
    """Raises `ApiError` for what is not there, or answers nothing."""
    model = _model(here, name, caller, param)
    if (model.lineage or {}).get("method") == JUDGES:
        raise ApiError(400, f"{name} is a reward model: it scores answers, and writes none. It can judge.", param, "not_a_contender")
    return model


def _refuse_judge(here: Platform, asked: NewComparison, caller: Caller) -> None:
    """Raises `ApiError`."""
    if isinstance(asked.judge, str):
        model = _model(here, asked.judge, caller, "judge")
        if (model.lineage or {}).get("method") != JUDGES:
            message = (
                f"{asked.judge} is no reward model. Let a grader judge that asks it (`score_model`), or name a model tuned by `{JUDGES}`."
            )
            raise ApiError(400, message, "judge", "not_a_judge")
    elif why := grader_fault(asked.judge, "judge"):
        raise ApiError(400, why, "judge", "invalid_grader")


def _model(here: Platform, name: str, caller: Caller, param: str) -> Model:
    try:
        return here.models.find(name, caller.project)
    except ModelNotFound as error:
        raise ApiError(400, f"{error}.", param, "model_not_available") from error


def _found(here: Platform, comparison: str, caller: Caller) -> Comparing:
    found = here.comparisons.get(comparison, caller.project)
    if found is None:
        raise ApiError(404, f"There is no comparison {comparison}.", "comparison", "comparison_not_found")
    return found


def _wire(here: Platform, found: Comparing) -> Comparison:
    job, asked = found.job, found.wanted
    told: dict[str, Any] = {name: getattr(asked, name) for name in ("judge", "max_prompts", "max_tokens", "temperature", "seed")}
    told |= {"id": job.id, "status": job.status, "created_at": int(job.created_at)}
    told |= {name: None if at is None else int(at) for name, at in (("started_at", job.started_at), ("finished_at", job.finished_at))}
    told |= {"a": found.a, "b": found.b, "prompts": found.prompts, "result": found.found}
    return Comparison(**told, reason=without(job.error, places(here, job.project)) if job.error else None)
