"""What people said about answers, kept with the answers themselves. Lines are added, read, and taken away; none is changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, exists, insert, select, tuple_

from luthier.store.database import Database, now
from luthier.store.stored import Kept
from luthier.store.tables import feedback, feedback_completions, stored

COMPLETION = "chat.completion"

AT_ONCE = 1000
"""Entries read in one query: databases take so many values and not many more."""


@dataclass(frozen=True)
class Entry:
    """What was said once. `key`: who told it; `rater`: who said it. `said`: by its kind's field. `choice`: None for all answers.

    `completions`: ids of stored completions, in the order of their answers.
    """

    project: str
    key: str
    rater: str
    kind: str
    model: str | None
    prompt: list[dict[str, Any]]
    answers: list[list[dict[str, Any]]]
    tools: list[dict[str, Any]]
    choice: int | None
    said: dict[str, Any]
    comment: str | None
    metadata: dict[str, str]
    completions: tuple[str, ...] = ()
    number: int = 0
    created_at: float = 0.0


@dataclass(frozen=True)
class Which:
    """What is looked for; None and nothing stand for anything."""

    kind: str | None = None
    completion: str | None = None
    model: str | None = None
    rater: str | None = None
    key: str | None = None
    metadata: Mapping[str, str] | None = None

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """Those that the database can look for."""
        columns = {feedback.c.kind: self.kind, feedback.c.model: self.model, feedback.c.rater: self.rater, feedback.c.key: self.key}
        found = [column == value for column, value in columns.items() if value is not None]
        if self.completion is not None:
            about = feedback_completions
            found.append(exists().where(about.c.feedback == feedback.c.number, about.c.completion == self.completion))
        return found

    def has(self, metadata: Mapping[str, str]) -> bool:
        return all(metadata.get(key) == value for key, value in (self.metadata or {}).items())


class FeedbackStore:
    """The feedback of a database whose tables are up to date. Another project's is not there."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, entry: Entry) -> Entry:
        """For good, when this returns."""
        row = {name: value for name, value in vars(entry).items() if name not in ("number", "created_at", "completions")}
        with self.database.write() as connection:
            at = connection.execute(select(now())).scalar_one()
            number = connection.execute(insert(feedback).values(**row, created_at=at).returning(feedback.c.number)).scalar_one()
            if entry.completions:
                about = [{"feedback": number, "place": i, "completion": one} for i, one in enumerate(entry.completions)]
                connection.execute(insert(feedback_completions), about)
        return replace(entry, number=number, created_at=at)

    def get(self, project: str, number: int) -> Entry | None:
        found = self._read(select(feedback).where(feedback.c.project == project, feedback.c.number == number))
        return found[0] if found else None

    def newest(self, project: str, limit: int, before: int | None = None, which: Which = Which()) -> list[Entry]:
        """The newest first, those before the one with this number."""
        query = select(feedback).where(feedback.c.project == project, *which.conditions).order_by(feedback.c.number.desc())
        found: list[Entry] = []
        size = AT_ONCE if which.metadata else min(limit, AT_ONCE)
        while len(found) < limit:
            page = self._read((query.where(feedback.c.number < before) if before is not None else query).limit(size))
            found += [entry for entry in page if which.has(entry.metadata)]
            if len(page) < size:
                break
            before = page[-1].number
        return found[:limit]

    def remove(self, project: str, number: int) -> None:
        with self.database.write() as connection:
            connection.execute(delete(feedback).where(feedback.c.project == project, feedback.c.number == number))

    def unjudged(self, project: str, key: str, limit: int, after: str | None = None, model: str | None = None) -> list[Kept]:
        """Stored completions of which this key has said nothing yet, in the order in which they were made, after the one with that id."""
        about, said = feedback_completions, feedback
        judged = exists().where(
            about.c.completion == stored.c.id, said.c.number == about.c.feedback, said.c.project == project, said.c.key == key
        )
        query = select(stored).where(stored.c.project == project, stored.c.kind == COMPLETION, ~judged)
        query = query.where(stored.c.model == model) if model is not None else query
        with self.database.read() as connection:
            if after is not None:
                at = connection.execute(select(stored.c.created_at).where(stored.c.id == after, stored.c.project == project)).scalar()
                if at is None:
                    return []
                query = query.where(tuple_(stored.c.created_at, stored.c.id) > tuple_(at, after))
            rows = connection.execute(query.order_by(stored.c.created_at, stored.c.id).limit(limit))
            return [Kept(**row._mapping) for row in rows]

    def _read(self, query: Select[Any]) -> list[Entry]:
        """Entries with what they are about."""
        with self.database.read() as connection:
            rows = [dict(row._mapping) for row in connection.execute(query)]
            about = _about([row["number"] for row in rows])
            named: dict[int, list[str]] = {}
            for number, completion in connection.execute(about) if rows else ():
                named.setdefault(number, []).append(completion)
        return [Entry(**row, completions=tuple(named.get(row["number"], ()))) for row in rows]


def _about(numbers: Sequence[int]) -> Select[Any]:
    table = feedback_completions
    return select(table.c.feedback, table.c.completion).where(table.c.feedback.in_(numbers)).order_by(table.c.feedback, table.c.place)
