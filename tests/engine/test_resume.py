"""Killed, paused, damaged, moved: a run goes on to the weights it would have had, bit for bit, or says why it does not."""

import json
import os
import random
import shutil
import signal
import time
from functools import cached_property
from pathlib import Path

import pytest
from tests.engine.fatal_calls import FatalCall
from tests.engine.runs import end_of, killed_after, spec_of, start, steps_of, two_sets, weights_of

from luthier.engine.folder import RunFolder, read_lines
from luthier.engine.loop import Loop
from luthier.engine.report import Silent
from luthier.errors import RunError
from luthier.recipes.run import Run
from luthier.recipes.train import resume, train
from luthier.spec.run import RunSpec

KINDS = [("lora", "float32"), ("lora", "bfloat16"), ("full", "float32"), ("full", "bfloat16")]


class Unbroken:
    """A run with dropout, two mixed data sets, accumulation and a checkpoint every other step."""

    def __init__(self, model: Path, folder: Path, adapter: str, dtype: str) -> None:
        self.model, self.folder, self.data = model, folder, two_sets(folder)
        lora = {"name": "lora", "rank": 4, "dropout": 0.1}
        self.settings = {
            "adapter": lora if adapter == "lora" else "full",
            "train": {"epochs": 3, "batch_size": 4, "token_budget": 48, "dtype": dtype, "dropout": 0.1},
            "evaluation": {"every": 3, "prompts": ("Count from 3.",), "max_new_tokens": 4},
            "checkpoints": {"every": 2},
        }
        self.run = train(self.spec(folder / "unbroken"))

    @cached_property
    def seconds(self) -> float:
        """How long such a run takes, once everything is loaded."""
        began = time.perf_counter()
        train(self.spec(self.folder / "timed"))
        return time.perf_counter() - began

    def spec(self, out: Path) -> RunSpec:
        return spec_of(self.model, Path("unused"), out, **{**self.settings, "data": self.data})

    def assert_equal(self, run: Run) -> None:
        """Weights, every loss on the way, validations and samples, none missing and none twice."""
        assert run.record["status"] == "succeeded"
        assert run.record["bit_exact"] is True
        assert weights_of(run) == weights_of(self.run)
        assert [line["loss"] for line in steps_of(run)] == [line["loss"] for line in steps_of(self.run)]
        lines = [[line for line in read.metrics if line["kind"] == "validation"] for read in (run, self.run)]
        assert lines[0] == lines[1]
        assert (run.path / "samples.jsonl").read_bytes() == (self.run.path / "samples.jsonl").read_bytes()
        assert run.record["certificate"] == self.run.record["certificate"]


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def unbroken(request: pytest.FixtureRequest, toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    return Unbroken(toy_folder, tmp_path_factory.mktemp("unbroken"), *request.param)


def go_on(unbroken: Unbroken, folder: Path) -> Run:
    """Resume, or start where the process died before there was a run."""
    return resume(folder) if RunFolder(folder).is_run else train(unbroken.spec(folder))


def test_the_unbroken_run_has_all_that_could_go_wrong(unbroken: Unbroken):
    steps = steps_of(unbroken.run)
    assert all(line["streams"] > 1 for line in steps), "accumulation"
    assert all({"loss/first", "loss/second"} <= line.keys() for line in steps[:1]), "mixing"
    assert steps[0]["loss"] != pytest.approx(steps[-1]["loss"], rel=0.01)


def test_killed_once_and_resumed(unbroken: Unbroken, tmp_path: Path):
    """About halfway through its steps; earlier, where this time it was done by then."""
    ends = {}
    for share in (0.6, 0.3, 0.1):
        folder = tmp_path / str(share)
        ends[folder] = killed_after(share * unbroken.seconds, lambda folder=folder: train(unbroken.spec(folder)))
        if ends[folder] == -9:
            break
    assert ends[folder] == -9
    unbroken.assert_equal(go_on(unbroken, folder))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_twenty_times_and_resumed(unbroken: Unbroken, tmp_path: Path):
    """At random moments of one run after another, and of the run that goes on."""
    draws = random.Random(0)
    killed = 0
    for number in range(20):
        folder = tmp_path / str(number)
        moment = draws.uniform(0, unbroken.seconds)
        killed += killed_after(moment, lambda folder=folder: train(unbroken.spec(folder))) == -9
        killed += killed_after(moment / 2, lambda folder=folder: go_on(unbroken, folder)) == -9
        unbroken.assert_equal(go_on(unbroken, folder))
    assert killed >= 20


def num_calls(unbroken: Unbroken, folder: Path) -> int:
    """Calls that touch the file system in a whole run."""
    read, written = os.pipe()

    def count() -> None:
        fatal = FatalCall(folder, at=0)
        train(unbroken.spec(folder))
        os.write(written, str(fatal.count).encode())

    assert end_of(start(count)) == 0
    return int(os.read(read, 20))


def assert_survives_calls(unbroken: Unbroken, tmp_path: Path, stride: int) -> None:
    total = num_calls(unbroken, tmp_path / "counted")
    for n in range(1, total + 1, stride):
        folder = tmp_path / str(n)
        assert end_of(start(lambda folder=folder, n=n: (FatalCall(folder, n), train(unbroken.spec(folder))))) == -9
        unbroken.assert_equal(go_on(unbroken, folder))
        shutil.rmtree(folder)


@pytest.mark.parametrize("unbroken", [KINDS[0], KINDS[3]], indirect=True, ids="-".join)
def test_killed_at_some_calls_to_the_file_system(unbroken: Unbroken, tmp_path: Path):
    assert_survives_calls(unbroken, tmp_path, stride=89)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("unbroken", [KINDS[0]], indirect=True, ids="-".join)
def test_killed_at_every_call_to_the_file_system(unbroken: Unbroken, tmp_path: Path):
    """Of a whole run: its beginning, each of its checkpoints, its lines, its end."""
    assert_survives_calls(unbroken, tmp_path, stride=1)


@pytest.fixture(scope="module")
def finished(toy_folder: Path, toy_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = {"checkpoints": {"every": 2, "keep_states": 9}, "evaluation": {"prompts": ()}}
    return train(spec_of(toy_folder, toy_rows, tmp_path_factory.mktemp("runs") / "finished", **settings))


def unfinished(finished: Run, folder: Path, last_step: int) -> Path:
    """A copy of the run as it would be, had it been killed after the checkpoint of a step."""
    shutil.copytree(finished.path, folder)
    (folder / "record.json").unlink()
    shutil.rmtree(folder / "adapter")
    for path in (folder / "checkpoints").glob("step-*"):
        if int(path.name[5:]) > last_step:
            shutil.rmtree(path)
    return folder


def test_a_finished_run_is_returned_as_it_is(finished: Run):
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*") if path.name != ".lock"}
    assert resume(finished.path).record == finished.record
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*") if path.name != ".lock"} == before


def test_the_newest_checkpoint_is_damaged(finished: Run, tmp_path: Path):
    folder = unfinished(finished, tmp_path / "run", last_step=4)
    state = folder / "checkpoints/step-00000004/state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    again = resume(folder)
    assert weights_of(again) == weights_of(finished)
    said = [line["message"] for line in read_lines(folder / "events.jsonl")]
    assert "step-00000004 is damaged (state.safetensors) and was passed over" in said
    assert "going on after step 2" in said


@pytest.mark.parametrize("unbroken", [KINDS[0]], indirect=True, ids="-".join)
def test_killed_after_the_checkpoint_before_the_first_step(unbroken: Unbroken, tmp_path: Path):
    """What was validated and certified before training is not done, or counted, twice."""
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_steps", lambda loop: "paused")
        train(unbroken.spec(folder))
    unbroken.assert_equal(resume(folder))


def test_torn_last_lines_are_repaired(finished: Run, tmp_path: Path):
    folder = unfinished(finished, tmp_path / "run", last_step=4)
    for name in ("metrics.jsonl", "events.jsonl"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-7])
    again = resume(folder)
    assert weights_of(again) == weights_of(finished)
    assert [line["step"] for line in steps_of(again)] == [1, 2, 3, 4, 5, 6]
    for name in ("metrics.jsonl", "events.jsonl"):
        assert all(json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines())


def test_paused_by_ctrl_c_and_resumed(finished: Run, toy_folder: Path, toy_rows: Path, tmp_path: Path):
    """The signal comes after the second step: that step is finished, saved, and the run leaves."""
    folder = tmp_path / "run"

    class CtrlC(Silent):
        def step(self, metrics: dict[str, float], seconds_left: float) -> None:
            if metrics["step"] == 2:
                os.kill(os.getpid(), signal.SIGINT)

    settings = {"checkpoints": {"every": 5}, "evaluation": {"prompts": ()}}
    paused = train(spec_of(toy_folder, toy_rows, folder, **settings), CtrlC())
    assert paused.record["status"] == "paused"
    assert paused.record["steps"] == 2
    assert not (folder / "adapter").exists()
    assert weights_of(resume(folder)) == weights_of(finished)
    assert Run(folder).record["status"] == "succeeded"


def test_two_processes_cannot_train_into_one_folder(finished: Run, tmp_path: Path):
    folder = unfinished(finished, tmp_path / "run", last_step=2)
    with RunFolder(folder).locked(), pytest.raises(RunError, match=r"Another process is training into .*/run\. Wait for it"):
        resume(folder)


def test_a_lock_that_is_let_go_in_a_moment_is_waited_for(tmp_path: Path):
    """As one that a killed process's last child still holds."""
    read, written = os.pipe()

    def hold() -> None:
        with RunFolder(tmp_path).locked():
            os.write(written, b"!")
            time.sleep(0.3)

    child = start(hold)
    assert os.read(read, 1) == b"!"
    with RunFolder(tmp_path).locked():
        assert end_of(child) == 0


def test_a_folder_that_holds_another_run_is_left_alone(finished: Run, toy_folder: Path, toy_rows: Path):
    before = {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"already holds a run\. Choose another folder, or go on with `luthier resume"):
        train(spec_of(toy_folder, toy_rows, finished.path))
    assert {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()} == before


def test_a_folder_that_holds_anything_else_is_left_alone(toy_folder: Path, toy_rows: Path, tmp_path: Path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/precious.txt").write_text("mine")
    with pytest.raises(RunError, match=r"is not empty \(it holds adapter\)"):
        train(spec_of(toy_folder, toy_rows, tmp_path))
    assert (tmp_path / "adapter/precious.txt").read_text() == "mine"


def test_a_folder_without_a_run_cannot_go_on(tmp_path: Path):
    with pytest.raises(RunError, match="holds no run"):
        resume(tmp_path)


def test_data_that_changed_since_is_refused(finished: Run, toy_rows: Path, tmp_path: Path):
    folder = unfinished(finished, tmp_path / "run", last_step=2)
    moved = tmp_path / "rows.jsonl"
    rows = toy_rows.read_text(encoding="utf-8")
    moved.write_text(rows.replace("Count", "Spell"), encoding="utf-8")
    run_file = folder / "run.yaml"
    run_file.write_text(run_file.read_text(encoding="utf-8").replace(str(toy_rows), str(moved)), encoding="utf-8")
    with pytest.raises(RunError, match="train data 1 has changed since the run began"):
        resume(folder)
    moved.write_text(rows, encoding="utf-8")
    assert weights_of(resume(folder)) == weights_of(finished)


def test_another_number_of_threads_is_announced_and_recorded(finished: Run, tmp_path: Path):
    """The run says of itself that it began with one thread more than there are here."""
    folder = unfinished(finished, tmp_path / "run", last_step=2)
    begun = json.loads((folder / "start.json").read_text(encoding="utf-8"))
    here = begun["machine"]["threads"]
    (folder / "start.json").write_text(json.dumps({**begun, "machine": {**begun["machine"], "threads": here + 1}}), encoding="utf-8")
    said: list[str] = []

    class Listener(Silent):
        def event(self, message: str) -> None:
            said.append(message)

    record = resume(folder, Listener()).record
    assert any("it goes on, but not bit for bit" in message for message in said)
    assert record["status"] == "succeeded"
    assert record["bit_exact"] is False
    assert f"threads: {here + 1} → {here}" in record["not_bit_exact_because"][0]
