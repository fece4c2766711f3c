"""Do what a job's folder asks for: what workers start, one process a job."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.errors import UserError

if TYPE_CHECKING:
    from luthier.jobs.process import Outcome
    from luthier.jobs.request import Request

RAY = "LUTHIER_RAY"
"""Environment: the address of the Ray cluster on which a worker's jobs train."""

REPORT = "report.json"
"""Of a check, in the job's folder."""


def command(
    folder: Annotated[Path, typer.Argument(help="The job's folder.")],
    validate: Annotated[bool, typer.Option("--validate", help="Only say whether it could be done.")] = False,
    parent: Annotated[int | None, typer.Option(help="The process to end with.")] = None,
) -> int:
    """Do what a job's folder asks for, or go on with it. Workers start this; people need not.

    The outcome is left in the folder, as outcome.json.
    """
    from luthier.jobs.process import Outcome, die_with
    from luthier.jobs.request import read

    if parent is not None:
        die_with(parent)
    try:
        request = read(folder)
        outcome = (VALIDATE if validate else DO)[request.kind](folder, request)
    except UserError as error:
        outcome = Outcome("failed", str(error))
    outcome.write(folder)
    typer.echo(f"{outcome.status}: {outcome.message}", err=outcome.status == "failed")
    return 1 if outcome.status == "failed" else 0


def _train(folder: Path, request: "Request") -> "Outcome":
    ray = os.environ.get(RAY)
    if request.processes > 1 or ray is not None:
        return _train_in(request.processes, ray, folder)
    from luthier.engine.folder import RunFolder
    from luthier.jobs.request import RUN, RUN_FILE
    from luthier.recipes.train import resume, train
    from luthier.spec.load import load_run

    run = folder / RUN
    made = resume(run) if RunFolder(run).is_run else train(load_run(str(folder / RUN_FILE), out=str(run)))
    return _ended(made.record)


def _train_in(processes: int, ray: str | None, folder: Path) -> "Outcome":
    """The same by several processes, which end with this one. One that was killed is worth another try."""
    from luthier.cli._processes import Killed, run_several
    from luthier.engine.folder import RunFolder
    from luthier.jobs.process import LOG, Outcome
    from luthier.jobs.request import RUN, RUN_FILE

    run = RunFolder(folder / RUN)
    begun = ["resume", str(run.path)] if run.is_run else ["train", str(folder / RUN_FILE), "--out", str(run.path)]
    try:
        failed = run_several(processes, ray, begun)
    except Killed as error:
        return Outcome("failed", str(error), again=True)
    record = run.read_record() if run.record_file.is_file() else {}
    if failed:
        return Outcome("failed", record.get("reason") or f"The run could not begin. {folder / LOG} holds what was printed.")
    return _ended(record)


def _ended(record: dict[str, Any]) -> "Outcome":
    from luthier.jobs.process import Outcome

    details = {"steps": record["steps"], "trained_tokens": record["tokens"]}
    return Outcome(record["status"], record["alarm"] or f"{record['steps']:,} steps", details=details)


def _validate_train(folder: Path, request: "Request") -> "Outcome":
    from luthier.jobs.process import Outcome
    from luthier.jobs.request import RUN_FILE
    from luthier.recipes.needs import planned_needs
    from luthier.recipes.preflight import preflight
    from luthier.spec.load import load_run

    spec = load_run(str(folder / RUN_FILE))
    errors = [finding.message for finding in preflight(spec) if finding.severity == "error"]
    if errors:
        return Outcome("failed", "\n".join(errors))
    needs, unknown = planned_needs(spec, request.processes)
    return Outcome("valid", unknown or "its files and settings are sound", details={"needs": needs})


def _tune(folder: Path, request: "Request") -> "Outcome":
    from luthier.jobs.process import Outcome
    from luthier.models.device import is_out_of_memory
    from luthier.recipes.tuning import error_of

    try:
        return _train(folder, request)
    except (UserError, MemoryError) as error:
        failure = error_of(error, grades=request.tuning is not None and request.tuning.grader is not None)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        failure = error_of(MemoryError(str(error)))
    return Outcome("failed", failure["message"], error=failure)


def _validate_tune(folder: Path, request: "Request") -> "Outcome":
    from luthier.jobs.process import Outcome
    from luthier.jobs.request import RUN_FILE
    from luthier.recipes.needs import planned_needs
    from luthier.recipes.tuning import validate
    from luthier.spec.load import to_yaml

    assert request.tuning is not None
    found = validate(request.tuning, folder)
    details: dict[str, Any] = {"resolved": found.resolved, "notes": [{"level": level, "message": text} for level, text in found.notes]}
    if found.error is not None or found.run is None:
        message = found.error["message"] if found.error else ""
        return Outcome("failed", message, details=details, error=found.error)
    (folder / RUN_FILE).write_text(to_yaml(found.run), encoding="utf-8")
    needs, unknown = planned_needs(found.run)
    if unknown is not None:
        details["notes"].append({"level": "warn", "message": unknown})
    return Outcome("valid", "its files and settings are sound", details={**details, "needs": needs})


def _check(folder: Path, request: "Request") -> "Outcome":
    import msgspec

    from luthier.jobs.process import Outcome
    from luthier.recipes.check import Request as Asked
    from luthier.recipes.check import check

    report = check(Asked(request.files))
    (folder / REPORT).write_bytes(msgspec.json.encode({"ready": report.ready, "report": report}))
    return Outcome("succeeded", f"{report.rows:,} rows, {'ready' if report.ready else 'not ready'}")


def _validate_check(folder: Path, request: "Request") -> "Outcome":
    from luthier.jobs.process import Outcome

    missing = [file for file in request.files if not Path(file).is_file()]
    return Outcome("failed", f"There is no file {missing[0]}.") if missing else Outcome("valid", "its files are there")


def _compare(folder: Path, request: "Request") -> "Outcome":
    from luthier.jobs.process import Outcome
    from luthier.recipes.contest import compete

    assert request.contest is not None
    _leave_when_asked(folder)
    try:
        return Outcome("succeeded", f"{compete(request.contest, folder):,} prompts")
    except UserError as error:
        return Outcome("failed", str(error).replace(f"{folder}/", ""))  # whoever asked for it knows no folder here


def _leave_when_asked(folder: Path) -> None:
    """For work whose every part is kept as soon as it is there: leaving takes no more than saying so."""
    import signal

    from luthier.jobs.process import Outcome

    def leave(*_: object) -> None:
        Outcome("paused", "what there is until now is kept").write(folder)
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)


def _validate_compare(folder: Path, request: "Request") -> "Outcome":
    from luthier.data.prompts import read_prompts
    from luthier.jobs.process import Outcome

    assert request.contest is not None
    try:
        return Outcome("valid", f"{len(read_prompts(str(folder / request.contest.prompts))):,} prompts")
    except UserError as error:
        return Outcome("failed", str(error).replace(f"{folder}/", ""))


DO: "dict[str, Callable[[Path, Request], Outcome]]" = {"train": _train, "check": _check, "tune": _tune, "compare": _compare}
VALIDATE: "dict[str, Callable[[Path, Request], Outcome]]" = {
    "train": _validate_train,
    "check": _validate_check,
    "tune": _validate_tune,
    "compare": _validate_compare,
}
