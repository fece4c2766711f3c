"""Who judges for a job: what its owner knows by name, as folders on the worker's machine."""

from pathlib import Path
from typing import Any

from luthier.jobs.records import JobError
from luthier.jobs.request import RUN
from luthier.jobs.tunings import Tunings
from luthier.store.models import Models

JUDGED = ("score_model", "label_model")
"""Graders that ask a model."""


def with_folders(models: Models, project: str, grader: Any) -> Any:
    """A grader, each model that it asks named by its folder here. Raises `UserError` for one that was tuned: a base judges."""
    if not isinstance(grader, dict):
        return grader
    named = dict(grader)
    if grader.get("type") in JUDGED and isinstance(grader.get("model"), str):
        model = models.find(grader["model"], project)
        if model.weights is not None:
            raise JobError(f"The grader asks {model.name}, which was tuned; while a job runs, only bases judge. Name a base as its model.")
        named["model"] = model.base
    if isinstance(grader.get("graders"), dict):
        named["graders"] = {name: with_folders(models, project, inner) for name, inner in grader["graders"].items()}
    return named


def run_of(tunings: Tunings, project: str, name: str) -> Path | None:
    """The run that made a tuned model; None where it is not on this machine. Raises `ModelNotFound`."""
    model = tunings.models.find(name, project)  # the project's, or shared with it
    found = tunings.get(model.job, model.project) if model.job is not None else None
    run = tunings.folder / Path(found[0].folder).name / RUN if found is not None else None
    return run if run is not None and run.is_dir() else None


def grader_models(grader: Any) -> list[str]:
    """The models that a grader asks, or one within it, as its owner names them."""
    if not isinstance(grader, dict):
        return []
    inner = grader.get("graders")
    own = [grader["model"]] if grader.get("type") in JUDGED and isinstance(grader.get("model"), str) else []
    return [*own, *(name for one in (inner.values() if isinstance(inner, dict) else ()) for name in grader_models(one))]
