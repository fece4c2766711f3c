"""What models were asked and said, for a while, with what is to be hidden hidden before it is written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select

from luthier.store.database import Database, now
from luthier.store.tables import logged

HIDDEN = "[hidden]"
DAY_S = 86_400.0


@dataclass(frozen=True)
class Logged:
    """One request. `asked`: turns or a prompt; `said`: each answer; `tokens`: of both; `key`: the id of whose key it was."""

    project: str
    key: str
    model: str
    asked: Any
    said: list[str]
    tokens: int
    seconds: float
    request: str
    number: int = 0
    at: float = 0.0


class Log:
    """Of all projects. Nothing is written that was not asked for."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def write(self, entry: Logged, days: int, hide: Sequence[str] = ()) -> None:
        """Keep a request, and delete what of its project is older than so many days. `hide`: regular expressions."""
        patterns = [re.compile(pattern) for pattern in hide]
        row = {name: value for name, value in vars(entry).items() if name not in ("number", "at")}
        row |= {"at": now(), "asked": hidden(entry.asked, patterns), "said": hidden(entry.said, patterns)}
        with self.database.write() as connection:
            connection.execute(insert(logged).values(row))
            connection.execute(delete(logged).where(logged.c.project == entry.project, logged.c.at < now() - days * DAY_S))

    def newest(self, project: str, limit: int, before: int | None = None) -> list[Logged]:
        """The newest first. `before`: a number."""
        query = select(logged).where(logged.c.project == project).order_by(logged.c.number.desc()).limit(limit)
        query = query.where(logged.c.number < before) if before is not None else query
        with self.database.read() as connection:
            return [Logged(**row._mapping) for row in connection.execute(query)]


def hidden(value: Any, patterns: Sequence[re.Pattern[str]]) -> Any:
    """The same, with what the patterns match replaced wherever a text has it."""
    if isinstance(value, str):
        for pattern in patterns:
            value = pattern.sub(HIDDEN, value)
        return value
    if isinstance(value, dict):
        return {key: hidden(one, patterns) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [hidden(one, patterns) for one in value]
    return value
