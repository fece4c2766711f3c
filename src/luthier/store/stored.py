"""Answers that were asked to be kept: completions, from which one can learn, and responses, which one can go on from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import delete, insert, select, tuple_, update

from luthier.store.database import Database, now
from luthier.store.tables import stored


@dataclass(frozen=True)
class Kept:
    """One answer. `kind`: chat.completion or response. `body`: as it was answered. `request`: what was asked, without what is null."""

    id: str
    project: str
    kind: str
    model: str
    request: dict[str, Any]
    body: dict[str, Any]
    request_id: str
    metadata: Mapping[str, str] | None = None
    created_at: float = 0.0


class Stored:
    """What is kept in a database whose tables are up to date. Another project's is not there."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def keep(self, kept: Kept) -> None:
        """For good, when this returns."""
        row = {**kept.__dict__, "metadata": dict(kept.metadata) if kept.metadata is not None else None, "created_at": now()}
        with self.database.write() as connection:
            connection.execute(insert(stored).values(row))

    def get(self, project: str, kind: str, identifier: str) -> Kept | None:
        query = select(stored).where(stored.c.id == identifier, stored.c.project == project, stored.c.kind == kind)
        with self.database.read() as connection:
            row = connection.execute(query).first()
            return Kept(**row._mapping) if row is not None else None

    def list(
        self,
        project: str,
        kind: str,
        limit: int,
        after: str | None = None,
        ascending: bool = True,
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> list[Kept]:
        """Those that have all of `metadata`, in the order in which they were made, or the other way round."""
        place = tuple_(stored.c.created_at, stored.c.id)
        order = (stored.c.created_at, stored.c.id) if ascending else (stored.c.created_at.desc(), stored.c.id.desc())
        query = select(stored).where(stored.c.project == project, stored.c.kind == kind).order_by(*order)
        query = query.where(stored.c.model == model) if model is not None else query
        with self.database.read() as connection:
            if after is not None:
                at = connection.execute(select(stored.c.created_at).where(stored.c.id == after, stored.c.project == project)).scalar()
                if at is None:
                    return []
                query = query.where(place > tuple_(at, after) if ascending else place < tuple_(at, after))
            if not metadata:
                return [Kept(**row._mapping) for row in connection.execute(query.limit(limit))]
            found: list[Kept] = []
            for row in connection.execute(query):
                has = row.metadata or {}
                if all(has.get(key) == value for key, value in metadata.items()):
                    found.append(Kept(**row._mapping))
                    if len(found) == limit:
                        break
            return found

    def set_metadata(self, kept: Kept, metadata: Mapping[str, str] | None) -> Kept:
        """Replace it."""
        changed = dict(metadata) if metadata is not None else None
        with self.database.write() as connection:
            connection.execute(update(stored).where(stored.c.id == kept.id).values(metadata=changed))
        return replace(kept, metadata=changed)

    def remove(self, kept: Kept) -> None:
        with self.database.write() as connection:
            connection.execute(delete(stored).where(stored.c.id == kept.id))
