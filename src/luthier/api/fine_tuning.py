"""Fine-tuning jobs as OpenAI has them: create, look, follow, cancel, pause, go on."""

import secrets
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request
from sqlalchemy import Connection

from luthier.accounts.audit import note
from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.graders import grader_fault
from luthier.api.names import NAMES
from luthier.api.pages import After, metadata_of, page
from luthier.api.platform import Here, Platform
from luthier.api.wire_tuning import checkpoint_wire, event_number, event_wire, job_wire
from luthier.jobs.records import JobError
from luthier.jobs.transitions import ENDED
from luthier.jobs.tunings import Told, Wanted
from luthier.spec.tuning import normalised_suffix
from luthier.spec.tuning_request import LARGEST_SEED, details_of, hyperparameters_of, method_of, refused
from luthier.store.models import Model, ModelNotFound

router = APIRouter(prefix="/fine_tuning/jobs", tags=["Fine-tuning"])

Reads = Annotated[Caller, Depends(may("jobs.read"))]
Writes = Annotated[Caller, Depends(may("jobs.write"))]

MOST_A_PAGE = 1000

CREATE_SCHEMA = {
    "type": "object",
    "required": ["model", "training_file"],
    "properties": {
        "model": {"type": "string", "description": "A base, a tuned model to go on from, or an alias."},
        "training_file": {"type": "string", "description": "The id of a file whose purpose is fine-tune."},
        "validation_file": {"type": ["string", "null"]},
        "method": {"type": ["object", "null"], "description": "supervised, dpo or reinforcement, with its hyperparameters."},
        "hyperparameters": {"type": ["object", "null"], "deprecated": True},
        "suffix": {"type": ["string", "null"], "maxLength": 64},
        "seed": {"type": ["integer", "null"], "minimum": 0, "maximum": LARGEST_SEED},
        "metadata": {"type": ["object", "null"], "maxProperties": 16},
        "integrations": {"type": ["array", "null"], "maxItems": 5},
        "luthier": {"type": ["object", "null"], "description": "Beyond OpenAI's: any setting of a run, by its key."},
    },
}
"""For the page of the interface; `refused` decides."""

Limit = Annotated[int, Query(ge=1, le=MOST_A_PAGE)]


@router.post("", openapi_extra={"requestBody": {"content": {"application/json": {"schema": CREATE_SCHEMA}}, "required": True}})
def create(asked: Annotated[dict[str, Any], Body()], caller: Writes, here: Here, request: Request) -> dict[str, Any]:
    """Begin a job. Its files are looked at after this returns: what is wrong with them is told by the job, which then has failed."""
    if refusal := refused(asked, grader_fault):
        raise ApiError(400, refusal[0], refusal[1])
    model = _model(here, asked["model"], caller)
    training, validation = (_file(here, caller, asked, field) for field in ("training_file", "validation_file"))
    assert training is not None
    kind = method_of(asked)
    wanted = Wanted(
        project=caller.project,
        model=model,
        base=_named_after(asked["model"], model),
        method={"type": kind, kind: {**details_of(asked), "hyperparameters": hyperparameters_of(asked)}},
        training_file=training,
        validation_file=validation,
        suffix=normalised_suffix(asked.get("suffix")) or None,
        seed=asked["seed"] if asked.get("seed") is not None else secrets.randbelow(LARGEST_SEED),
        metadata=asked.get("metadata"),
        integrations=asked.get("integrations"),
        luthier=asked.get("luthier"),
    )
    told = here.tunings.create(wanted, first=lambda connection: refuse_more_jobs(here, caller, connection))
    note(here.database, caller, "jobs.create", told[0].id, {"model": model.name, "training_file": training}, request.state.request_id)
    return job_wire(*told)


@router.get("")
def list_jobs(caller: Reads, here: Here, request: Request, limit: Limit = 20, after: After = None) -> dict[str, Any]:
    """Jobs of the project, the newest first. `metadata[key]=value` picks those that have it; `metadata=null` those that have none."""
    wanted = metadata_of(request)
    bare = request.query_params.get("metadata") == "null"
    found = here.tunings.newest(caller.project, limit + 1, after, wanted, bare)
    return page([job_wire(*told) for told in found], limit)


