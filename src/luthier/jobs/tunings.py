"""Fine-tuning as OpenAI tells it: a job, what was asked of it, its checkpoints, and the models that it left."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, insert, select, tuple_, update

from luthier.jobs.fitting import tell_of_misfits
from luthier.jobs.leases import LEASE_S
from luthier.jobs.names import checkpoint_id, checkpoint_name, model_name
from luthier.jobs.queue import Asked, add
from luthier.jobs.records import Event, Job, get, job_of, tell
from luthier.jobs.tuning_needs import needs_of
from luthier.store import garbage
from luthier.store.database import Database, now
from luthier.store.files import Files
from luthier.store.ids import new
from luthier.store.models import Model, Models, tuned_row
from luthier.store.tables import checkpoints, job_events, jobs, models, tunings

KIND = "tune"


@dataclass(frozen=True)
class Tuning:
    """What was asked of a fine-tuning job, and what came of it.

    `method`: `{"type": …, TYPE: {"hyperparameters": {…}, …}}`; "auto" is replaced once it is validated. `base`: the name that its model's
    name begins with. `luthier`: what it asks for beyond OpenAI's settings. `seconds`, `energy_wh`: what its training took so far.
    """

    job: str
    model: str
    base: str
    method: dict[str, Any]
    training_file: str
    validation_file: str | None
    suffix: str | None
    seed: int
    metadata: dict[str, str] | None
    integrations: list[dict[str, Any]] | None
    luthier: dict[str, Any] | None
    estimated_finish: float | None = None
    fine_tuned_model: str | None = None
    result_file: str | None = None
    trained_tokens: int | None = None
    error: dict[str, Any] | None = None
    seconds: float = 0.0
    energy_wh: float = 0.0


@dataclass(frozen=True)
class Wanted:
    """A fine-tuning job to be made. `model`: what it starts from, its alias followed."""

    project: str
    model: Model
    base: str
    method: Mapping[str, Any]
    training_file: str
    seed: int
    validation_file: str | None = None
    suffix: str | None = None
    metadata: Mapping[str, str] | None = None
    integrations: Sequence[Mapping[str, Any]] | None = None
    luthier: Mapping[str, Any] | None = None
    priority: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A state of a model in training that is kept, and can be asked like any model, by its name."""

    id: str
    job: str
    step: int
    model: str
    metrics: dict[str, Any]
    created_at: float


Told = tuple[Job, Tuning]


