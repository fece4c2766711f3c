"""Tuned models and checkpoints that other projects may use: ask, and go on from; not change, nor delete."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, or_, select

from luthier.store.database import Database, now
from luthier.store.ids import new
from luthier.store.tables import models, shared_models

PREFIX = "cp_"


@dataclass(frozen=True)
class Permission:
    """That a project may use another's model."""

    id: str
    model: str
    project: str
    created_at: float


def usable_by(project: str) -> ColumnElement[bool]:
    """Of rows of `models`: those that are the project's own, or shared with it."""
    shared = select(shared_models.c.model).where(shared_models.c.project == project)
    return or_(models.c.project == project, models.c.name.in_(shared))


class Sharing:
    """Who may use which model, in a database whose tables are up to date."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def share(self, model: str, projects: Sequence[str]) -> list[Permission]:
        """Let projects use a model; those that may already keep the permission they have. One for each, in the order that was asked."""
        with self.database.write() as connection:
            there = {one.project: one for one in _read(connection.execute(_of(model)))}
            added = [project for project in dict.fromkeys(projects) if project not in there]
            if added:
                rows = [{"id": new(PREFIX), "model": model, "project": project, "created_at": now()} for project in added]
                for row in rows:
                    connection.execute(insert(shared_models).values(row))
                there = {one.project: one for one in _read(connection.execute(_of(model)))}
        return [there[project] for project in dict.fromkeys(projects)]

    def of(self, model: str, project: str | None = None) -> list[Permission]:
        """Those of a model, the oldest first; `project`: only this one's."""
        query = _of(model) if project is None else _of(model).where(shared_models.c.project == project)
        with self.database.read() as connection:
            return _read(connection.execute(query))

    def take_back(self, model: str, permission: str) -> bool:
        """Whether there was such a permission for that model; now there is none."""
        gone = delete(shared_models).where(shared_models.c.model == model, shared_models.c.id == permission)
        with self.database.write() as connection:
            return bool(connection.execute(gone).rowcount)


def _of(model: str) -> Any:
    return select(shared_models).where(shared_models.c.model == model).order_by(shared_models.c.created_at, shared_models.c.id)


def _read(rows: Any) -> list[Permission]:
    return [Permission(**row._mapping) for row in rows]
