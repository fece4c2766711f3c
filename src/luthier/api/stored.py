"""Stored chat completions: what a teacher said, found again by its metadata."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from luthier.accounts.audit import note
from luthier.api.auth import Caller, may
from luthier.api.chat_request import Metadata
from luthier.api.errors import ApiError
from luthier.api.pages import After, Order, metadata_of, page
from luthier.api.platform import Here, Platform
from luthier.store.stored import Kept

router = APIRouter(prefix="/chat/completions", tags=["Stored completions"])

Reads = Annotated[Caller, Depends(may("stored.read"))]
Writes = Annotated[Caller, Depends(may("stored.write"))]
Limit = Annotated[int, Query(ge=1, le=100)]

KIND = "chat.completion"


class Changed(BaseModel):
    """What of a stored completion can be changed."""

    model_config = ConfigDict(extra="forbid")

    metadata: Metadata | None


@router.get("")
def list_stored(
    caller: Reads, here: Here, request: Request, model: str | None = None, limit: Limit = 20, order: Order = "asc", after: After = None
) -> dict[str, Any]:
    """Those of a model, and with all of `metadata[key]=value`."""
    wanted = metadata_of(request)
    found = here.stored.list(caller.project, KIND, limit + 1, after, order == "asc", model, wanted)
    return page([_wire(kept) for kept in found], limit, ends=True)


@router.get("/{completion}")
def retrieve(completion: str, caller: Reads, here: Here) -> dict[str, Any]:
    return _wire(_found(here, completion, caller))


@router.post("/{completion}")
def change(completion: str, changed: Changed, caller: Writes, here: Here, request: Request) -> dict[str, Any]:
    """Set its metadata."""
    kept = here.stored.set_metadata(_found(here, completion, caller), changed.metadata)
    note(here.database, caller, "stored.change", completion, {}, request.state.request_id)
    return _wire(kept)


@router.delete("/{completion}")
def delete(completion: str, caller: Writes, here: Here, request: Request) -> dict[str, Any]:
    kept = _found(here, completion, caller)
    here.stored.remove(kept)
    note(here.database, caller, "stored.delete", completion, {}, request.state.request_id)
    return {"object": "chat.completion.deleted", "id": completion, "deleted": True}


@router.get("/{completion}/messages")
def messages(completion: str, caller: Reads, here: Here, limit: Limit = 20, order: Order = "asc", after: After = None) -> dict[str, Any]:
    """What it was asked, turn by turn."""
    kept = _found(here, completion, caller)
    turns = [{"id": f"{kept.id}-{i}", **turn} for i, turn in enumerate(kept.request["messages"])]
    turns = turns if order == "asc" else turns[::-1]
    place = next((i + 1 for i, turn in enumerate(turns) if turn["id"] == after), 0)
    return page(turns[place : place + limit + 1], limit, ends=True)


def _found(here: Platform, completion: str, caller: Caller) -> Kept:
    kept = here.stored.get(caller.project, KIND, completion)
    if kept is None:
        raise ApiError(404, f"Completion {completion} not found", "completion_id", "not_found")
    return kept


def _wire(kept: Kept) -> dict[str, Any]:
    """The completion, with what was asked beside it."""
    asked = kept.request
    return {
        **kept.body,
        "request_id": kept.request_id,
        "tool_choice": asked.get("tool_choice"),
        "seed": asked.get("seed"),
        "top_p": asked.get("top_p", 1.0),
        "temperature": asked.get("temperature", 1.0),
        "presence_penalty": asked.get("presence_penalty", 0.0),
        "frequency_penalty": asked.get("frequency_penalty", 0.0),
        "input_user": None,
        "tools": asked.get("tools"),
        "response_format": asked.get("response_format"),
        "metadata": dict(kept.metadata or {}),
    }
