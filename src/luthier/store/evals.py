"""Evals: what models are tested by; their runs, and what came of each item. Another project's are not there."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Column, Connection, Row, Select, Table, delete, insert, select, tuple_, update

from luthier.errors import UserError
from luthier.store.database import Database, now
from luthier.store.ids import new
from luthier.store.tables import eval_holds, eval_items, eval_runs, evals

OPEN, ENDED = ("queued", "in_progress"), ("completed", "failed", "canceled")

NOTHING_YET: dict[str, Any] = {"counts": {}, "criteria": [], "usage": []}
"""A run's tally before its first item."""

Order = Literal["asc", "desc"]


class EvalNotFound(UserError):
    """No eval, run or item of this project has this id. `what`: which of them."""

    def __init__(self, what: str, id: str) -> None:
        super().__init__(f"{what} {id} not found")
        self.what = what


class RunEnded(UserError):
    """A run that cannot be canceled any more."""


@dataclass(frozen=True)
class Eval:
    """`data_source_config`, `testing_criteria`: as they were asked for."""

    id: str
    project: str
    name: str
    data_source_config: dict[str, Any]
    testing_criteria: list[dict[str, Any]]
    metadata: dict[str, str] | None
    created_at: float
    updated_at: float


@dataclass(frozen=True)
class Run:
    """`num_items`: None before its source was read. `tally`: what came of its items, once it has ended.

    `key`, `role`: whose requests its questions are.
    """

    id: str
    eval: str
    project: str
    key: str
    role: str
    name: str
    model: str | None
    data_source: dict[str, Any]
    metadata: dict[str, str] | None
    status: str
    num_items: int | None
    error: dict[str, str] | None
    tally: dict[str, Any] | None
    created_at: float


@dataclass(frozen=True)
class Item:
    """A row of a run's source. `given`: an answer that came with it. What follows is there once it was graded."""

    id: str
    run: str
    number: int
    item: dict[str, Any]
    given: dict[str, Any] | None
    status: str | None
    results: list[dict[str, Any]] | None
    sample: dict[str, Any] | None
    created_at: float


@dataclass(frozen=True)
class WantedRun:
    """A run to be made: of which eval, whose, and over what."""

    eval: Eval
    key: str
    role: str
    name: str
    model: str | None
    data_source: Mapping[str, Any]
    metadata: Mapping[str, str] | None = None


class Evals:
    """All evals of a database whose tables are up to date."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(
        self,
        project: str,
        name: str,
        data_source_config: Mapping[str, Any],
        testing_criteria: Sequence[Mapping[str, Any]],
        metadata: Mapping[str, str] | None = None,
    ) -> Eval:
        id = new("eval_", 32)
        row = {
            "id": id,
            "project": project,
            "name": name,
            "data_source_config": dict(data_source_config),
            "testing_criteria": [dict(one) for one in testing_criteria],
            "metadata": None if metadata is None else dict(metadata),
        }
        with self.database.write() as connection:
            at: float = connection.execute(select(now())).scalar_one()
            connection.execute(insert(evals).values({**row, "created_at": at, "updated_at": at}))
            return _eval(connection, project, id)

    def get(self, project: str, id: str) -> Eval:
        """Raises `EvalNotFound`, as all that follow do for what is not there."""
        with self.database.read() as connection:
            return _eval(connection, project, id)

    def list(
        self,
        project: str,
        limit: int,
        after: str | None = None,
        order: Order = "asc",
        order_by: Literal["created_at", "updated_at"] = "created_at",
    ) -> list[Eval]:
        query = select(evals).where(evals.c.project == project)
        with self.database.read() as connection:
            last = _eval(connection, project, after) if after is not None else None
            place = None if last is None else (getattr(last, order_by), last.id)
            return [Eval(**row._mapping) for row in connection.execute(_paged(query, evals, order_by, "id", place, order, limit))]

    def change(self, project: str, id: str, **values: Any) -> Eval:
        """Set its `name` or `metadata`."""
        with self.database.write() as connection:
            _eval(connection, project, id)
            connection.execute(update(evals).where(evals.c.id == id).values(updated_at=now(), **values))
            return _eval(connection, project, id)

    def remove(self, project: str, id: str) -> None:
        """With all of its runs; one that goes on ends."""
        with self.database.write() as connection:
            _eval(connection, project, id)
            connection.execute(delete(evals).where(evals.c.id == id))

    def start(self, wanted: WantedRun) -> Run:
        """A run that waits for a gateway to take it up."""
        row = {
            "id": new("evalrun_", 32),
            "eval": wanted.eval.id,
            "project": wanted.eval.project,
            "key": wanted.key,
            "role": wanted.role,
            "name": wanted.name,
            "model": wanted.model,
            "data_source": dict(wanted.data_source),
            "metadata": None if wanted.metadata is None else dict(wanted.metadata),
            "status": "queued",
        }
        with self.database.write() as connection:
            _eval(connection, wanted.eval.project, wanted.eval.id)
            connection.execute(insert(eval_runs).values({**row, "created_at": now()}))
            connection.execute(insert(eval_holds).values(run=row["id"], tally=NOTHING_YET))
            return _run(connection, wanted.eval.project, wanted.eval.id, str(row["id"]))

    def run(self, project: str, eval: str, id: str) -> Run:
        with self.database.read() as connection:
            return _run(connection, project, eval, id)

    def runs(
        self, project: str, eval: str, limit: int, after: str | None = None, order: Order = "asc", status: str | None = None
    ) -> Sequence[Run]:
        query = select(eval_runs).where(eval_runs.c.eval == eval)
        query = query if status is None else query.where(eval_runs.c.status == status)
        with self.database.read() as connection:
            _eval(connection, project, eval)
            last = _run(connection, project, eval, after) if after is not None else None
            place = None if last is None else (last.created_at, last.id)
            return [Run(**row._mapping) for row in connection.execute(_paged(query, eval_runs, "created_at", "id", place, order, limit))]

    def cancel(self, project: str, eval: str, id: str) -> Run:
        """It is canceled when this returns, and what it has asked of models is called off within a second. Raises `RunEnded`, too."""
        with self.database.write() as connection:
            run = _run(connection, project, eval, id)
            if run.status in ENDED:
                raise RunEnded(
                    f"Run {id} has already {'been canceled' if run.status == 'canceled' else run.status} and cannot be canceled."
                )
            end(connection, id, "canceled")
            return _run(connection, project, eval, id)

    def remove_run(self, project: str, eval: str, id: str) -> None:
        with self.database.write() as connection:
            _run(connection, project, eval, id)
            connection.execute(delete(eval_runs).where(eval_runs.c.id == id))

    def tally(self, run: Run) -> dict[str, Any]:
        """What came of its items until now, as `counted` makes it."""
        if run.tally is not None:
            return run.tally
        with self.database.read() as connection:
            held: dict[str, Any] | None = connection.execute(select(eval_holds.c.tally).where(eval_holds.c.run == run.id)).scalar()
            if held is None:  # it has ended since
                held = connection.execute(select(eval_runs.c.tally).where(eval_runs.c.id == run.id)).scalar()
        return held or NOTHING_YET

    def item(self, run: Run, id: str) -> Item:
        """One that was graded."""
        with self.database.read() as connection:
            return _item(connection, run, id)

    def items(self, run: Run, limit: int, after: str | None = None, order: Order = "asc", status: str | None = None) -> Sequence[Item]:
        """Those that were graded, or of them those with this status, in the order of the source or the other way round."""
        query = select(eval_items).where(eval_items.c.run == run.id)
        query = query.where(eval_items.c.status.is_not(None) if status is None else eval_items.c.status == status)
        with self.database.read() as connection:
            last = _item(connection, run, after) if after is not None else None
            place = None if last is None else (last.number, last.id)
            return [Item(**row._mapping) for row in connection.execute(_paged(query, eval_items, "number", "id", place, order, limit))]


def end(connection: Connection, run: str, status: str, error: Mapping[str, str] | None = None) -> None:
    """The run has ended, in somebody's transaction; whoever worked on it has lost it."""
    tally = connection.execute(select(eval_holds.c.tally).where(eval_holds.c.run == run)).scalar_one()
    connection.execute(update(eval_runs).where(eval_runs.c.id == run).values(status=status, error=error, tally=tally))
    connection.execute(delete(eval_holds).where(eval_holds.c.run == run))


