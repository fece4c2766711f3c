"""The tables. A change here goes with a file in `migrations/versions`; a test compares both.

Times are seconds since the epoch by the database's own clock (`database.now`), so that machines whose clocks differ agree.
"""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from luthier.store.comparison_tables import comparison_examples as comparison_examples
from luthier.store.comparison_tables import comparisons as comparisons
from luthier.store.feedback_tables import feedback as feedback
from luthier.store.feedback_tables import feedback_completions as feedback_completions
from luthier.store.naming import metadata as metadata
from luthier.store.sharing_tables import shared_models as shared_models

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
    Column("key", Text),  # of what can happen once only, such as a step; told again, it changes nothing
    Column("data", JSON),  # a step's figures
    Index("ix_job_events_job", "job", "number"),
    UniqueConstraint("job", "key", name="uq_job_events_key"),
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

projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("settings", JSON, nullable=False),  # what of it is logged and how long, quotas, budgets
    Column("created_at", Double, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Column("role", Text, nullable=False),  # admin, member, rater, auditor, inference
    Column("name", Text, nullable=False),
    Column("hint", Text, nullable=False),  # its first and last characters, by which a person knows it again
    Column("digest", Text, nullable=False, unique=True),  # keyed: it opens nothing without the secret in the home folder
    Column("everywhere", Boolean, nullable=False),  # for every project, not for its own alone
    Column("created_at", Double, nullable=False),
    Column("created_by", Text),  # a key
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
    Index("ix_keys_project", "project", "created_at"),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("project", Text, nullable=False),
    Column("key", Text),  # none: by the command line, on this machine
    Column("action", Text, nullable=False),  # such as files.delete
    Column("subject", Text, nullable=False),  # an id
    Column("details", JSON, nullable=False),
    Column("request", Text),  # its id
    Index("ix_audit_project", "project", "number"),
)

files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("filename", Text, nullable=False),  # as it was told: never a path here
    Column("sha256", Text, nullable=False),  # where its bytes are, in the store of blobs
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Index("ix_files_project", "project", "created_at"),
    Index("ix_files_sha256", "sha256"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("mime_type", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),  # declared
    Column("status", Text, nullable=False),  # pending, completed, cancelled, expired
    Column("file", Text),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("file_expires_after_s", Integer),
    Index("ix_uploads_project", "project", "created_at"),
)

