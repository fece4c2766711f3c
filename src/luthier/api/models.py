"""Models that can be asked and tuned: bases, what was tuned from them, and kept checkpoints."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from luthier.accounts.audit import note
from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.pages import page
from luthier.api.platform import Here, Platform
from luthier.jobs.names import organization
from luthier.store.models import Model, ModelNotFound

router = APIRouter(prefix="/models", tags=["Models"])

Reads = Annotated[Caller, Depends(may("models.read"))]
Writes = Annotated[Caller, Depends(may("models.write"))]


@router.get("")
def list_models(caller: Reads, here: Here) -> dict[str, Any]:
    """Every model that this key can use; aliases stand beside what they stand for."""
    models = [_wire(model) for model in here.models.of(caller.project)]
    known = {model["id"] for model in models}
    others = [name for name in here.models.aliases() if name not in known and _stands(here, name, caller)]
    models += [{**_wire(here.models.find(name, caller.project)), "id": name} for name in others]
    return page(models, len(models))


@router.get("/{model:path}")
def retrieve(model: str, caller: Reads, here: Here) -> dict[str, Any]:
    """A model by its name, or by an alias, under which it is told."""
    return {**_wire(found(here, model, caller)), "id": model}


@router.delete("/{model:path}")
def delete(model: str, caller: Writes, here: Here, request: Request) -> dict[str, Any]:
    """Delete a tuned model or a kept checkpoint. Bases are the operator's: `luthier models remove`."""
    there = found(here, model, caller)
    if there.project is None:
        raise ApiError(403, f"The model '{model}' is a base; only tuned models can be deleted.", "model", "permission_denied")
    if there.project != caller.project:
        raise ApiError(403, f"The model '{model}' is another project's; only that one can delete it.", "model", "permission_denied")
    here.models.remove(there.name, caller.project)
    note(here.database, caller, "models.delete", there.name, {}, request.state.request_id)
    return {"id": model, "object": "model", "deleted": True}


def found(here: Platform, name: str, caller: Caller) -> Model:
    """The model of this name. Raises `ApiError` in OpenAI's words."""
    try:
        return here.models.find(name, caller.project)
    except ModelNotFound as error:
        raise ApiError(404, f"The model '{name}' does not exist", "model", "model_not_found") from error


def _stands(here: Platform, alias: str, caller: Caller) -> bool:
    """Whether an alias leads anywhere for this key."""
    try:
        here.models.find(alias, caller.project)
    except ModelNotFound:
        return False
    return True


def _wire(model: Model) -> dict[str, Any]:
    owner = f"org-{organization(model.project)}" if model.project is not None else "luthier"
    return {"id": model.name, "object": "model", "created": int(model.created_at), "owned_by": owner}
