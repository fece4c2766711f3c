"""Which jobs a worker can do, and what is said of a job that none here can.

A job's `needs` and a worker's `offers` go by the same names: `kind`, `method` (words), `memory_bytes` (of the device that computes),
`devices` (for processes that train together), `sandbox` (for Python that grades). What it needs to run is not needed to look at its files.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select

from luthier.jobs.records import Job, job_of, tell
from luthier.jobs.transitions import OPEN
from luthier.store.database import now
from luthier.store.tables import jobs, workers

ONLY_TO_RUN = ("memory_bytes", "devices", "cores")

LOOKED_AT = 1000
"""Open jobs that are looked at at once, for one that a worker can do; and in all, for those that none can."""

Offers = Mapping[str, Any]


def fits(needs: Mapping[str, Any], offers: Offers) -> bool:
    """Whether a worker has what a job needs: a number at least as high, a word among those offered."""
    return all(_has(offers.get(name), need) for name, need in needs.items())


def _has(offer: Any, need: Any) -> bool:
    if offer is None:
        return False
    return bool(offer >= need) if isinstance(need, int | float) else need in offer


def needed(status: str, needs: Mapping[str, Any]) -> dict[str, Any]:
    """What a job needs for its next step: files are looked at by any worker, however small."""
    return {name: need for name, need in needs.items() if status != "validating_files" or name not in ONLY_TO_RUN}


def left(offers: Offers, running: Iterable[Job]) -> dict[str, Any]:
    """What a worker still offers beside jobs that run."""
    taken = sum(job.needs.get("memory_bytes", 0) for job in running if job.status == "running")
    return {**offers, "memory_bytes": offers["memory_bytes"] - taken} if "memory_bytes" in offers else dict(offers)


def living(connection: Connection, silent_s: float) -> list[Offers]:
    """What the workers offer that were heard of within so many seconds."""
    return [row.offers for row in connection.execute(select(workers.c.offers).where(heard(silent_s)))]


def heard(silent_s: float) -> ColumnElement[bool]:
    """Of workers that were heard of within so many seconds; not those whom only a clock that was set back makes young."""
    return and_(workers.c.seen_at > now() - silent_s, workers.c.seen_at < now() + silent_s)


def misfit(needs: Mapping[str, Any], offered: Sequence[Offers]) -> str | None:
    """Why none of some workers can run a job: what it needs, what there is, and what to do. None where one can, or there are no workers."""
    if not offered or any(fits(needs, offers) for offers in offered):
        return None
    lacking = [name for name, need in needs.items() if not any(_has(offers.get(name), need) for offers in offered)]
    if not lacking:
        return "No worker that is here can run this job: each lacks something else of what it needs. It waits for one that has all of it."
    told = [_told(name, needs[name], [offers[name] for offers in offered if offers.get(name) is not None]) for name in lacking]
    what, todo = zip(*told, strict=True)
    return f"No worker that is here can run this job: {'; '.join(what)}. It waits until one comes that can. {' '.join(todo)}"


def _told(name: str, need: Any, offered: Sequence[Any]) -> tuple[str, str]:
    """(what it needs and what there is, what to do), of one thing that no worker has."""
    most = max(offered, default=0) if isinstance(need, int | float) else 0
    match name:
        case "memory_bytes":
            return (
                f"it needs {_gib(need)} of memory, and the largest has {_gib(most)}",
                "Start `luthier worker` on a larger machine, or cancel it and create one with a smaller model, a smaller "
                "`train.token_budget` or `train.gradient_checkpointing`.",
            )
        case "devices" | "cores":
            return (
                f"it needs {need:,} devices, and the largest has {most:,}",
                "Start `luthier worker` on a larger machine, or cancel it and submit it with fewer `--processes`.",
            )
        case "sandbox":
            return "its Python grader runs only in a sandbox, and none of them can make one", "`luthier doctor` there says what to install."
        case "method":
            return f"it needs the method `{need}`, which none of them knows", "Update Luthier there."
    return f"it needs {name} {need}, which none of them offers", "Start `luthier worker` where that is."


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"


def tell_of_misfits(connection: Connection, silent_s: float, number: str | None = None) -> None:
    """Note with each open job, or with one, that no living worker can run it; each such sentence once."""
    offered = living(connection, silent_s)
    waiting = select(jobs).where(jobs.c.status.in_(OPEN), jobs.c.lease.is_(None)).limit(LOOKED_AT)
    waiting = waiting.order_by(jobs.c.id).with_for_update(skip_locked=True)  # two workers would tell the same of one at the same moment
    for row in connection.execute(waiting if number is None else waiting.where(jobs.c.id == number)).all():
        job = job_of(row)
        if why := misfit(job.needs, offered):
            tell(connection, job.id, why, "warn", key=f"misfit-{hashlib.sha256(why.encode()).hexdigest()[:16]}")