class Tunings:
    """The fine-tuning jobs of a database whose tables are up to date. `folder`: where jobs have theirs."""

    def __init__(self, database: Database, files: Files, models: Models, folder: Path) -> None:
        self.database, self.files, self.models, self.folder = database, files, models, folder

    def create(self, wanted: Wanted, first: Callable[[Connection], None] = lambda _: None) -> Told:
        """A new job, kept when this returns, its events those that OpenAI's clients look for.

        Args:
            first: called in the transaction that makes it. What it raises is raised, and no job is made.
        """
        folder = self.folder / new("", 16)
        name = f"{wanted.model.name}{f' ({wanted.suffix})' if wanted.suffix else ''}"
        needs = {"kind": KIND, **needs_of(wanted.model.base, wanted.method, wanted.luthier)}
        asked = Asked(KIND, name, str(folder), wanted.project, needs, wanted.priority)
        with self.database.write() as connection:
            first(connection)
            job = add(connection, asked)
            row = {
                "job": job.id,
                "model": wanted.model.name,
                "base": wanted.base,
                "method": dict(wanted.method),
                "training_file": wanted.training_file,
                "validation_file": wanted.validation_file,
                "suffix": wanted.suffix,
                "seed": wanted.seed,
                "metadata": dict(wanted.metadata) if wanted.metadata is not None else None,
                "integrations": [dict(one) for one in wanted.integrations] if wanted.integrations is not None else None,
                "luthier": dict(wanted.luthier) if wanted.luthier is not None else None,
            }
            connection.execute(insert(tunings).values(row))
            held_out = f" and validation file: {wanted.validation_file}" if wanted.validation_file else ""
            tell(connection, job.id, f"Validating training file: {wanted.training_file}{held_out}", key="validating")
            tell_of_misfits(connection, LEASE_S, job.id)
            return self._get(connection, job.id)

    def get(self, number: str, project: str | None = None) -> Told | None:
        """A fine-tuning job; none where there is none of this project."""
        with self.database.read() as connection:
            row = connection.execute(_both().where(jobs.c.id == number)).first()
            told = _told(row) if row is not None else None
            return told if told is not None and project in (None, told[0].project) else None

    def newest(
        self, project: str, limit: int, after: str | None = None, metadata: Mapping[str, str] | None = None, bare: bool = False
    ) -> list[Told]:
        """Jobs of a project, the newest first, made before `after`. `metadata`: those that have it; `bare`: those without any."""
        query = _both().where(jobs.c.project == project).order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
        with self.database.read() as connection:
            if after is not None:
                query = query.where(_before(connection, jobs, after, jobs.c.project == project))
            if not metadata and not bare:
                return [_told(row) for row in connection.execute(query.limit(limit))]
            found: list[Told] = []
            for row in connection.execute(query):
                told = _told(row)
                has = told[1].metadata or {}
                if (not has if bare else all(has.get(key) == value for key, value in (metadata or {}).items())) and len(found) < limit:
                    found.append(told)
            return found

    def events(self, number: str, limit: int, after: int | None = None) -> list[Event]:
        """What happened to a job, the newest first. `after`: what happened before that one."""
        query = select(job_events).where(job_events.c.job == number).order_by(job_events.c.number.desc()).limit(limit)
        query = query.where(job_events.c.number < after) if after is not None else query
        with self.database.read() as connection:
            return [Event(**row._mapping) for row in connection.execute(query)]

    def checkpoints(self, number: str, limit: int, after: str | None = None) -> list[Checkpoint]:
        """Checkpoints of a job that are kept, the newest first."""
        query = select(checkpoints).where(checkpoints.c.job == number).order_by(checkpoints.c.step.desc()).limit(limit)
        with self.database.read() as connection:
            if after is not None:
                step = connection.execute(select(checkpoints.c.step).where(checkpoints.c.id == after)).scalar()
                query = query.where(checkpoints.c.step < (step if step is not None else 0))
            return [Checkpoint(**row._mapping) for row in connection.execute(query)]

    def update(self, number: str, **values: Any) -> None:
        """Note what came of a job."""
        with self.database.write() as connection:
            connection.execute(update(tunings).where(tunings.c.job == number).values(**values))

    def spent(self, number: str, seconds: float, energy_wh: float | None) -> None:
        """Count what a process of a job took. `energy_wh`: of the whole job so far, where that is known."""
        with self.database.write() as connection:
            known = {} if energy_wh is None else {"energy_wh": energy_wh}
            connection.execute(update(tunings).where(tunings.c.job == number).values(seconds=tunings.c.seconds + seconds, **known))

    def keep(self, job: Job, step: int, metrics: Mapping[str, Any], weights: Mapping[str, str], model: Model, last: bool) -> str:
        """Keep a checkpoint's weights as a model; the `last` one's is the job's model. Told twice, it is kept once.

        Args:
            weights: {file: sha256} in the store of files. model: what the new one goes with: `base`, `kind` and `lineage` are its own.

        Returns:
            The new model's name.
        """
        with self.database.write() as connection:
            _, tuning = self._get(connection, job.id)
            final = model_name(tuning.base, job.project, tuning.suffix, job.id)
            name = final if last else checkpoint_name(tuning.base, job.project, tuning.suffix, job.id, step)
            if connection.execute(select(models.c.name).where(models.c.name == name)).first() is None:
                garbage.keep(connection, self.files.blobs, weights.values())
                at = connection.execute(select(now())).scalar_one()
                made = Model(name, model.base, at, job.project, job.id, model.kind, weights, model.lineage)
                connection.execute(insert(models).values(tuned_row(made)))
                kept = {
                    "id": checkpoint_id(job.id, step),
                    "job": job.id,
                    "step": step,
                    "model": name,
                    "metrics": dict(metrics),
                    "created_at": at,
                }
                connection.execute(insert(checkpoints).values(kept))
            return name

    def _get(self, connection: Connection, number: str) -> Told:
        get(connection, number)
        return _told(connection.execute(_both().where(jobs.c.id == number)).one())


def _both() -> Select[Any]:
    return select(jobs, tunings).join(tunings, tunings.c.job == jobs.c.id)


def _told(row: Any) -> Told:
    mapping = row._mapping
    return job_of(row), Tuning(**{column.name: mapping[column] for column in tunings.columns})


def _before(connection: Connection, table: Any, after: str, owned: Any) -> Any:
    """Those made before `after`, in the order of a list that begins with the newest; none where there is no such one."""
    at = connection.execute(select(table.c.created_at).where(table.c.id == after, owned)).scalar()
    return tuple_(table.c.created_at, table.c.id) < tuple_(at, after) if at is not None else table.c.id.is_(None)
