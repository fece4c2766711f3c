"""Fine-tuning jobs in the database: kept whole, listed newest first, their models named so that storing them twice changes nothing."""

from pathlib import Path

import pytest

from luthier.jobs.names import checkpoint_name, model_name
from luthier.jobs.tunings import Tunings, Wanted
from luthier.store.blobs import FolderBlobs
from luthier.store.database import Database
from luthier.store.files import Files
from luthier.store.models import Model, ModelNotFound, Models

METHOD = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}}


@pytest.fixture
def tunings(database: Database, tmp_path: Path) -> Tunings:
    blobs = FolderBlobs(tmp_path / "blobs")
    return Tunings(database, Files(database, blobs), Models(database, blobs, tmp_path / "models"), tmp_path / "jobs")


def wanted(tunings: Tunings, project: str = "default", **more: object) -> Wanted:
    model = tunings.models.find("starter", project)
    return Wanted(project=project, model=model, base="starter", method=METHOD, training_file="file-1", seed=1, **more)  # type: ignore[arg-type]


def test_a_job_tells_what_openais_clients_look_for(tunings: Tunings):
    job, tuning = tunings.create(wanted(tunings, validation_file="file-2"))
    assert (job.kind, job.status, tuning.method, tuning.seed) == ("tune", "validating_files", METHOD, 1)
    told = [event.message for event in reversed(tunings.events(job.id, 10))]
    assert told == [f"Created fine-tuning job: {job.id}", "Validating training file: file-1 and validation file: file-2"]


def test_lists_begin_with_the_newest_and_go_on_after_one(tunings: Tunings):
    made = [tunings.create(wanted(tunings))[0].id for _ in range(4)]
    assert [job.id for job, _ in tunings.newest("default", 3)] == made[:0:-1]
    assert [job.id for job, _ in tunings.newest("default", 3, after=made[1])] == [made[0]]
    assert tunings.newest("default", 3, after="ftjob-none") == []


def test_jobs_are_picked_by_all_of_the_metadata_or_by_having_none(tunings: Tunings):
    both = tunings.create(wanted(tunings, metadata={"a": "1", "b": "2"}))[0].id
    tunings.create(wanted(tunings, metadata={"a": "2"}))
    bare = tunings.create(wanted(tunings))[0].id
    assert [job.id for job, _ in tunings.newest("default", 9, metadata={"a": "1"})] == [both]
    assert [job.id for job, _ in tunings.newest("default", 9, bare=True)] == [bare]


def test_another_projects_job_is_not_there(tunings: Tunings):
    job, _ = tunings.create(wanted(tunings))
    assert tunings.get(job.id, "other") is None and tunings.newest("other", 9) == []
    assert tunings.get(job.id, "default") is not None


def test_a_checkpoint_that_is_kept_twice_is_one_model(tunings: Tunings, tmp_path: Path):
    job, _ = tunings.create(wanted(tunings, suffix="mine"))
    blob = tunings.files.blobs.put([b"weights"])
    made = Model("", "/base", 0.0, kind="adapter", lineage={"job": job.id})
    names = {tunings.keep(job, 4, {"step": 4}, {"adapter_model.safetensors": blob.sha256}, made, last=False) for _ in range(2)}
    last = tunings.keep(job, 9, {"step": 9}, {"adapter_model.safetensors": blob.sha256}, made, last=True)
    assert names == {checkpoint_name("starter", "default", "mine", job.id, 4)} and last == model_name("starter", "default", "mine", job.id)
    assert last.startswith("ft:starter:luthier:mine:") and last.partition(":ckpt")[0] not in names
    assert [one.step for one in tunings.checkpoints(job.id, 9)] == [9, 4]
    model = tunings.models.find(last, "default")
    folder = tunings.models.laid_out(model)
    assert folder is not None and (folder / "adapter_model.safetensors").read_bytes() == b"weights"
    with pytest.raises(ModelNotFound):
        tunings.models.find(last, "other")
    tunings.models.remove(last, "default")
    assert not folder.exists() and tunings.files.blobs.exists(blob.sha256)  # the checkpoint has the same bytes
    tunings.models.remove(names.pop(), "default")
    assert not tunings.files.blobs.exists(blob.sha256)


def test_an_alias_stands_for_a_model_and_is_followed(tunings: Tunings):
    models = tunings.models
    models.set_alias("gpt-4o-mini", "starter")
    models.set_alias("old", "gpt-4o-mini")
    assert models.find("old", "default").name == "starter"
    models.set_alias("a", "b")
    models.set_alias("b", "a")
    with pytest.raises(ModelNotFound):
        models.find("a", "default")
