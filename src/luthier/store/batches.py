"""Batches: files of requests that are answered when there is time. Each answer is kept as it comes; a gateway that dies loses none."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, or_, select, tuple_, update

from luthier.errors import UserError
from luthier.store.blobs import Blob, Blobs
from luthier.store.database import Database, now
from luthier.store.files import WORKING, insert_file
from luthier.store.ids import new
from luthier.store.tables import batch_answers, batches, keys

LASTS_S = 24 * 3600
"""From a batch's creation to its end."""
LEASE_S = 30.0
"""A gateway that has not been heard of for so long is dead: another one goes on."""

ENDED = ("completed", "failed", "expired", "cancelled")

OUTPUT_PURPOSE = "batch_output"


class BatchNotFound(UserError):
    """No batch of this project has this id."""

    def __init__(self, id: str) -> None:
        super().__init__(f"No such Batch object: {id}")


class BatchEnded(UserError):
    """A batch that cannot be cancelled any more."""


class LeaseLost(Exception):
    """Another gateway works on it."""


@dataclass(frozen=True)
class Batch:
    """`moments`: when it came to each status that it has been in. `completed`, `failed`: so far, of `total`; None until it is known."""

    id: str
    project: str
    key: str
    role: str
    endpoint: str
    input_file: str
    metadata: dict[str, str] | None
    output_expires_after_s: int | None
    status: str
    moments: dict[str, float]
    expires_at: float
    errors: list[dict[str, Any]] | None
    total: int | None
    completed: int
    failed: int
    model: str | None
    output_file: str | None
    error_file: str | None
    lease: str | None
    lease_until: float | None
    created_at: float


@dataclass(frozen=True)
class Wanted:
    """A batch to be made: whose, and of what."""

    project: str
    key: str
    role: str
    endpoint: str
    input_file: str
    metadata: Mapping[str, str] | None = None
    output_expires_after_s: int | None = None


@dataclass(frozen=True)
class Answer:
    """`number`: of its request's line. `line`: JSON, as it will stand in the output file; or in that of errors, where it has `failed`."""

    number: int
    failed: bool
    line: str


