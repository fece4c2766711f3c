"""Projects: whose files, jobs and models they are, and how much of them there may be. Projects see nothing of each other."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, insert, or_, select, update
from sqlalchemy.engine import Row

from luthier.errors import SettingsError, UserError
from luthier.spec.accounts import Moderation as Moderation
from luthier.spec.accounts import ProjectSettings as ProjectSettings
from luthier.spec.nearest import did_you_mean
from luthier.store.database import Database, now
from luthier.store.ids import new
from luthier.store.tables import projects

DEFAULT = "default"
"""The project that is always there, and whose keys are made where none is named."""

NAME = re.compile(r"(?!proj_)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ProjectError(UserError):
    """A project that is not there, or cannot be made."""


@dataclass(frozen=True)
class Project:
    """`name`: what people call it; both it and the id find it. `created_at`: seconds since the epoch."""

    id: str
    name: str
    settings: ProjectSettings
    created_at: float


class Projects:
    """The projects of a database whose tables are up to date."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(self, name: str, settings: Mapping[str, Any] | None = None) -> Project:
        """Raises `ProjectError` for a name that is taken or cannot be one, `SettingsError` for settings that are none."""
        if not NAME.fullmatch(name):
            raise ProjectError(f"{name!r} cannot be a project's name: letters, digits and . _ - can, at most 64, a letter or digit first.")
        kept = _checked(settings or {})
        with self.database.write() as connection:
            if _find(connection, name) is not None:
                raise ProjectError(f"There is a project {name} already. Look at it:  luthier projects show {name}")
            row = {"id": new("proj_"), "name": name, "settings": kept, "created_at": now()}
            connection.execute(insert(projects).values(row))
            return _there(connection, name)

    def get(self, project: str) -> Project:
        """By its id or its name. Raises `ProjectError` where there is none."""
        with self.database.read() as connection:
            return _there(connection, project)

    def all(self) -> list[Project]:
        """The oldest first."""
        with self.database.read() as connection:
            return [project_of(row) for row in connection.execute(select(projects).order_by(projects.c.created_at, projects.c.id))]

    def change(self, project: str, changes: Mapping[str, Any]) -> Project:
        """Set some of its settings; None is as if nothing were said. Raises as `create` and `get`."""
        with self.database.write() as connection:
            found = _there(connection, project, lock=True)
            kept = _checked({**found.settings.model_dump(exclude_defaults=True), **changes})
            connection.execute(update(projects).where(projects.c.id == found.id).values(settings=kept))
            return _there(connection, found.id)


def project_of(row: Row[Any]) -> Project:
    """A project from its row."""
    return Project(row.id, row.name, ProjectSettings.model_validate(row.settings), row.created_at)


def _find(connection: Connection, project: str, lock: bool = False) -> Project | None:
    query = select(projects).where(or_(projects.c.id == project, projects.c.name == project))
    row = connection.execute(query.with_for_update() if lock else query).first()
    return project_of(row) if row is not None else None


def _there(connection: Connection, project: str, lock: bool = False) -> Project:
    found = _find(connection, project, lock)
    if found is None:
        names = connection.execute(select(projects.c.name)).scalars()
        raise ProjectError(f"There is no project {project}.{did_you_mean(project, names)}")
    return found


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of settings. Raises `SettingsError`."""
    known = ProjectSettings.model_fields
    for key in settings:
        if key not in known:
            raise SettingsError(f"A project has no setting `{key}`.{did_you_mean(key, known)} It has: {', '.join(known)}.")
    said = {key: value for key, value in settings.items() if value is not None}
    try:
        return ProjectSettings.model_validate(said).model_dump(mode="json", exclude_defaults=True)
    except ValidationError as error:
        fault = error.errors()[0]
        wrong = fault["msg"].removeprefix("Value error, ")
        wrong = wrong.replace("Input should", ", but it should", 1) if wrong.startswith("Input should") else f": {wrong}"
        raise SettingsError(f"`{'.'.join(map(str, fault['loc']))}` is {fault['input']!r}{wrong}.") from error
