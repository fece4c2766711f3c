"""A run as our own interface tells it: the facts of its record, its figures as columns, what happened, and its files by name."""

from typing import Any, Literal

from luthier.spec.wire import Wire

RunKind = Literal["tune", "train"]
RunStatus = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
RunFileName = Literal["run.yaml", "record.json", "metrics.jsonl", "events.jsonl", "samples.jsonl", "comparison.jsonl"]
"""What of a run's folder can be read, and nothing else."""


class Certificate(Wire):
    """Gradients computed the fast way and the plain way, compared."""

    passed: bool
    checks: int
    """How often they were compared."""
    largest: float | None
    """The largest relative difference in fp32."""
    tolerance: float | None


class RunFile(Wire):
    """A file of a run's folder."""

    name: RunFileName
    bytes: int
    """As it lies there; places on the server are left out of what is read."""


class Run(Wire):
    """A training of the project, one for each job that trains."""

    object: Literal["run"] = "run"
    id: str
    """The job's: `ftjob-…`."""
    kind: RunKind
    """`tune`: asked for over OpenAI's interface; `train`: by `luthier jobs submit`."""
    name: str
    status: RunStatus
    created_at: int
    started_at: int | None
    finished_at: int | None
    model: str | None
    """What it starts from."""
    method: str | None
    adapter: str | None
    seed: int | None
    fine_tuned_model: str | None
    steps: int | None
    """Done until now."""
    total_steps: int | None
    """As its plan has them; an early stop ends before."""
    tokens: int | None
    """Trained on. Known at the end, like the rest."""
    seconds: float | None
    energy_wh: float | None
    """An estimate."""
    peak_memory_bytes: int | None
    certificate: Certificate | None
    best_loss: float | None
    """Of the validations."""
    reason: str | None
    """Why it did not succeed, or what the alarm said."""
    parents: list[dict[str, str]]
    """What it was made from, where a pipeline made it: stage, folder and fingerprint of each."""


class RunDetails(Run):
    """One run, with everything that its record holds."""

    settings: dict[str, Any] | None
    """Every setting that it ran with, as its run file holds them."""
    record: dict[str, Any] | None
    """What `record.json` says: data fingerprints, versions, machine, certificate, evaluation … Null before the end."""
    files: list[RunFile]
    """Those that can be read. None where the run lies on another machine."""


class RunMetrics(Wire):
    """Figures of a run as columns, by kind of measurement: `series["train"]["loss"][i]` was measured after `series["train"]["step"][i]`."""

    object: Literal["run.metrics"] = "run.metrics"
    run: str
    last_step: int
    """The newest that is told: ask with `after_step` for what follows."""
    series: dict[str, dict[str, list[float | int | None]]]
    """Null where a figure was not measured, or was no number."""


class RunEvent(Wire):
    """What happened in a run."""

    number: int
    """Its line, from 1."""
    at: float
    """Seconds since the epoch."""
    kind: str
    message: str
    details: dict[str, Any]


class RunEvents(Wire):
    """What happened, the oldest first."""

    object: Literal["list"] = "list"
    data: list[RunEvent]
    has_more: bool
