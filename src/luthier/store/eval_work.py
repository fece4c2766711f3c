"""How gateways hold eval runs: under a lease, by the database's clock, as workers hold jobs. What one has graded stays when it dies."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, update

from luthier.store.database import Database, now
from luthier.store.evals import NOTHING_YET, Eval, Item, Run, counted, end
from luthier.store.ids import new
from luthier.store.tables import eval_holds, eval_items, eval_runs, evals

LEASE_S = 15.0
"""A gateway that has not been heard of for so long is dead: another one goes on, or the same one once it is back."""

WRITTEN_AT_ONCE = 500
"""Rows of a source."""


class LeaseLost(Exception):
    """The run was canceled or deleted, or another gateway works on it."""


@dataclass(frozen=True)
class Graded:
    """What came of an item. `status`: pass, fail or error. `verdicts`: on each criterion; None where there is none. `usage`: by model."""

    status: str
    results: Sequence[Mapping[str, Any]]
    sample: Mapping[str, Any]
    verdicts: Sequence[bool | None]
    usage: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class NewItem:
    """A row of a source. `graded`: where it cannot be used, what there is to say of it."""

    item: Mapping[str, Any]
    given: Mapping[str, Any] | None = None
    graded: Graded | None = None


@dataclass(frozen=True)
class Held:
    """A run that a caller works on, by a word that only it knows."""

    run: Run
    lease: str

    @property
    def id(self) -> str:
        return self.run.id


class EvalWork:
    """What gateways do with the runs of a database whose tables are up to date."""

    def __init__(self, database: Database, lease_s: float = LEASE_S) -> None:
        self.database, self.lease_s = database, lease_s

    def take(self) -> Held | None:
        """The oldest run that nobody works on, from now on this caller's; None where there is none."""
        free = or_(eval_holds.c.lease_until.is_(None), eval_holds.c.lease_until < now())
        oldest = select(eval_holds.c.run).join(eval_runs, eval_runs.c.id == eval_holds.c.run).where(free)
        oldest = oldest.order_by(eval_runs.c.created_at, eval_runs.c.id).limit(1)
        with self.database.read() as connection:  # looked for often, found seldom: a look holds nobody up
            if connection.execute(oldest).first() is None:
                return None
        with self.database.write() as connection:
            id = connection.execute(oldest.with_for_update(skip_locked=True, of=eval_holds)).scalar()
            if id is None:
                return None
            lease = secrets.token_hex(16)
            connection.execute(update(eval_holds).where(eval_holds.c.run == id).values(lease=lease, lease_until=now() + self.lease_s))
            waited = (eval_runs.c.id == id, eval_runs.c.status == "queued")
            connection.execute(update(eval_runs).where(*waited).values(status="in_progress"))
            row = connection.execute(select(eval_runs).where(eval_runs.c.id == id)).one()
            return Held(Run(**row._mapping), lease)

    def eval_of(self, held: Held) -> Eval:
        """Raises `LeaseLost`: it was deleted."""
        with self.database.read() as connection:
            row = connection.execute(select(evals).where(evals.c.id == held.run.eval)).first()
        if row is None:
            raise LeaseLost
        return Eval(**row._mapping)

    def is_held(self, held: Held) -> bool:
        """Whether the run is still this caller's."""
        with self.database.read() as connection:
            return connection.execute(select(eval_holds.c.lease).where(eval_holds.c.run == held.id)).scalar() == held.lease

    def renew(self, held: Held) -> None:
        """Say that it is still worked on. Raises `LeaseLost`, as all that follow do."""
        with self.database.write() as connection:
            _tally(connection, held)
            connection.execute(update(eval_holds).where(eval_holds.c.run == held.id).values(lease_until=now() + self.lease_s))

    def fill(self, held: Held, rows: Iterable[NewItem]) -> int:
        """Keep the rows of its source, instead of those of a caller that died at it. Returns how many there are."""
        source, number = iter(rows), 0
        with self.database.write() as connection:
            _tally(connection, held)
            connection.execute(delete(eval_items).where(eval_items.c.run == held.id))
            _set_tally(connection, held, NOTHING_YET)
        while some := list(islice(source, WRITTEN_AT_ONCE)):  # read and checked before others have to wait for the database
            with self.database.write() as connection:
                tally = _tally(connection, held)
                at: float = connection.execute(select(now())).scalar_one()
                connection.execute(insert(eval_items), [_row(held, number + i, row, at) for i, row in enumerate(some)])
                for graded in (row.graded for row in some if row.graded is not None):
                    tally = counted(tally, graded.status, graded.verdicts, graded.usage)
                _set_tally(connection, held, tally)
            number += len(some)
        with self.database.write() as connection:
            _tally(connection, held)
            connection.execute(update(eval_runs).where(eval_runs.c.id == held.id).values(num_items=number))
        return number

    def ungraded(self, held: Held, after: int, limit: int) -> list[Item]:
        """Items that are still to be graded, from the number after `after` on."""
        query = select(eval_items).where(eval_items.c.run == held.id, eval_items.c.status.is_(None), eval_items.c.number > after)
        with self.database.read() as connection:
            return [Item(**row._mapping) for row in connection.execute(query.order_by(eval_items.c.number).limit(limit))]

    def keep(self, held: Held, item: Item, graded: Graded) -> None:
        """What came of an item, for good when this returns."""
        with self.database.write() as connection:
            tally = _tally(connection, held)
            open_ = (eval_items.c.id == item.id, eval_items.c.status.is_(None))
            if connection.execute(update(eval_items).where(*open_).values(_values(graded))).rowcount:
                _set_tally(connection, held, counted(tally, graded.status, graded.verdicts, graded.usage))

    def end(self, held: Held, status: str, error: Mapping[str, str] | None = None) -> None:
        """It has completed or failed."""
        with self.database.write() as connection:
            _tally(connection, held)
            end(connection, held.id, status, error)

    def let_go(self, held: Held) -> None:
        """Let another gateway go on, if it is this caller's still."""
        with self.database.write() as connection:
            ours = (eval_holds.c.run == held.id, eval_holds.c.lease == held.lease)
            connection.execute(update(eval_holds).where(*ours).values(lease=None, lease_until=None))


def _tally(connection: Connection, held: Held) -> dict[str, Any]:
    """What came of its items until now. Raises `LeaseLost`."""
    ours = select(eval_holds.c.tally).where(eval_holds.c.run == held.id, eval_holds.c.lease == held.lease)
    row = connection.execute(ours.with_for_update()).first()
    if row is None:
        raise LeaseLost
    tally: dict[str, Any] = row.tally
    return tally


def _set_tally(connection: Connection, held: Held, tally: Mapping[str, Any]) -> None:
    connection.execute(update(eval_holds).where(eval_holds.c.run == held.id).values(tally=dict(tally)))


def _row(held: Held, number: int, row: NewItem, at: float) -> dict[str, Any]:
    empty = {"status": None, "results": None, "sample": None}
    return {
        "id": new("outputitem_", 32),
        "run": held.id,
        "number": number,
        "item": dict(row.item),
        "given": None if row.given is None else dict(row.given),
        "created_at": at,
        **(empty if row.graded is None else _values(row.graded)),
    }


def _values(graded: Graded) -> dict[str, Any]:
    return {"status": graded.status, "results": [dict(one) for one in graded.results], "sample": dict(graded.sample)}
