"""How gateways hold eval runs: under a lease, by the database's clock, as workers hold jobs. What one has graded stays when it dies."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, update

from luthier.store.database import Database, now
from luthier.store.evals import OPEN, Eval, Item, Run, end
from luthier.store.ids import new
from luthier.store.tables import eval_items, eval_runs, evals

LEASE_S = 15.0
"""A gateway that has not been heard of for so long is dead: another one goes on, or the same one once it is back."""

WRITTEN_AT_ONCE = 500
"""Rows of a source."""


class LeaseLost(Exception):
    """The run was canceled or deleted, or another gateway works on it."""


@dataclass(frozen=True)
class Graded:
    """What came of an item. `status`: pass, fail or error. `usage`: by model."""

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


class EvalWork:
    """What gateways do with the runs of a database whose tables are up to date."""

    def __init__(self, database: Database, lease_s: float = LEASE_S) -> None:
        self.database, self.lease_s = database, lease_s

    def take(self) -> Run | None:
        """The oldest run that nobody works on, from now on this caller's; None where there is none."""
        free = or_(eval_runs.c.lease_until.is_(None), eval_runs.c.lease_until < now())
        oldest = select(eval_runs).where(eval_runs.c.status.in_(OPEN), free).order_by(eval_runs.c.created_at, eval_runs.c.id).limit(1)
        with self.database.read() as connection:  # looked for often, found seldom: a look holds nobody up
            if connection.execute(oldest).first() is None:
                return None
        with self.database.write() as connection:
            row = connection.execute(oldest.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            run = replace(Run(**row._mapping), status="in_progress", lease=secrets.token_hex(16))
            values = {"status": run.status, "lease": run.lease, "lease_until": now() + self.lease_s}
            connection.execute(update(eval_runs).where(eval_runs.c.id == run.id).values(values))
            return run

    def eval_of(self, run: Run) -> Eval:
        """Raises `LeaseLost`: it was deleted."""
        with self.database.read() as connection:
            row = connection.execute(select(evals).where(evals.c.id == run.eval)).first()
        if row is None:
            raise LeaseLost
        return Eval(**row._mapping)

    def is_held(self, run: Run) -> bool:
        """Whether the run is still this caller's."""
        with self.database.read() as connection:
            return connection.execute(select(eval_runs.c.lease).where(eval_runs.c.id == run.id)).scalar() == run.lease

    def renew(self, run: Run) -> None:
        """Say that it is still worked on. Raises `LeaseLost`, as all that follow do."""
        with self.database.write() as connection:
            _hold(connection, run)
            connection.execute(update(eval_runs).where(eval_runs.c.id == run.id).values(lease_until=now() + self.lease_s))

    def fill(self, run: Run, rows: Iterable[NewItem]) -> int:
        """Keep the rows of its source, instead of those of a caller that died at it. Returns how many there are."""
        source, number = iter(rows), 0
        with self.database.write() as connection:
            _hold(connection, run)
            connection.execute(delete(eval_items).where(eval_items.c.run == run.id))
        while some := list(islice(source, WRITTEN_AT_ONCE)):  # read and checked before others have to wait for the database
            with self.database.write() as connection:
                _hold(connection, run)
                at: float = connection.execute(select(now())).scalar_one()
                connection.execute(insert(eval_items), [_row(run, number + i, row, at) for i, row in enumerate(some)])
            number += len(some)
        with self.database.write() as connection:
            _hold(connection, run)
            connection.execute(update(eval_runs).where(eval_runs.c.id == run.id).values(num_items=number))
        return number

    def ungraded(self, run: Run, after: int, limit: int) -> list[Item]:
        """Items that are still to be graded, from the number after `after` on."""
        query = select(eval_items).where(eval_items.c.run == run.id, eval_items.c.status.is_(None), eval_items.c.number > after)
        with self.database.read() as connection:
            return [Item(**row._mapping) for row in connection.execute(query.order_by(eval_items.c.number).limit(limit))]

    def keep(self, run: Run, item: Item, graded: Graded) -> None:
        """What came of an item, for good when this returns."""
        with self.database.write() as connection:
            _hold(connection, run)
            connection.execute(update(eval_items).where(eval_items.c.id == item.id).values(_values(graded)))

    def end(self, run: Run, status: str, error: Mapping[str, str] | None = None) -> None:
        """It has completed or failed."""
        with self.database.write() as connection:
            _hold(connection, run)
            end(connection, run, status, error)

    def let_go(self, run: Run) -> None:
        """Let another gateway go on, if it is this caller's still."""
        with self.database.write() as connection:
            held = (eval_runs.c.id == run.id, eval_runs.c.lease == run.lease)
            connection.execute(update(eval_runs).where(*held).values(lease=None, lease_until=None))


def _hold(connection: Connection, run: Run) -> None:
    held = select(eval_runs.c.id).where(eval_runs.c.id == run.id, eval_runs.c.lease == run.lease)
    if connection.execute(held.with_for_update()).first() is None:
        raise LeaseLost


def _row(run: Run, number: int, row: NewItem, at: float) -> dict[str, Any]:
    empty = {"status": None, "results": None, "sample": None, "verdicts": None, "usage": None}
    return {
        "id": new("outputitem_", 32),
        "run": run.id,
        "number": number,
        "item": dict(row.item),
        "given": None if row.given is None else dict(row.given),
        "created_at": at,
        **(empty if row.graded is None else _values(row.graded)),
    }


def _values(graded: Graded) -> dict[str, Any]:
    return {
        "status": graded.status,
        "results": [dict(one) for one in graded.results],
        "sample": dict(graded.sample),
        "verdicts": list(graded.verdicts),
        "usage": [dict(one) for one in graded.usage],
    }
