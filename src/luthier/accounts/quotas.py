"""What a project may still ask for, by what the database says it has: nothing is counted beside that."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select

from luthier.accounts.projects import Project
from luthier.store.database import now
from luthier.store.tables import files, jobs, tunings


@dataclass(frozen=True)
class Usage:
    """What a project has of what is limited. `trained_tokens`: since the first of the month, UTC."""

    open_jobs: int
    files_bytes: int
    trained_tokens: int


def usage_of(connection: Connection, project: str) -> Usage:
    """By the project's id."""
    return Usage(open_jobs_of(connection, project), bytes_of(connection, project), trained_tokens_of(connection, project))


def no_more_jobs(connection: Connection, project: Project) -> str | None:
    """Why another job is refused: a sentence, or None."""
    settings = project.settings
    if settings.max_open_jobs is not None:
        open_jobs = open_jobs_of(connection, project.id)
        if open_jobs >= settings.max_open_jobs:
            has = f"The project {project.name} has {_counted(open_jobs, 'job')} that have not ended, and may have {settings.max_open_jobs}."
            return f"{has} Wait for one to end or cancel one. An operator raises it with:  {_set(project, 'max_open_jobs')}"
    if settings.trained_tokens_per_month is not None:
        spent = trained_tokens_of(connection, project.id)
        if spent >= settings.trained_tokens_per_month:
            budget = settings.trained_tokens_per_month
            has = f"The project {project.name} has trained {spent:,} tokens this month; its budget is {budget:,}."
            return f"{has} It begins anew on the first (UTC). An operator raises it with:  {_set(project, 'trained_tokens_per_month')}"
    return None


def no_more_files(connection: Connection, project: Project, num_bytes: int) -> str | None:
    """Why a file of so many bytes is refused: a sentence, or None."""
    most = project.settings.max_files_bytes
    if most is None:
        return None
    has = bytes_of(connection, project.id)
    if has + num_bytes <= most:
        return None
    told = f"The project {project.name} has files of {has:,} bytes, and may have {most:,}: {num_bytes:,} more are too many."
    return f"{told} Delete some. An operator raises it with:  {_set(project, 'max_files_bytes')}"


def open_jobs_of(connection: Connection, project: str) -> int:
    """Jobs that have not ended."""
    query = select(func.count()).select_from(jobs).where(jobs.c.project == project, jobs.c.finished_at.is_(None))
    return int(connection.execute(query).scalar_one())


def bytes_of(connection: Connection, project: str) -> int:
    """Of all files, as they were told: the same content twice counts twice."""
    return int(connection.execute(select(func.coalesce(func.sum(files.c.bytes), 0)).where(files.c.project == project)).scalar_one())


def trained_tokens_of(connection: Connection, project: str) -> int:
    """Of jobs that have ended since the first of the month, UTC, by the database's clock."""
    at = datetime.fromtimestamp(connection.execute(select(now())).scalar_one(), UTC)
    first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
    spent = select(func.coalesce(func.sum(tunings.c.trained_tokens), 0)).join(jobs, jobs.c.id == tunings.c.job)
    return int(connection.execute(spent.where(jobs.c.project == project, jobs.c.finished_at >= first)).scalar_one())


def _set(project: Project, setting: str) -> str:
    return f"luthier projects set {project.name} {setting}=…"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
