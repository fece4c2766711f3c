"""The tables. A change here goes with a file in `migrations/versions`; a test compares both.

Times are seconds since the epoch by the database's own clock (`database.now`), so that machines whose clocks differ agree.
"""

from sqlalchemy import JSON, Column, Double, ForeignKey, Index, Integer, MetaData, Table, Text

metadata = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "fk": "fk_%(table_name)s_%(column_0_name)s", "ix": "ix_%(table_name)s_%(column_0_name)s"}
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("kind", Text, nullable=False),  # train, check
    Column("name", Text, nullable=False),  # as a person tells it from others
    Column("folder", Text, nullable=False),  # absolute; the job's own
    Column("needs", JSON, nullable=False),  # what a worker must have: {"kind": …, "memory_bytes": …}
    Column("status", Text, nullable=False),
    Column("priority", Integer, nullable=False),  # higher is sooner
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),  # the first time
    Column("finished_at", Double),
    Column("not_before", Double, nullable=False),  # after a failure that is worth another try
    Column("failures", Integer, nullable=False),  # worth another try
    Column("losses", Integer, nullable=False),  # of a worker that had it
    Column("wanted", Text),  # of a job that runs: cancelled, paused
    Column("worker", Text),
    Column("lease", Text),  # a word that only its holder knows; another one each time
    Column("lease_until", Double),
    Column("error", Text),  # a sentence
    Index("ix_jobs_open", "status", "priority", "created_at"),
    Index("ix_jobs_project", "project", "created_at"),
)

job_dependencies = Table(
    "job_dependencies",
    metadata,
    Column("job", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("needs", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
)

job_events = Table(
    "job_events",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("job", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("at", Double, nullable=False),
    Column("level", Text, nullable=False),  # info, warn, error
    Column("message", Text, nullable=False),
    Index("ix_job_events_job", "job", "number"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("process", Integer, nullable=False),
    Column("offers", JSON, nullable=False),
    Column("since", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
)