def counted(
    tally: Mapping[str, Any], status: str, verdicts: Sequence[bool | None], usage: Iterable[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """A tally with one item more: `{"counts": {status: items}, "criteria": [[passed, failed], …], "usage": [{"model_name": …, …}]}`."""
    before = [*tally["criteria"], *([0, 0] for _ in verdicts)][: len(verdicts)]
    return {
        "counts": {**tally["counts"], status: tally["counts"].get(status, 0) + 1},
        "criteria": [
            [passed + (verdict is True), failed + (verdict is False)] for (passed, failed), verdict in zip(before, verdicts, strict=True)
        ],
        "usage": added([*tally["usage"], *usage]),
    }


def added(usage: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tokens and invocations, one entry a model."""
    models: dict[str, dict[str, Any]] = {}
    for one in usage:
        total = models.setdefault(one["model_name"], {"model_name": one["model_name"]})
        for name, count in one.items():
            if name != "model_name":
                total[name] = total.get(name, 0) + count
    return list(models.values())


def _eval(connection: Connection, project: str, id: str) -> Eval:
    return Eval(**_found(connection, "Eval", id, select(evals).where(evals.c.project == project, evals.c.id == id))._mapping)


def _run(connection: Connection, project: str, eval: str, id: str) -> Run:
    _eval(connection, project, eval)
    return Run(**_found(connection, "Run", id, select(eval_runs).where(eval_runs.c.eval == eval, eval_runs.c.id == id))._mapping)


def _item(connection: Connection, run: Run, id: str) -> Item:
    query = select(eval_items).where(eval_items.c.run == run.id, eval_items.c.id == id, eval_items.c.status.is_not(None))
    return Item(**_found(connection, "Output item", id, query)._mapping)


def _found(connection: Connection, what: str, id: str, query: Select[Any]) -> Row[Any]:
    row = connection.execute(query).first() if re.fullmatch(r"\w{1,64}", id, re.ASCII) else None  # what no database holds is not asked for
    if row is None:
        raise EvalNotFound(what, id)
    return row


def _paged(
    query: Select[Any], table: Table, first: str, second: str, after: tuple[Any, Any] | None, order: Order, limit: int
) -> Select[Any]:
    """Ordered by two columns, from the row after those values on."""
    columns: list[Column[Any]] = [table.c[first], table.c[second]]
    if after is not None:
        place = tuple_(*columns)
        query = query.where(place > tuple_(*after) if order == "asc" else place < tuple_(*after))
    return query.order_by(*(column if order == "asc" else column.desc() for column in columns)).limit(limit)