upload_parts = Table(
    "upload_parts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("upload", Text, ForeignKey("uploads.id", ondelete="CASCADE"), nullable=False),
    Column("sha256", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_upload_parts_upload", "upload"),
    Index("ix_upload_parts_sha256", "sha256"),
)

tunings = Table(
    "tunings",
    metadata,
    Column("job", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("model", Text, nullable=False),  # as resolved: a base's name, or a tuned model's
    Column("base", Text, nullable=False),  # the name that the tuned model's name begins with
    Column("method", JSON, nullable=False),  # as asked; "auto" replaced once it is validated
    Column("training_file", Text, nullable=False),
    Column("validation_file", Text),
    Column("suffix", Text),
    Column("seed", Integer, nullable=False),
    Column("metadata", JSON),
    Column("integrations", JSON),
    Column("luthier", JSON),  # what it asks for beyond OpenAI's settings
    Column("estimated_finish", Double),
    Column("fine_tuned_model", Text),
    Column("result_file", Text),
    Column("trained_tokens", BigInteger),
    Column("error", JSON),  # {code, message, param}
    Column("seconds", Double, nullable=False, server_default="0"),  # in which a worker's process was at it
    Column("energy_wh", Double, nullable=False, server_default="0"),  # an estimate, as its run's record has it
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("step", Integer, nullable=False),
    Column("model", Text, nullable=False),  # its name
    Column("metrics", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("job", "step", name="uq_checkpoints_step"),
)

bases = Table(
    "bases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("folder", Text, nullable=False),  # absolute; of the model's files
    Column("created_at", Double, nullable=False),
)

aliases = Table(
    "aliases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("target", Text, nullable=False),  # a base's name, or a tuned model's
    Column("created_at", Double, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("name", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("job", Text, nullable=False),
    Column("base", Text, nullable=False),  # the folder of the base that its weights go with
    Column("kind", Text, nullable=False),  # adapter, or model: whole weights
    Column("weights", JSON, nullable=False),  # {file name: sha256} in the store of blobs
    Column("lineage", JSON, nullable=False),  # what it was made from, for whoever uses it
    Column("created_at", Double, nullable=False),
    Index("ix_models_project", "project", "created_at"),
)

stored = Table(
    "stored",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("kind", Text, nullable=False),  # chat.completion, response
    Column("model", Text, nullable=False),
    Column("metadata", JSON),
    Column("request", JSON, nullable=False),
    Column("body", JSON, nullable=False),  # what was answered
    Column("request_id", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_stored_project", "project", "kind", "created_at"),
)

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("key", Text, nullable=False),  # whose requests they are
    Column("role", Text, nullable=False),  # of that key
    Column("endpoint", Text, nullable=False),
    Column("input_file", Text, nullable=False),
    Column("metadata", JSON),
    Column("output_expires_after_s", Integer),
    Column("status", Text, nullable=False),  # validating, in_progress, finalizing, cancelling; completed, failed, expired, cancelled
    Column("moments", JSON, nullable=False),  # {status: seconds since the epoch} of each that it has been in
    Column("expires_at", Double, nullable=False),
    Column("errors", JSON),  # [{code, line, message, param}] of its input file
    Column("total", Integer),  # requests
    Column("completed", Integer),  # of them; told once it has ended, like the next
    Column("failed", Integer),
    Column("model", Text),  # that the first of them asks
    Column("output_file", Text),
    Column("error_file", Text),
    Column("lease", Text),  # a word that only the gateway knows which works on it
    Column("lease_until", Double),
    Column("created_at", Double, nullable=False),
    Index("ix_batches_project", "project", "created_at"),
    Index("ix_batches_status", "status", "created_at"),
)

batch_answers = Table(
    "batch_answers",
    metadata,
    Column("batch", Text, ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),  # its request's line
    Column("failed", Boolean, nullable=False),
    Column("line", Text, nullable=False),  # of the output file, or of that of errors
)

evals = Table(
    "evals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("data_source_config", JSON, nullable=False),  # as asked
    Column("testing_criteria", JSON, nullable=False),  # as asked
    Column("metadata", JSON),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Index("ix_evals_project", "project", "created_at"),
)

eval_runs = Table(
    "eval_runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("eval", Text, ForeignKey("evals.id", ondelete="CASCADE"), nullable=False),
    Column("project", Text, nullable=False),
    Column("key", Text, nullable=False),  # whose requests its questions are
    Column("role", Text, nullable=False),  # of that key
    Column("name", Text, nullable=False),
    Column("model", Text),  # that is asked; none where the answers are there already
    Column("data_source", JSON, nullable=False),  # as asked
    Column("metadata", JSON),
    Column("status", Text, nullable=False),  # queued, in_progress; completed, failed, canceled
    Column("num_items", Integer),  # once its source was read
    Column("error", JSON),  # {code, message}
    Column("tally", JSON),  # what came of its items, once it has ended
    Column("created_at", Double, nullable=False),
    Index("ix_eval_runs_eval", "eval", "created_at"),
)

eval_holds = Table(  # of runs that have not ended; apart from them, whose rows may be large, because it changes with every item
    "eval_holds",
    metadata,
    Column("run", Text, ForeignKey("eval_runs.id", ondelete="CASCADE"), primary_key=True),
    Column("lease", Text),  # a word that only the gateway knows which works on it
    Column("lease_until", Double),
    Column("tally", JSON, nullable=False),  # what came of its items until now
)

eval_items = Table(
    "eval_items",
    metadata,
    Column("id", Text, primary_key=True),
    Column("run", Text, ForeignKey("eval_runs.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),  # its place in the source, from 0
    Column("item", JSON, nullable=False),
    Column("given", JSON),  # an answer that came with it
    Column("status", Text),  # pass, fail, error; none before it was graded
    Column("results", JSON),  # of each criterion
    Column("sample", JSON),  # the answer, and how it was drawn
    Column("created_at", Double, nullable=False),
    UniqueConstraint("run", "number", name="uq_eval_items_number"),
    Index("ix_eval_items_status", "run", "status", "number"),
)

logged = Table(
    "logged",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("project", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("asked", JSON, nullable=False),  # turns, or a prompt; what is to be hidden is
    Column("said", JSON, nullable=False),  # each answer
    Column("tokens", Integer, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("request", Text, nullable=False),  # its id
    Index("ix_logged_project", "project", "at"),
)
