"""Who did what, and when: a line for each change, kept with it. Lines are added and read; nothing here changes one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from luthier.accounts.keys import LENGTH, PREFIX, shortened
from luthier.accounts.roles import Caller
from luthier.store.database import Database, now
from luthier.store.tables import audit

SECRET_NAMES = re.compile(r"(?i)password|secret|api_?key|authorization|bearer|credential|private")
"""A field that is called so is not written down, whatever is in it."""

KEYS = re.compile(rf"{PREFIX}[A-Za-z0-9]{{{LENGTH}}}|\b(?:sk|hf)[-_][A-Za-z0-9_-]{{16,}}")
"""Keys of ours, and what looks like those of others."""

LONGEST = 500
"""Characters of a text that are written down."""

HIDDEN = "…"


@dataclass(frozen=True)
class Entry:
    """A line. `key`: who did it; None for the command line of the machine. `at`: seconds since the epoch, by the database."""

    number: int
    at: float
    project: str
    key: str | None
    action: str
    subject: str
    details: dict[str, Any]
    request: str | None


def note(
    to: Database | Connection,
    caller: Caller,
    action: str,
    subject: str,
    details: Mapping[str, Any] | None = None,
    request: str | None = None,
) -> None:
    """Write down that `caller` did something.

    Args:
        to: the connection of the transaction that does it, so that both are kept or neither; or the database.
        action: such as `files.delete`. subject: the id of what it was done to. request: its id.
        details: what else is worth knowing. Secrets in it are hidden.
    """
    row = {
        "at": now(),
        "project": caller.project,
        "key": caller.key or None,
        "action": action,
        "subject": without_secrets(subject),
        "details": without_secrets(dict(details or {})),
        "request": request,
    }
    if isinstance(to, Connection):
        to.execute(insert(audit).values(row))
        return
    with to.write() as connection:
        connection.execute(insert(audit).values(row))


def entries(
    database: Database, project: str, limit: int = 100, before: int | None = None, action: str | None = None, key: str | None = None
) -> list[Entry]:
    """What was done in a project, the newest first.

    Args:
        before: the number of a line. action: `files.delete`, or `files` for all that was done with files.
    """
    query = select(audit).where(audit.c.project == project).order_by(audit.c.number.desc()).limit(limit)
    query = query.where(audit.c.number < before) if before is not None else query
    query = query.where((audit.c.action == action) | audit.c.action.startswith(f"{action}.", autoescape=True)) if action else query
    query = query.where(audit.c.key == key) if key else query
    with database.read() as connection:
        return [Entry(**row._mapping) for row in connection.execute(query)]


def without_secrets(value: Any) -> Any:
    """The same, with what looks like a key hidden, and long texts cut."""
    if isinstance(value, str):
        hidden = KEYS.sub(lambda found: shortened(found.group()), value)
        return hidden if len(hidden) <= LONGEST else hidden[:LONGEST] + HIDDEN
    if isinstance(value, Mapping):
        return {str(name): HIDDEN if SECRET_NAMES.search(str(name)) else without_secrets(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(one) for one in value]
    return value
