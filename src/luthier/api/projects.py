"""Projects: what there are, what each may use, and what it has."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from luthier.accounts import projects
from luthier.accounts.audit import note
from luthier.accounts.projects import ProjectError, ProjectSettings
from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.pages import listed
from luthier.api.platform import Here, Platform
from luthier.spec.accounts import NewProject, Project, ProjectDetails, ProjectUsage
from luthier.spec.wire import Page

router = APIRouter(prefix="/projects", tags=["Projects"])

Reads = Annotated[Caller, Depends(may("projects.read"))]
Writes = Annotated[Caller, Depends(may("projects.write"))]


@router.get("")
def list_projects(caller: Reads, here: Here) -> Page[Project]:
    """The key's own project; all of them for a key for every project."""
    found = [project for project in here.accounts.projects.all() if caller.everywhere or project.id == caller.project]
    return listed([_wire(project) for project in found], len(found))


@router.post("")
def create(asked: NewProject, caller: Writes, here: Here, request: Request) -> Project:
    """A new project, without any key yet."""
    try:
        made = here.accounts.projects.create(asked.name, asked.settings.model_dump())
    except ProjectError as error:
        raise ApiError(400, str(error), "name") from error
    note(here.database, caller, "projects.create", made.id, {"name": made.name}, request.state.request_id)
    return _wire(made)


@router.get("/{project}")
def retrieve(project: str, caller: Reads, here: Here) -> ProjectDetails:
    """A project by its id or name, with what it has of what is limited."""
    found = _found(here, project, caller)
    usage = here.accounts.usage(found.id)
    told = ProjectUsage(open_jobs=usage.open_jobs, files_bytes=usage.files_bytes, trained_tokens_this_month=usage.trained_tokens)
    return ProjectDetails(**vars(_wire(found)), usage=told)


@router.patch("/{project}")
def change(project: str, asked: ProjectSettings, caller: Writes, here: Here, request: Request) -> Project:
    """Set some of its settings; null takes one away. They hold within seconds."""
    found = _found(here, project, caller)
    changes = asked.model_dump(include=asked.model_fields_set)
    changed = here.accounts.projects.change(found.id, changes)
    note(here.database, caller, "projects.change", found.id, changes, request.state.request_id)
    return _wire(changed)


def _found(here: Platform, project: str, caller: Caller) -> projects.Project:
    """The project, where this key may know of it. Raises `ApiError`."""
    try:
        found = here.accounts.projects.get(project)
    except ProjectError:
        found = None
    if found is None or not (caller.everywhere or found.id == caller.project):
        raise ApiError(404, f"There is no project {project}.", "project", "project_not_found")
    return found


def _wire(project: projects.Project) -> Project:
    return Project(id=project.id, name=project.name, settings=project.settings, created_at=int(project.created_at))