@router.get("/{job}")
def retrieve(job: str, caller: Reads, here: Here) -> dict[str, Any]:
    return job_wire(*_found(here, job, caller))


@router.post("/{job}/cancel")
def cancel(job: str, caller: Writes, here: Here, request: Request) -> dict[str, Any]:
    """End a job for good; one that runs has ended within seconds."""
    return _want(here, job, caller, request, "cancel")


@router.post("/{job}/pause")
def pause(job: str, caller: Writes, here: Here, request: Request) -> dict[str, Any]:
    """Let a job save its state and stop. What it has learnt until then can be asked, as a checkpoint."""
    return _want(here, job, caller, request, "pause")


@router.post("/{job}/resume")
def resume(job: str, caller: Writes, here: Here, request: Request) -> dict[str, Any]:
    """Go on where a paused job stopped."""
    return _want(here, job, caller, request, "resume")


@router.get("/{job}/events")
def list_events(job: str, caller: Reads, here: Here, limit: Limit = 20, after: After = None) -> dict[str, Any]:
    """What happened, the newest first."""
    told = _found(here, job, caller)
    before = event_number(after) if after is not None else None
    return page([event_wire(event) for event in here.tunings.events(told[0].id, limit + 1, before)], limit)


@router.get("/{job}/checkpoints")
def list_checkpoints(job: str, caller: Reads, here: Here, limit: Limit = 10, after: After = None) -> dict[str, Any]:
    """States that are kept, the newest first. Each can be asked by its name, like any model."""
    told = _found(here, job, caller)
    return page([checkpoint_wire(one) for one in here.tunings.checkpoints(told[0].id, limit + 1, after)], limit, ends=True)


def _want(here: Platform, job: str, caller: Caller, request: Request, verb: str) -> dict[str, Any]:
    told = _found(here, job, caller)
    try:
        {"cancel": here.queue.cancel, "pause": here.queue.pause, "resume": here.queue.resume}[verb](job)
    except JobError as error:
        ended = told[0].status in ENDED
        past = {"cancel": "cancelled", "pause": "paused", "resume": "resumed"}[verb]
        message = f"Job {job} has already {told[0].status} and cannot be {past}." if ended else str(error)
        raise ApiError(400, message, code="invalid_job_status") from error
    note(here.database, caller, f"jobs.{verb}", job, {}, request.state.request_id)
    again = here.tunings.get(job, caller.project)
    assert again is not None
    wire = job_wire(*again)
    return {**wire, "status": "cancelled"} if verb == "cancel" else wire  # its worker ends it within seconds


def _found(here: Platform, job: str, caller: Caller) -> Told:
    told = here.tunings.get(job, caller.project)
    if told is None:
        raise ApiError(404, f"Could not find fine tune: {job}", "fine_tune_id", "fine_tune_not_found")
    return told


def refuse_more_jobs(here: Platform, caller: Caller, connection: Connection) -> None:
    """Raises `ApiError` where the project may have no further job. In the transaction that makes it: of two at once one is the last."""
    if why := here.accounts.may_create_job(caller.project, connection):
        raise ApiError(429, why, code="quota_exceeded", type="insufficient_quota", headers={"x-should-retry": "false"})


def _model(here: Platform, name: str, caller: Caller) -> Model:
    try:
        return here.models.find(name, caller.project)
    except ModelNotFound as error:
        message = (
            f"Model {name} is not available for fine-tuning or does not exist. "
            f"(On this server:  luthier models alias {name} starter  lets another model stand for it.)"
        )
        raise ApiError(400, message, code="model_not_available") from error


def _named_after(asked: str, model: Model) -> str:
    """What stands for the base in the names of what is made. One of OpenAI's names stays: some clients see by it how to ask."""
    if asked in NAMES:
        return asked
    return model.name.split(":")[1] if model.name.startswith("ft:") else model.name


def _file(here: Platform, caller: Caller, asked: Mapping[str, Any], field: str) -> str | None:
    """The id of a file that can be trained on."""
    number: str | None = asked.get(field)
    if number is None:
        return None
    file = here.files.get(caller.project, number)
    if file is None:
        raise ApiError(400, f"invalid {field}: {number}", field)
    if file.purpose != "fine-tune":
        raise ApiError(400, f"invalid {field}: {number} (its purpose is {file.purpose}, and must be fine-tune)", field)
    return number
