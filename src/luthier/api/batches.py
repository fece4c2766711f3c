"""Batches of requests: many at once from a file, answered within a day, their answers in a file."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from luthier.accounts.audit import note
from luthier.api.auth import Caller, may
from luthier.api.chat_request import Metadata
from luthier.api.errors import ApiError
from luthier.api.files import ExpiresAfter
from luthier.api.pages import After, page
from luthier.api.platform import Here
from luthier.store.batches import Batch, BatchEnded, Batches, BatchNotFound, Wanted

router = APIRouter(prefix="/batches", tags=["Batches"])

Reads = Annotated[Caller, Depends(may("batches.read"))]
Writes = Annotated[Caller, Depends(may("batches.write"))]

Endpoint = Literal["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions"]


TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
"""Statuses whose moments are told."""


class NewBatch(BaseModel):
    """A file of requests to be answered."""

    model_config = ConfigDict(extra="forbid")

    input_file_id: str
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None


def batches_of(here: Here) -> Batches:
    return Batches(here.database, here.blobs)


Kept = Annotated[Batches, Depends(batches_of)]


@router.post("")
def create(asked: NewBatch, caller: Writes, here: Here, kept: Kept, request: Request) -> dict[str, Any]:
    """Begin a batch. Its file is looked at after this returns."""
    file = here.files.get(caller.project, asked.input_file_id)
    if file is None:
        raise ApiError(400, f"No such File object: {asked.input_file_id}", "input_file_id")
    if file.purpose != "batch":
        raise ApiError(400, f"The file {file.id} was uploaded for '{file.purpose}'. Upload it with purpose='batch'.", "input_file_id")
    expires = asked.output_expires_after.seconds if asked.output_expires_after else None
    batch = kept.create(Wanted(caller.project, caller.key, caller.role, asked.endpoint, file.id, asked.metadata, expires))
    note(here.database, caller, "batches.create", batch.id, {"input_file": file.id, "endpoint": asked.endpoint}, request.state.request_id)
    return wire(batch)


@router.get("")
def list_batches(caller: Reads, kept: Kept, after: After = None, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> dict[str, Any]:
    """Batches of the project, the newest first."""
    try:
        found = kept.newest(caller.project, limit + 1, after)
    except BatchNotFound as error:
        raise ApiError(400, str(error), "after") from error
    return page([wire(batch) for batch in found], limit, ends=True)


@router.get("/{batch_id}")
def retrieve(batch_id: str, caller: Reads, kept: Kept) -> dict[str, Any]:
    try:
        return wire(kept.get(caller.project, batch_id))
    except BatchNotFound as error:
        raise ApiError(404, str(error), "batch_id") from error


@router.post("/{batch_id}/cancel")
def cancel(batch_id: str, caller: Writes, here: Here, kept: Kept, request: Request) -> dict[str, Any]:
    """Let no further request begin; answers that are there by then are kept."""
    try:
        batch = kept.cancel(caller.project, batch_id)
    except BatchNotFound as error:
        raise ApiError(404, str(error), "batch_id") from error
    except BatchEnded as error:
        raise ApiError(400, str(error)) from error
    note(here.database, caller, "batches.cancel", batch_id, {}, request.state.request_id)
    return wire(batch)


def wire(batch: Batch) -> dict[str, Any]:
    """A batch as OpenAI tells it."""
    times = {f"{status}_at": int(batch.moments[status]) if status in batch.moments else None for status in TIMES}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": {"object": "list", "data": batch.errors} if batch.errors is not None else None,
        "input_file_id": batch.input_file,
        "completion_window": "24h",
        "status": batch.status,
        "output_file_id": batch.output_file,
        "error_file_id": batch.error_file,
        "created_at": int(batch.created_at),
        "expires_at": int(batch.expires_at),
        **times,
        "request_counts": {"total": batch.total or 0, "completed": batch.completed, "failed": batch.failed},
        "metadata": batch.metadata,
    }
