"""An OpenAI fine-tuning job as a run of ours: its files looked through, "auto" resolved, and the settings that come of it.

Validation leaves a run file; the job itself is then a training like any other.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.errors import GradingError, OutOfMemory, SettingsError, UserError
from luthier.recipes.preflight import SHARED, preflight
from luthier.recipes.tuning_files import MOST_TOLD, look, without_images
from luthier.recipes.tuning_settings import resolved, run_of
from luthier.spec.finding import Finding
from luthier.spec.run import RunSpec
from luthier.spec.tuning import Tuning, TuningFile

INPUTS = "inputs"
"""In the job's folder: its files under the names that their owner knows."""


@dataclass(frozen=True)
class Validated:
    """What came of looking at a job.

    `error`: why it cannot run, as OpenAI has it: `code`, `message`, `param`. `notes`: level and sentence of what its owner should know
    besides. `resolved`: its hyperparameters as numbers. `run`: its settings; None where it cannot run.
    """

    error: dict[str, Any] | None = None
    notes: tuple[tuple[str, str], ...] = ()
    resolved: dict[str, Any] = field(default_factory=dict)
    run: RunSpec | None = None


def validate(tuning: Tuning, folder: Path) -> Validated:
    """Look through a job's files, make its settings, and find what would be wrong with the run.

    Args:
        folder: the job's own, into which its files are linked.
    """
    looks = [look(tuning.training_file, "training", tuning.own_method)]
    if tuning.validation_file is not None:
        looks.append(look(tuning.validation_file, "validation", tuning.own_method))
    skips = [("warn", sentence) for seen in looks for sentence in seen.skips()]
    for seen in looks:
        if seen.error is not None:
            return Validated(seen.error, (*skips, *(("error", sentence) for other in looks for sentence in other.notes())))
    try:
        spec = run_of(_linked(tuning, folder / INPUTS, {seen.file.id for seen in looks if seen.skipped}), looks[0].examples)
    except UserError as error:
        return Validated(_failure(str(error)), tuple(skips))
    findings = preflight(spec)
    notes = (*skips, *_notes(tuning, findings, folder))
    errors = [_told(finding.message, folder) for finding in findings if finding.severity == "error"]
    if errors:
        return Validated(_failure(errors[0]), (*(("error", text) for text in errors[1:MOST_TOLD]), *notes))
    return Validated(None, notes, resolved(tuning, spec), spec)


def error_of(error: Exception, grades: bool = False) -> dict[str, Any]:
    """What a job fails with that ran: `code`, `message`, `param`.

    Args:
        grades: whether answers are graded; then what is said of settings only now is said of the grader's, which meets the rows only now.
    """
    if isinstance(error, OutOfMemory | MemoryError):
        return {"code": "out_of_memory", "message": str(error) or "The job needs more memory than the machine has.", "param": None}
    of_grader = isinstance(error, GradingError) or (grades and isinstance(error, SettingsError))
    code = "grader_error" if of_grader else "training_error"
    return {"code": code, "message": str(error), "param": None}


def _failure(sentence: str) -> dict[str, Any]:
    return {"code": "training_error", "message": sentence, "param": None}


def _linked(tuning: Tuning, inputs: Path, with_images: set[str]) -> Tuning:
    """The same job with its files under the names that their owner knows, so that messages and record hold no others.

    Args:
        with_images: those of which only the other rows are learned from.
    """
    inputs.mkdir(exist_ok=True)
    changed: dict[str, TuningFile] = {}
    for part in ("training_file", "validation_file"):
        file: TuningFile | None = getattr(tuning, part)
        if file is not None:
            link = inputs / f"{file.id}.jsonl"
            link.unlink(missing_ok=True)
            if file.id in with_images:
                without_images(Path(file.path), link)
            else:
                link.symlink_to(os.path.abspath(file.path))
            changed[part] = file.model_copy(update={"path": str(link)})
    return tuning.model_copy(update=changed)


def _notes(tuning: Tuning, findings: list[Finding], folder: Path) -> Iterator[tuple[str, str]]:
    """What the owner should know: warnings of the preflight, and what of the request has no effect here."""
    if tuning.asked("reasoning_effort") not in (None, "default"):
        yield "warn", "`reasoning_effort` has no effect: this model has no such setting."
    for finding in findings:
        if finding.code == SHARED:
            rows = "1 training row stands" if finding.count == 1 else f"{finding.count:,} training rows stand"
            places = _told(", ".join(finding.places), folder)
            yield (
                "warn",
                f"{rows} in the validation file, too ({places}). What is measured on rows that were learned says nothing of others.",
            )
    for finding in [finding for finding in findings if finding.severity == "warning"][:MOST_TOLD]:
        yield "warn", _told(finding.message, folder)


def _told(sentence: str, folder: Path) -> str:
    """A sentence without the job's folder in it."""
    return sentence.replace(f"{folder / INPUTS}{os.sep}", "").replace(f"{folder}{os.sep}", "")
