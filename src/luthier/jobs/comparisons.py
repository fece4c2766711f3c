"""Comparisons: jobs that let two models answer the same prompts; what was asked of them, and what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select, tuple_, update

from luthier.jobs.fitting import tell_of_misfits
from luthier.jobs.judges import grader_models
from luthier.jobs.leases import LEASE_S
from luthier.jobs.queue import Asked, add
from luthier.jobs.records import Job, job_of, tell
from luthier.jobs.tuning_needs import runs_python, weights_of
from luthier.spec.comparisons import NewComparison
from luthier.store.database import Database
from luthier.store.ids import new
from luthier.store.models import Model, Models
from luthier.store.tables import comparison_examples, comparisons, jobs

KIND = "compare"


@dataclass(frozen=True)
class Comparing:
    """A comparison. `a`, `b`: the models' own names. `prompts`: a file. `asked`: a `NewComparison`. `found`: its result, in the end."""

    job: Job
    a: str
    b: str
    prompts: str | None
    asked: dict[str, Any]
    found: dict[str, Any] | None

    @property
    def wanted(self) -> NewComparison:
        return NewComparison.model_validate(self.asked)


class Comparisons:
    """The comparisons of a database whose tables are up to date. `folder`: where jobs have theirs."""

    def __init__(self, database: Database, models: Models, folder: Path) -> None:
        self.database, self.models, self.folder = database, models, folder

    def create(
        self, project: str, asked: NewComparison, a: Model, b: Model, first: Callable[[Connection], None] = lambda _: None
    ) -> Comparing:
        """A new one, kept when this returns.

        Args:
            a, b: who is compared, aliases followed. first: called in the transaction that makes it; what it raises is raised.
        Raises:
            ModelNotFound: a model that the judge asks is not there.
        """
        wanted = Asked(KIND, f"{a.name} and {b.name}", str(self.folder / new("", 16)), project, self._needs(project, asked, a, b))
        prompts = asked.prompts if isinstance(asked.prompts, str) else None
        with self.database.write() as connection:
            first(connection)
            job = add(connection, wanted)
            row: dict[str, Any] = {"job": job.id, "a": a.name, "b": b.name, "prompts": prompts, "asked": asked.model_dump(mode="json")}
            connection.execute(insert(comparisons).values(row))
            tell_of_misfits(connection, LEASE_S, job.id)
        return Comparing(job, a.name, b.name, prompts, row["asked"], None)

    def get(self, number: str, project: str | None = None) -> Comparing | None:
        """One; none where there is none of this project."""
        with self.database.read() as connection:
            row = connection.execute(_both().where(jobs.c.id == number)).first()
        found = _comparing(row) if row is not None else None
        return found if found is not None and project in (None, found.job.project) else None

    def newest(self, project: str, limit: int, after: str | None = None, status: str | None = None) -> list[Comparing]:
        """The newest first, those made before the one `after`."""
        query = _both().where(jobs.c.project == project).order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
        query = query.where(jobs.c.status == status) if status is not None else query
        with self.database.read() as connection:
            if after is not None:
                at = connection.execute(select(jobs.c.created_at).where(jobs.c.id == after, jobs.c.project == project)).scalar()
                if at is None:
                    return []
                query = query.where(tuple_(jobs.c.created_at, jobs.c.id) < tuple_(at, after))
            return [_comparing(row) for row in connection.execute(query)]

    def examples(self, number: str, after: int, limit: int) -> list[tuple[int, dict[str, Any]]]:
        """(number, prompt with answers and verdict) of a comparison that has succeeded, those that come after the one with that number."""
        table = comparison_examples
        query = select(table.c.number, table.c.body).where(table.c.job == number, table.c.number > after)
        with self.database.read() as connection:
            return [(row.number, row.body) for row in connection.execute(query.order_by(table.c.number).limit(limit))]

    def keep(self, job: Job, found: dict[str, Any], examples: Sequence[dict[str, Any]]) -> None:
        """Keep what came of it. Told twice, it is kept once."""
        with self.database.write() as connection:
            connection.execute(delete(comparison_examples).where(comparison_examples.c.job == job.id))
            rows = [{"job": job.id, "number": number, "body": body} for number, body in enumerate(examples, start=1)]
            connection.execute(insert(comparison_examples), rows)
            connection.execute(update(comparisons).where(comparisons.c.job == job.id).values(found=found))
            tell(connection, job.id, f"Compared on {len(rows):,} prompts", key="compared")

    def _needs(self, project: str, asked: NewComparison, a: Model, b: Model) -> dict[str, Any]:
        """Memory for the weights of whoever is in it at once: one of the two, and the judge; and a sandbox where Python grades."""
        names = [asked.judge] if isinstance(asked.judge, str) else grader_models(asked.judge)
        judges = {self.models.find(name, project).base for name in names}
        weights = max(weights_of(model.base) for model in (a, b)) + sum(map(weights_of, judges))
        sandbox = {"sandbox": True} if runs_python(asked.judge) else {}
        return {"kind": KIND, **sandbox, **({"memory_bytes": weights} if weights else {})}


def _both() -> Select[Any]:
    return select(jobs, comparisons).join(comparisons, comparisons.c.job == jobs.c.id)


def _comparing(row: Any) -> Comparing:
    return Comparing(job_of(row), row.a, row.b, row.prompts, row.asked, row.found)
