"""Follows fine-tuning jobs for a worker: their files in, their events, checkpoints, results and models out."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import update

from luthier.jobs import request
from luthier.jobs.judges import run_of, with_folders
from luthier.jobs.process import Outcome
from luthier.jobs.records import Job, JobError, tell
from luthier.jobs.tuning_events import Told, checkpoint_event, note_events, step_events
from luthier.jobs.tuning_results import ADAPTER_FILE, Snapshot, newest, results_csv, snapshots, tuned
from luthier.jobs.tuning_steps import Cursor, estimated_finish, record_of, trained_tokens
from luthier.jobs.tunings import Tuning, Tunings
from luthier.spec import tuning as spec
from luthier.spec.load import load_run
from luthier.spec.tuning_request import OWN
from luthier.store.files import insert_file
from luthier.store.models import Model
from luthier.store.tables import tunings as table

RESULTS = "step_metrics.csv"
RESULTS_PURPOSE = "fine-tune-results"

PERIOD_S = 1.0
"""Between two looks at a job's checkpoints."""


class TuningFollower:
    """A worker's own. What it stores has a key or a name that follows from the job, so that storing it twice changes nothing."""

    def __init__(self, tunings: Tunings) -> None:
        self.tunings = tunings
        self.blobs = tunings.files.blobs
        self._cursors: dict[str, Cursor] = {}
        self._looked: dict[str, float] = {}
        self._begun: dict[str, float] = {}

    def begun(self, job: Job, validate: bool) -> Path:
        """Its folder, with its files and its model in their places. Raises `UserError` where one of them is not there."""
        folder = self._folder(job)
        if not (folder / request.FILE).is_file():
            request.write(folder, "tune", tuning=self._asked(job, self._tuning(job)))
        self._cursors.pop(job.id, None)
        if not validate:
            self._begun[job.id] = time.monotonic()
            self._tell(job, [Told("started", "Fine-tuning job started")])
        return folder

    def going_on(self, job: Job) -> None:
        if job.status == "validating_files" or time.monotonic() - self._looked.get(job.id, 0.0) < PERIOD_S:
            return
        self._looked[job.id] = time.monotonic()
        self._steps(job, ended=False)
        self._snapshots(job)

    def ended(self, job: Job, status: str, outcome: Outcome) -> None:
        if job.status == "validating_files":
            self._validated(job, status, outcome)
            return
        self._spent(job)
        self._steps(job, ended=status in ("succeeded", "failed"))
        self._snapshots(job)
        if status == "succeeded":
            self._succeeded(job)
        elif status == "paused" and (snapshot := newest(self._run(job))) is not None:
            self._keep(job, snapshot)
        elif status == "failed":
            self._failed(job, outcome)

    def _validated(self, job: Job, status: str, outcome: Outcome) -> None:
        details = outcome.details or {}
        self._tell(job, note_events(details.get("notes", [])))
        if status == "failed":
            self._failed(job, outcome)
        elif outcome.status == "valid":
            method = dict(self._tuning(job).method)
            inner = dict(method.get(method["type"]) or {})
            method[method["type"]] = {**inner, "hyperparameters": {**inner.get("hyperparameters", {}), **details["resolved"]}}
            self.tunings.update(job.id, method=method)

    def _spent(self, job: Job) -> None:
        began, record = self._begun.pop(job.id, None), record_of(self._run(job))
        if began is not None:
            self.tunings.spent(job.id, time.monotonic() - began, None if record is None else float(record["energy_wh_estimated"]))

    def _failed(self, job: Job, outcome: Outcome) -> None:
        self.tunings.update(job.id, error=outcome.error or {"code": "training_error", "message": outcome.message, "param": None})

    def _succeeded(self, job: Job) -> None:
        """Its model, its results, and what it took; all of it before anybody is told that it has succeeded."""
        run = self._run(job)
        snapshot = tuned(run)
        assert snapshot is not None, f"{run} has succeeded and left no weights"
        name = self._keep(job, snapshot, last=True)
        results = self.blobs.put([results_csv(run)])
        with self.tunings.database.write() as connection:
            values: dict[str, Any] = {"fine_tuned_model": name, "trained_tokens": trained_tokens(run)}
            if self._tuning(job).result_file is None:
                values["result_file"] = insert_file(connection, self.blobs, job.project, RESULTS, RESULTS_PURPOSE, results).id
            connection.execute(update(table).where(table.c.job == job.id).values(**values))
            tell(connection, job.id, f"New fine-tuned model created: {name}", key="model")

    def _steps(self, job: Job, ended: bool) -> None:
        run = self._run(job)
        told, cursor = step_events(run, self._cursors.get(job.id, Cursor()), ended)
        self._cursors[job.id] = cursor
        if told:
            self._tell(job, told)
            self.tunings.update(job.id, estimated_finish=estimated_finish(run, cursor.step, time.time()))

    def _snapshots(self, job: Job) -> None:
        kept = {checkpoint.step for checkpoint in self.tunings.checkpoints(job.id, limit=1000)}
        for snapshot in snapshots(self._run(job)):
            if snapshot.step not in kept:
                self._keep(job, snapshot)

    def _keep(self, job: Job, snapshot: Snapshot, last: bool = False) -> str:
        """Its weights, for good, as a model. Returns the model's name."""
        root = snapshot.files[0].parent
        weights = {file.relative_to(root).as_posix(): self.blobs.put_file(file).sha256 for file in snapshot.files}
        name = self.tunings.keep(job, snapshot.step, snapshot.metrics, weights, self._made(job, weights), last)
        if not last:
            self._tell(job, [checkpoint_event(snapshot.step, name)])
        return name

    def _made(self, job: Job, weights: dict[str, str]) -> Model:
        """What holds for every model of a job: what its weights go with, and what it was made from."""
        tuning = self._tuning(job)
        run = load_run(str(self._folder(job) / request.RUN_FILE))
        asked = request.read(self._folder(job)).tuning  # as it was begun: what it goes on from may have been deleted since
        assert asked is not None
        lineage = {
            "base": tuning.base,
            "model": tuning.model,
            "method": run.method.name,
            "job": job.id,
            "training_file": tuning.training_file,
            "chat_template": run.model.chat_template,
            "template_arguments": dict(run.model.template_arguments),
        }
        kind = "adapter" if ADAPTER_FILE in weights else "model"
        return Model("", asked.model, 0.0, kind=kind, lineage=lineage)

    def _asked(self, job: Job, tuning: Tuning) -> spec.Tuning:
        """The job as its process is given it."""
        model = self.tunings.models.find(tuning.model, job.project)
        folder = self.tunings.models.laid_out(model)
        whole = model.kind == "model"
        details = tuning.method.get(tuning.method["type"]) or {}
        ours = dict(tuning.luthier or {})
        judge = ours.pop(OWN, None)
        return spec.Tuning(
            job=job.id,
            model=str(folder) if whole else model.base,
            start=str(folder) if folder is not None and not whole else None,
            method=tuning.method["type"],
            hyperparameters=details.get("hyperparameters") or {},
            training_file=self._file(job, tuning.training_file),
            validation_file=self._file(job, tuning.validation_file) if tuning.validation_file else None,
            seed=tuning.seed,
            grader=with_folders(self.tunings.models, job.project, details.get("grader")),
            response_format=details.get("response_format"),
            luthier=ours,
            reward_model=str(self._run_of(job, judge)) if judge is not None else None,
        )

    def _run_of(self, job: Job, name: str) -> Path:
        """The run of a tuned reward model. Raises `UserError` where it is not on this machine."""
        run = run_of(self.tunings, job.project, name)
        if run is None:
            raise JobError(f"`luthier.{OWN}`: {name} is no reward model that was tuned on this machine. Name one that a job here has made.")
        return run

    def _file(self, job: Job, number: str) -> spec.TuningFile:
        file = self.tunings.files.for_job(job.project, number)
        return spec.TuningFile(id=number, path=str(self.blobs.path(file.sha256)))

    def _tuning(self, job: Job) -> Tuning:
        found = self.tunings.get(job.id)
        assert found is not None, f"{job.id} is no fine-tuning job"
        return found[1]

    def _tell(self, job: Job, told: Iterable[Told]) -> None:
        with self.tunings.database.write() as connection:
            for one in told:
                tell(connection, job.id, one.message, one.level, one.key, dict(one.data) if one.type == "metrics" else None)

    def _folder(self, job: Job) -> Path:
        """Under this machine's own folder of jobs, whichever machine the job was made on."""
        return self.tunings.folder / Path(job.folder).name

    def _run(self, job: Job) -> Path:
        return self._folder(job) / request.RUN
