"""Which other projects may use a tuned model or a checkpoint, as OpenAI has it: a matter for an admin's key for every project."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from luthier.accounts.audit import note
from luthier.accounts.projects import ProjectError
from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.models import found
from luthier.api.pages import After, page
from luthier.api.platform import Here, Platform
from luthier.spec.base import Spec
from luthier.store.models import Model
from luthier.store.sharing import Permission

router = APIRouter(prefix="/fine_tuning/checkpoints", tags=["Fine-tuning"])

Reads = Annotated[Caller, Depends(may("sharing.read"))]
Writes = Annotated[Caller, Depends(may("sharing.write"))]
Limit = Annotated[int, Query(ge=1, le=100)]


class NewPermissions(Spec):
    """Projects that may use a model, by id or name."""

    project_ids: list[str] = Field(min_length=1, max_length=100)


@router.post("/{model:path}/permissions")
def create(model: str, asked: NewPermissions, caller: Writes, here: Here, request: Request) -> dict[str, Any]:
    """Let projects use a tuned model: ask it, and go on from it. They cannot delete it."""
    there = _owned(here, model, caller)
    projects = [_project(here, one, there, place) for place, one in enumerate(asked.project_ids)]
    made = here.sharing.share(there.name, projects)
    note(here.database, caller, "models.share", there.name, {"projects": projects}, request.state.request_id)
    return page([_wire(one) for one in made], len(made), ends=True)


@router.get("/{model:path}/permissions")
def list_permissions(
    model: str,
    caller: Reads,
    here: Here,
    limit: Limit = 10,
    after: After = None,
    project_id: Annotated[str | None, Query(description="Only this project's.")] = None,
    order: Literal["ascending", "descending"] = "descending",
) -> dict[str, Any]:
    """Who may use a model of the project, the newest first."""
    told = here.sharing.of(_owned(here, model, caller).name, project_id)
    told = told[::-1] if order == "descending" else told
    if after is not None:
        places = [place for place, one in enumerate(told) if one.id == after]
        if not places:
            raise ApiError(400, f"There is no permission {after}.", "after", "permission_not_found")
        told = told[places[0] + 1 :]
    return page([_wire(one) for one in told[: limit + 1]], limit, ends=True)


@router.delete("/{model:path}/permissions/{permission}")
def delete(model: str, permission: str, caller: Writes, here: Here, request: Request) -> dict[str, Any]:
    """Take a permission back. Answers that are being drawn are drawn to their end."""
    there = _owned(here, model, caller)
    if not here.sharing.take_back(there.name, permission):
        raise ApiError(404, f"There is no permission {permission}.", "permission", "permission_not_found")
    note(here.database, caller, "models.unshare", there.name, {"permission": permission}, request.state.request_id)
    return {"id": permission, "object": "checkpoint.permission", "deleted": True}


def _owned(here: Platform, name: str, caller: Caller) -> Model:
    """The project's own tuned model of that name. Raises `ApiError`."""
    there = found(here, name, caller)
    if there.project is None:
        raise ApiError(400, f"The model '{name}' is a base, which every project can use already.", "model")
    if there.project != caller.project:
        raise ApiError(403, f"The model '{name}' is another project's, which alone can share it.", "model", "permission_denied")
    return there


def _project(here: Platform, project: str, model: Model, place: int) -> str:
    """The id of a project that a model can be shared with. Raises `ApiError`."""
    try:
        wanted = here.accounts.projects.get(project).id
    except ProjectError as error:
        raise ApiError(400, f"There is no project {project}.", f"project_ids.{place}", "project_not_found") from error
    if wanted == model.project:
        raise ApiError(400, f"The model '{model.name}' is this project's own.", f"project_ids.{place}")
    return wanted


def _wire(one: Permission) -> dict[str, Any]:
    return {"id": one.id, "object": "checkpoint.permission", "created_at": int(one.created_at), "project_id": one.project}
