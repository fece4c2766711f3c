"""Keys: shown once, kept as digests under a secret, so that whoever reads the database has none."""

import hashlib
import hmac
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, Select, and_, insert, or_, select, update
from sqlalchemy.engine import Row

from luthier.accounts.projects import DEFAULT
from luthier.accounts.roles import ADMIN, FOR_EVERYWHERE, ROLES
from luthier.errors import UserError
from luthier.spec.nearest import did_you_mean, listed
from luthier.store.database import Database, now
from luthier.store.ids import new
from luthier.store.tables import keys, projects

PREFIX, LENGTH = "lt-", 40
"""Of a key: 40 letters and digits after it, 238 bits."""

LONGEST_NAME = 100
DAY_S = 86_400.0


class KeyFault(UserError):
    """A key that is not there, or cannot be made."""


@dataclass(frozen=True)
class Key:
    """What is known of a key, which does not open anything.

    `hint`: how it begins and ends. `everywhere`: it is for every project. `status`: active, expired or revoked. `created_by`: the key that
    made it; None for the command line. Times in seconds since the epoch, by the database.
    """

    id: str
    project: str
    role: str
    name: str
    hint: str
    everywhere: bool
    created_at: float
    created_by: str | None
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None
    status: str


@dataclass(frozen=True)
class Wanted:
    """A key to be made. `project`: its id. `days`: until it opens nothing any more."""

    project: str = DEFAULT
    role: str = ADMIN
    name: str = ""
    days: float | None = None
    everywhere: bool = False
    created_by: str | None = None


class Keys:
    """The keys of a database whose tables are up to date. `secret`: that of the home folder, or of the variable LUTHIER_SECRET."""

    def __init__(self, database: Database, secret: bytes) -> None:
        self.database, self._secret = database, secret

    def create(self, wanted: Wanted) -> tuple[Key, str]:
        """What is known of the new key, and the key itself, which is nowhere else. Raises `KeyFault`."""
        _refuse(wanted)
        with self.database.write() as connection:
            if connection.execute(select(projects.c.id).where(projects.c.id == wanted.project)).first() is None:
                raise KeyFault(f"There is no project {wanted.project}.")
            return self._add(connection, wanted)

    def first(self) -> tuple[Key, str] | None:
        """An admin's key for every project, where there has never been any key; otherwise None."""
        with self.database.write() as connection:
            connection.execute(select(projects.c.id).where(projects.c.id == DEFAULT).with_for_update())  # one gateway at a time
            if connection.execute(select(keys.c.id).limit(1)).first() is not None:
                return None
            return self._add(connection, Wanted(name="first", everywhere=True))

    def any_active(self) -> bool:
        """Whether some key opens something."""
        with self.database.read() as connection:
            return connection.execute(select(keys.c.id).where(_active()).limit(1)).first() is not None

    def get(self, number: str, project: str | None = None) -> Key:
        """A key of a project, or of any. Raises `KeyFault` where there is none."""
        with self.database.read() as connection:
            return _there(connection, number, project)

    def of(self, project: str | None = None, limit: int = 100, after: str | None = None) -> list[Key]:
        """The keys of a project, or of all, the newest first. `after`: a key; those made before it."""
        query = _seen().order_by(keys.c.created_at.desc(), keys.c.id.desc()).limit(limit)
        query = query.where(keys.c.project == project) if project is not None else query
        with self.database.read() as connection:
            if after is not None:
                last = _there(connection, after, project)
                at, number = keys.c.created_at, keys.c.id
                query = query.where(or_(at < last.created_at, and_(at == last.created_at, number < last.id)))
            return [key_of(row) for row in connection.execute(query)]

    def revoke(self, number: str, project: str | None = None) -> Key:
        """Let a key open nothing any more, at every gateway within seconds. Raises `KeyFault` where there is none."""
        with self.database.write() as connection:
            found = _there(connection, number, project)
            connection.execute(update(keys).where(keys.c.id == found.id, keys.c.revoked_at.is_(None)).values(revoked_at=now()))
            return _there(connection, number, project)

    def digest(self, key: str) -> str:
        """What is kept of a key."""
        return hmac.new(self._secret, key.encode(), hashlib.sha256).hexdigest()

    def _add(self, connection: Connection, wanted: Wanted) -> tuple[Key, str]:
        key = new(PREFIX, LENGTH)
        row = {
            "id": new("key_", 16),
            "project": wanted.project,
            "role": wanted.role,
            "name": wanted.name,
            "hint": shortened(key),
            "digest": self.digest(key),
            "everywhere": wanted.everywhere,
            "created_at": now(),
            "created_by": wanted.created_by,
            "expires_at": now() + wanted.days * DAY_S if wanted.days is not None else None,
        }
        connection.execute(insert(keys).values(row))
        return _there(connection, str(row["id"]), wanted.project), key


def shortened(key: str) -> str:
    """Enough of a key to know it again, and no more: `lt-ab…yz`."""
    return f"{key[:5]}…{key[-2:]}" if len(key) >= 20 else f"{key[:2]}…"


def key_of(row: Row[Any]) -> Key:
    """A key from a row that has its columns, and the time as `at`."""
    known = {field.name: row._mapping[field.name] for field in fields(Key) if field.name != "status"}
    expired = row.expires_at is not None and row.expires_at <= row.at
    return Key(**known, status="revoked" if row.revoked_at is not None else "expired" if expired else "active")


def _seen() -> Select[Any]:
    return select(keys, now().label("at"))


def _active() -> Any:
    return and_(keys.c.revoked_at.is_(None), or_(keys.c.expires_at.is_(None), keys.c.expires_at > now()))


def _there(connection: Connection, number: str, project: str | None) -> Key:
    query = _seen().where(keys.c.id == number)
    row = connection.execute(query if project is None else query.where(keys.c.project == project)).first()
    if row is None:
        raise KeyFault(f"There is no key {number}. A key is named by its id, such as key_…; `luthier keys list` shows them.")
    return key_of(row)


def _refuse(wanted: Wanted) -> None:
    if wanted.role not in ROLES:
        raise KeyFault(f"There is no role `{wanted.role}`.{did_you_mean(wanted.role, ROLES)} Choose {listed(list(ROLES))}.")
    if wanted.everywhere and wanted.role not in FOR_EVERYWHERE:
        raise KeyFault(f"A key for every project is that of an {listed(sorted(FOR_EVERYWHERE))}, not of a `{wanted.role}`.")
    if wanted.everywhere and wanted.project != DEFAULT:
        raise KeyFault(f"A key for every project belongs to the project {DEFAULT}. Leave its project out.")
    if wanted.days is not None and not 0 < wanted.days <= 36_500:
        raise KeyFault(f"A key cannot end after {wanted.days:g} days; between 0 and 36,500 it can.")
    if len(wanted.name) > LONGEST_NAME or not wanted.name.isprintable():
        raise KeyFault(f"A key's name has at most {LONGEST_NAME} characters, on one line.")
