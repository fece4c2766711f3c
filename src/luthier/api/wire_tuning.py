"""Fine-tuning jobs, their events and checkpoints, in the shapes that OpenAI's clients read."""

from typing import Any

from luthier.api.errors import ApiError
from luthier.jobs.names import organization
from luthier.jobs.records import Event, Job
from luthier.jobs.tunings import Checkpoint, Tuning

HYPERPARAMETERS = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
"""What every method has: clients read them whatever the method is."""


def job_wire(job: Job, tuning: Tuning) -> dict[str, Any]:
    """`error` is null where nothing is wrong, and `hyperparameters` is an object for every method: clients were seen to fail otherwise."""
    told = tuning.method.get(tuning.method["type"], {}).get("hyperparameters", {})
    return {
        "object": "fine_tuning.job",
        "id": job.id,
        "model": tuning.model,
        "created_at": int(job.created_at),
        "finished_at": int(job.finished_at) if job.finished_at is not None and job.status in ("succeeded", "failed") else None,
        "fine_tuned_model": tuning.fine_tuned_model if job.status == "succeeded" else None,
        "organization_id": f"org-{organization(job.project)}",
        "result_files": [tuning.result_file] if tuning.result_file and job.status == "succeeded" else [],
        "status": job.status,
        "validation_file": tuning.validation_file,
        "training_file": tuning.training_file,
        "hyperparameters": {key: told.get(key, default) for key, default in HYPERPARAMETERS.items()},
        "trained_tokens": tuning.trained_tokens if job.status == "succeeded" else None,
        "error": _error(job, tuning),
        "user_provided_suffix": tuning.suffix,
        "seed": tuning.seed,
        "estimated_finish": int(tuning.estimated_finish) if tuning.estimated_finish and job.status == "running" else None,
        "integrations": [_integration(job, one) for one in tuning.integrations or []],
        "metadata": tuning.metadata,
        "usage_metrics": None,
        "shared_with_openai": False,
        "eval_id": None,
        "method": tuning.method,
    }


def event_wire(event: Event) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent-{event.number:024d}",
        "created_at": int(event.at),
        "level": event.level,
        "message": event.message,
        "data": event.data if event.data is not None else {},
        "type": "metrics" if event.data is not None else "message",
    }


def event_number(identifier: str) -> int:
    """The number that an event's id holds. Raises `ApiError` for what is no such id."""
    digits = identifier.removeprefix("ftevent-")
    if not digits.isdecimal() or not digits.isascii() or len(digits) > 24 or int(digits) >= 2**63:
        raise ApiError(400, f"invalid after: {identifier}", "after")
    return int(digits)


def checkpoint_wire(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": checkpoint.id,
        "created_at": int(checkpoint.created_at),
        "fine_tuned_model_checkpoint": checkpoint.model,
        "fine_tuning_job_id": checkpoint.job,
        "metrics": checkpoint.metrics,
        "step_number": checkpoint.step,
    }


def _error(job: Job, tuning: Tuning) -> dict[str, Any] | None:
    if job.status != "failed":
        return None
    return tuning.error or {"code": "training_error", "message": job.error or "The job failed.", "param": None}


def _integration(job: Job, asked: dict[str, Any]) -> dict[str, Any]:
    inner = asked.get("wandb") or {}
    return {"type": "wandb", "wandb": {"project": inner.get("project"), "entity": inner.get("entity"), "run_id": job.id}}