class Batches:
    """All batches of a database whose tables are up to date."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self.database, self.blobs = database, blobs

    def create(self, wanted: Wanted) -> Batch:
        with self.database.write() as connection:
            at: float = connection.execute(select(now())).scalar_one()
            row = {
                "id": new("batch_", 32),
                "project": wanted.project,
                "key": wanted.key,
                "role": wanted.role,
                "endpoint": wanted.endpoint,
                "input_file": wanted.input_file,
                "metadata": dict(wanted.metadata) if wanted.metadata is not None else None,
                "output_expires_after_s": wanted.output_expires_after_s,
                "status": "validating",
                "moments": {"validating": at},
                "expires_at": at + LASTS_S,
                "created_at": at,
            }
            connection.execute(insert(batches).values(row))
            return _get(connection, str(row["id"]))

    def get(self, project: str, id: str) -> Batch:
        """Raises `BatchNotFound`."""
        with self.database.read() as connection:
            return _get(connection, id, project)

    def newest(self, project: str, limit: int, after: str | None = None) -> list[Batch]:
        """The newest first. `after`: those made before this one. Raises `BatchNotFound` for that one."""
        query = select(batches.c.id).where(batches.c.project == project).order_by(batches.c.created_at.desc(), batches.c.id.desc())
        with self.database.read() as connection:
            if after is not None:
                last = _get(connection, after, project)
                query = query.where(tuple_(batches.c.created_at, batches.c.id) < tuple_(last.created_at, last.id))
            return [_get(connection, id) for id in connection.execute(query.limit(limit)).scalars()]

    def cancel(self, project: str, id: str) -> Batch:
        """Let no further request begin. Raises `BatchNotFound`, or `BatchEnded`."""
        with self.database.write() as connection:
            batch = _get(connection, id, project, lock=True)
            if batch.status in ENDED or batch.status == "finalizing":
                raise BatchEnded(f"Cannot cancel a batch with status '{batch.status}'.")
            if batch.status != "cancelling":
                _move(connection, batch, "cancelling")
            return _get(connection, id)

    def take(self, lease: str) -> Batch | None:
        """The oldest batch that nobody works on, under this lease; None where there is none."""
        free = or_(batches.c.lease_until.is_(None), batches.c.lease_until < now())
        oldest = select(batches.c.id).where(batches.c.status.in_(WORKING), free).order_by(batches.c.created_at, batches.c.id).limit(1)
        with self.database.read() as connection:
            if connection.execute(oldest).first() is None:  # as nearly always: nobody is held up
                return None
        with self.database.write() as connection:
            id = connection.execute(oldest.with_for_update(skip_locked=True)).scalar()
            if id is None:
                return None
            connection.execute(update(batches).where(batches.c.id == id).values(lease=lease, lease_until=now() + LEASE_S))
            return _get(connection, id)

    def beat(self, id: str, lease: str) -> tuple[str, bool, bool]:
        """Say that its gateway lives. Returns its status, whether its time is over, and whether its key was revoked. Raises `LeaseLost`."""
        with self.database.write() as connection:
            _hold(connection, id, lease)
            connection.execute(update(batches).where(batches.c.id == id).values(lease_until=now() + LEASE_S))
            late, revoked = (batches.c.expires_at <= now()).label("late"), keys.c.revoked_at.is_not(None).label("revoked")
            query = select(batches.c.status, late, revoked).join(keys, keys.c.id == batches.c.key, isouter=True)
            row = connection.execute(query.where(batches.c.id == id)).one()
            return row.status, bool(row.late), bool(row.revoked)

    def let_go(self, id: str, lease: str) -> None:
        """Let another gateway go on at once."""
        with self.database.write() as connection:
            connection.execute(update(batches).where(batches.c.id == id, batches.c.lease == lease).values(lease=None, lease_until=None))

    def begin(self, id: str, lease: str, total: int, model: str | None) -> None:
        """Its input file is sound, and has so many requests. Raises `LeaseLost`."""
        with self.database.write() as connection:
            batch = _hold(connection, id, lease)
            connection.execute(update(batches).where(batches.c.id == id).values(total=total, model=model))
            if batch.status == "validating":
                _move(connection, batch, "in_progress")

    def refuse(self, id: str, lease: str, errors: Sequence[Mapping[str, Any]]) -> None:
        """Its input file is not sound. Raises `LeaseLost`."""
        with self.database.write() as connection:
            batch = _hold(connection, id, lease)
            _move(connection, batch, "failed", errors=[dict(error) for error in errors])
            connection.execute(delete(batch_answers).where(batch_answers.c.batch == id))

    def answered(self, id: str) -> set[int]:
        """The lines that have their answers."""
        with self.database.read() as connection:
            return set(connection.execute(select(batch_answers.c.number).where(batch_answers.c.batch == id)).scalars())

    def keep(self, id: str, lease: str, answers: Sequence[Answer]) -> None:
        """Keep answers, for good when this returns. Raises `LeaseLost`."""
        with self.database.write() as connection:
            _hold(connection, id, lease)
            connection.execute(insert(batch_answers), [{"batch": id, **vars(answer)} for answer in answers])

    def lines(self, id: str, failed: bool) -> Iterator[bytes]:
        """The lines of its output file, or of that of errors, in the order of the requests."""
        last = -1
        answers = select(batch_answers).where(batch_answers.c.batch == id, batch_answers.c.failed == failed)
        while True:
            with self.database.read() as connection:
                page = connection.execute(answers.where(batch_answers.c.number > last).order_by(batch_answers.c.number).limit(200)).all()
            if not page:
                return
            yield "".join(f"{row.line}\n" for row in page).encode()
            last = page[-1].number

    def finalize(self, id: str, lease: str) -> None:
        """No request is under way any more. Raises `LeaseLost`."""
        with self.database.write() as connection:
            batch = _hold(connection, id, lease)
            if batch.status == "in_progress":
                _move(connection, batch, "finalizing")

    def end(self, id: str, lease: str, status: str, output: Blob, errors: Blob) -> None:
        """Its files are written, of bytes that were just put. Raises `LeaseLost`, or `StorageError`."""
        with self.database.write() as connection:
            batch = _hold(connection, id, lease)
            written: dict[str, Any] = {}
            for column, name, blob in (("output_file", "output", output), ("error_file", "error", errors)):
                if blob.bytes:
                    file = insert_file(
                        connection, self.blobs, batch.project, f"{id}_{name}.jsonl", OUTPUT_PURPOSE, blob, batch.output_expires_after_s
                    )
                    written[column] = file.id
            counts = {"failed": _count(connection, id, failed=True), "completed": _count(connection, id, failed=False)}
            _move(connection, batch, status, **counts, **written)
            connection.execute(delete(batch_answers).where(batch_answers.c.batch == id))


def _get(connection: Connection, id: str, project: str | None = None, lock: bool = False) -> Batch:
    """Raises `BatchNotFound`."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", id):
        raise BatchNotFound(id)
    query = select(batches).where(batches.c.id == id)
    query = query.where(batches.c.project == project) if project is not None else query
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None:
        raise BatchNotFound(id)
    told = dict(row._mapping)
    for name, failed in (("completed", False), ("failed", True)):
        told[name] = told[name] if told[name] is not None else _count(connection, id, failed)
    return Batch(**told)


def _hold(connection: Connection, id: str, lease: str) -> Batch:
    """A batch whose lease is this one, until the transaction ends. Raises `LeaseLost`."""
    batch = _get(connection, id, lock=True)
    if batch.lease != lease:
        raise LeaseLost(id)
    return batch


def _move(connection: Connection, batch: Batch, status: str, **values: Any) -> None:
    at = connection.execute(select(now())).scalar_one()
    free = {"lease": None, "lease_until": None} if status in ENDED else {}
    moments = {**batch.moments, status: at}
    connection.execute(update(batches).where(batches.c.id == batch.id).values(status=status, moments=moments, **free, **values))


def _count(connection: Connection, id: str, failed: bool) -> int:
    query = select(func.count()).select_from(batch_answers).where(batch_answers.c.batch == id, batch_answers.c.failed == failed)
    return int(connection.execute(query).scalar_one())
