"""Whom a key lets in, and what its project may still use. Opened once a process."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.exc import DBAPIError

from luthier.accounts.audit import note
from luthier.accounts.buckets import Buckets
from luthier.accounts.keys import Key, Keys, key_of
from luthier.accounts.projects import ProjectError, Projects, ProjectSettings
from luthier.accounts.quotas import Usage, no_more_files, no_more_jobs, usage_of
from luthier.accounts.roles import Caller, at_this_machine
from luthier.errors import UserError
from luthier.store.database import Database, DatabaseError, now
from luthier.store.tables import keys, projects

log = logging.getLogger("luthier.accounts")

REMEMBERED_S = 3.0
"""How long a key is let in without asking the database, and so how long a revoked one still opens at other gateways."""

NOTED_EVERY_S = 60.0
"""How often it is written down that a key is used."""


class KeyRefused(UserError):
    """A key that opens nothing. The message says more for one that did once; it is empty for one that nobody knows."""


class ProjectRefused(UserError):
    """A project that a key is not for."""


@dataclass(frozen=True)
class Admitted:
    """Whom a key lets in. `settings`: what its project may use. `until`: on the monotonic clock, how long that is known."""

    caller: Caller
    settings: ProjectSettings
    until: float


class Accounts:
    """The accounts of a database whose tables are up to date.

    Args:
        secret: what keys are hashed with: `store.home.Home.secret`.
        clock: seconds that never go back.
    """

    def __init__(self, database: Database, secret: bytes, clock: Callable[[], float] = time.monotonic) -> None:
        self.database, self.keys, self.projects = database, Keys(database, secret), Projects(database)
        self.requests, self.tokens = Buckets(clock), Buckets(clock)
        self._clock = clock
        self._admitted: dict[str, Admitted] = {}  # by digest: what was let in within the last seconds

    def first_key(self) -> str | None:
        """An admin's key for every project, made where there has never been any key; otherwise None."""
        made = self.keys.first()
        if made is None:
            return None
        known, key = made
        note(self.database, at_this_machine(known.project), "keys.create", known.id, {"role": known.role, "everywhere": known.everywhere})
        return key

    def has_keys(self) -> bool:
        """Whether some key opens something."""
        return self.keys.any_active()

    def remembered(self, key: str) -> Admitted | None:
        """Whom a key lets in, where that was looked up within the last seconds. Never waits."""
        found = self._admitted.get(self.keys.digest(key))
        return found if found is not None and found.until > self._clock() else None

    def admit(self, key: str) -> Admitted:
        """Whom a key lets in.

        Raises:
            KeyRefused: nobody. DatabaseError: the database cannot be asked.
        """
        digest = self.keys.digest(key)
        try:
            found, settings, at = self._look_up(digest)
        except DBAPIError as error:
            raise DatabaseError(f"The database {self.database} cannot be read at the moment. Try again.") from error
        except KeyRefused:
            self._admitted.pop(digest, None)
            raise
        seconds = REMEMBERED_S if found.expires_at is None else min(REMEMBERED_S, found.expires_at - at)
        admitted = Admitted(Caller(found.project, found.id, found.role, found.everywhere), settings, self._clock() + seconds)
        self._admitted[digest] = admitted
        if found.last_used_at is None or found.last_used_at < at - NOTED_EVERY_S:
            self._note_use(found.id)
        return admitted

    def in_project(self, caller: Caller, project: str) -> Caller:
        """The same caller, in the project that it names by id or name. Raises `ProjectRefused`."""
        try:
            found = self.projects.get(project)
        except ProjectError as error:
            raise ProjectRefused(str(error) if caller.everywhere else _not_for(project)) from error
        if found.id != caller.project and not caller.everywhere:
            raise ProjectRefused(_not_for(project))
        return replace(caller, project=found.id)

    def revoke(self, number: str, project: str | None = None) -> Key:
        """Let a key open nothing any more: here at once, at other gateways within seconds. Raises `KeyFault` where there is none."""
        revoked = self.keys.revoke(number, project)
        self._admitted = {digest: one for digest, one in self._admitted.items() if one.caller.key != number}
        return revoked

    def may_create_job(self, project: str, within: Connection | None = None) -> str | None:
        """Why a project gets no further job: a sentence, or None where it does.

        Args:
            within: a transaction that then makes the job; until it ends, no other one makes any for this project.
        """
        found = self.projects.get(project)
        if within is not None:
            within.execute(select(projects.c.id).where(projects.c.id == found.id).with_for_update())
            return no_more_jobs(within, found)
        with self.database.read() as connection:
            return no_more_jobs(connection, found)

    def may_store(self, project: str, num_bytes: int) -> str | None:
        """Why a project may not keep a file of so many bytes: a sentence, or None where it may."""
        found = self.projects.get(project)
        with self.database.read() as connection:
            return no_more_files(connection, found, num_bytes)

    def usage(self, project: str) -> Usage:
        """What a project, by its id, has of what is limited."""
        with self.database.read() as connection:
            return usage_of(connection, project)

    def _look_up(self, digest: str) -> tuple[Key, ProjectSettings, float]:
        """The key, its project's settings, and the database's time. Raises `KeyRefused`."""
        query = select(keys, projects.c.settings, now().label("at")).join(projects, projects.c.id == keys.c.project)
        with self.database.read() as connection:
            row = connection.execute(query.where(keys.c.digest == digest)).first()
        if row is None:
            raise KeyRefused("")
        found = key_of(row)
        if found.status == "revoked":
            raise KeyRefused(f"It was revoked on {_day(found.revoked_at)}.")
        if found.status == "expired":
            raise KeyRefused(f"It was good until {_day(found.expires_at)}.")
        return found, ProjectSettings.model_validate(row.settings), row.at

    def _note_use(self, number: str) -> None:
        """Write down that a key was used just now. Where that cannot be written, the request goes on all the same."""
        unnoted = or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < now() - NOTED_EVERY_S)
        try:
            with self.database.write() as connection:
                connection.execute(update(keys).where(keys.c.id == number, unnoted).values(last_used_at=now()))
        except DatabaseError as error:
            log.warning("That the key %s was used could not be noted: %s", number, error)


def _not_for(project: str) -> str:
    """The same words whether it is there or not."""
    return f"This key is not for the project {project}. Leave the header luthier-project out, or use a key of that project."


def _day(seconds: float | None) -> str:
    assert seconds is not None
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
