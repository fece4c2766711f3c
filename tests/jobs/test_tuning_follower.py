"""What a fine-tuning job's process is given: models by their folders, whatever names its owner knows them by."""

import json
from pathlib import Path

import pytest

from luthier.jobs.judges import run_of
from luthier.jobs.leases import Leases
from luthier.jobs.queue import Queue
from luthier.jobs.records import JobError
from luthier.jobs.tuning_follower import TuningFollower
from luthier.jobs.tunings import Tunings, Wanted
from luthier.store.blobs import FolderBlobs
from luthier.store.database import Database
from luthier.store.files import Files
from luthier.store.models import Model, ModelNotFound, Models
from luthier.store.sharing import Sharing

JUDGE = {"type": "score_model", "name": "g", "model": "gpt-4o-mini", "input": [{"role": "user", "content": "{{sample.output_text}}"}]}
MULTI = {"type": "multi", "name": "m", "graders": {"g": JUDGE}, "calculate_output": "g"}


@pytest.fixture
def tunings(database: Database, tmp_path: Path) -> Tunings:
    blobs = FolderBlobs(tmp_path / "blobs")
    return Tunings(database, Files(database, blobs), Models(database, blobs, tmp_path / "models"), tmp_path / "jobs")


def begun(tunings: Tunings, grader: dict | None = None, **luthier: object) -> dict:
    """What stands in the folder of a job that is about to be looked at."""
    file = tunings.files.create("default", "t.jsonl", "fine-tune", [b"{}\n"])
    inner = {"hyperparameters": {}, **({"grader": grader} if grader else {})}
    model = tunings.models.find("starter", "default")
    method = {"type": "reinforcement", "reinforcement": inner}
    job, _ = tunings.create(Wanted("default", model, "starter", method, file.id, seed=1, luthier=luthier or None))
    folder = TuningFollower(tunings).begun(Queue(tunings.database).get(job.id), validate=True)
    return json.loads((folder / "job.json").read_text())["tuning"]


def tuned(tunings: Tunings) -> tuple[str, Path]:
    """A model that a job here has made, and where that job's run would lie."""
    model = tunings.models.find("starter", "default")
    job, _ = tunings.create(Wanted("default", model, "starter", {"type": "supervised", "supervised": {}}, "file-1", seed=1))
    blob = tunings.files.blobs.put([b"weights"])
    name = tunings.keep(job, 1, {}, {"adapter_model.safetensors": blob.sha256}, Model("", model.base, 0.0, kind="adapter"), last=True)
    return name, tunings.folder / Path(job.folder).name / "run"


def test_a_judge_is_named_by_its_folder_within_other_graders_too(tunings: Tunings):
    tunings.models.set_alias("gpt-4o-mini", "starter")
    base = tunings.models.find("starter", "default").base
    assert begun(tunings, MULTI)["grader"]["graders"]["g"]["model"] == base


def test_a_judge_that_is_not_there_or_was_tuned_fails_the_job(tunings: Tunings):
    with pytest.raises(ModelNotFound, match="gpt-4o-mini"):
        begun(tunings, JUDGE)
    tunings.models.set_alias("gpt-4o-mini", tuned(tunings)[0])
    with pytest.raises(JobError, match="only bases judge"):
        begun(tunings, JUDGE)


def test_a_reward_model_is_the_run_that_made_it(tunings: Tunings):
    name, run = tuned(tunings)
    with pytest.raises(JobError, match="no reward model that was tuned on this machine"):
        begun(tunings, method="ppo", reward_model=name)
    run.mkdir(parents=True)
    told = begun(tunings, method="ppo", reward_model=name)
    assert told["reward_model"] == str(run) and told["luthier"] == {"method": "ppo"}


def test_what_no_worker_here_has_is_said_when_a_job_is_made(tunings: Tunings):
    """Before anybody has looked at its files; where all is there, nothing is said."""
    leases = Leases(tunings.database)
    offers = {"kind": ["tune"], "method": ["grpo"], "memory_bytes": 2**20, "sandbox": False}
    leases.here("small", "host", 1, offers)
    python = {"type": "python", "name": "p", "source": "def grade(sample, item): return 1"}
    file = tunings.files.create("default", "t.jsonl", "fine-tune", [b"{}\n"])
    model = tunings.models.find("starter", "default")
    wanted = Wanted("default", model, "starter", {"type": "reinforcement", "reinforcement": {"grader": python}}, file.id, seed=1)
    made, _ = tunings.create(wanted)
    told = Queue(tunings.database).events(made.id)[-1]
    assert told.level == "warn" and "its Python grader runs only in a sandbox" in told.message
    assert "of memory, and the largest has 0.0 GiB" in told.message
    leases.here("large", "host", 2, {**offers, "memory_bytes": 2**34, "sandbox": True})
    again, _ = tunings.create(wanted)
    assert [event.level for event in Queue(tunings.database).events(again.id)] == ["info", "info"]


def test_a_job_goes_on_although_what_it_started_from_was_deleted(tunings: Tunings, tmp_path: Path):
    """The model that it makes goes with the base that it began with."""
    start, _ = tuned(tunings)
    base = tunings.models.find("starter", "default").base
    file = tunings.files.create("default", "t.jsonl", "fine-tune", [b"{}\n"])
    method = {"type": "supervised", "supervised": {"hyperparameters": {}}}
    job, _ = tunings.create(Wanted("default", tunings.models.find(start, "default"), start, method, file.id, seed=1))
    follower, held = TuningFollower(tunings), Queue(tunings.database).get(job.id)
    folder = follower.begun(held, validate=True)
    (folder / "request.yaml").write_text(f"method: sft\nmodel: {{path: {base}}}\ndata: {{train: [t.jsonl]}}\n")
    tunings.models.remove(start, "default")
    assert follower._made(held, {"adapter_model.safetensors": "0"}).base == base


def test_a_reward_model_of_another_project_judges_where_it_is_shared(tunings: Tunings):
    name, run = tuned(tunings)
    run.mkdir(parents=True)
    with pytest.raises(ModelNotFound):
        run_of(tunings, "proj_other", name)
    Sharing(tunings.database).share(name, ["proj_other"])
    assert run_of(tunings, "proj_other", name) == run == run_of(tunings, "default", name)
