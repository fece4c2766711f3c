"""A disk that is full or cannot be written to: a sentence, what was there stays, and the run goes on once there is room."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.engine.runs import spec_of, steps_of, weights_of

from luthier.engine import checkpoint
from luthier.engine.folder import RunFolder
from luthier.errors import RunError
from luthier.recipes.run import Run
from luthier.recipes.train import resume, train
from luthier.spec.load import load_run
from luthier.spec.run import RunSpec

PAGE = 4096


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A memory file system mounted at `folder`; skips where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or not Path("/proc/mounts").exists():
        pytest.skip("only root on Linux can mount a small disk")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.fixture(scope="module", params=["lora", "full"])
def whole(request: pytest.FixtureRequest, toy_folder: Path, toy_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run as it is where there is room."""
    more = {"adapter": {"name": "lora", "rank": 4} if request.param == "lora" else "full", "checkpoints": {"every": 2}}
    return train(spec_of(toy_folder, toy_rows, tmp_path_factory.mktemp("whole") / request.param, **more))


def pages_of(run: Run) -> int:
    files = [path for path in run.path.rglob("*") if path.is_file()]
    return sum(-(-path.stat().st_size // PAGE) for path in files)


def assert_survives(whole: Run, tmp_path: Path, pages: int) -> bool:
    """Train on a disk of so many pages. Whether it was full: then whatever was written before is whole, and with room the run goes on."""
    settings = whole_settings(whole)
    with small_disk(tmp_path / str(pages), f"size={pages * PAGE}") as disk:
        folder = RunFolder(disk / "run")
        if (sentence := refused(spec_of(**settings, out=folder.path))) is None:
            return False
        assert "could not be written" in sentence or "cannot be written" in sentence
        states = [checkpoint.path_of(folder, step) for step in checkpoint.steps_kept(folder)]
        assert [checkpoint.find_damage(path) for path in states] == [None] * len(states)
        remount(disk, "size=64m")
        again = resume(folder.path) if folder.is_run else train(spec_of(**settings, out=folder.path))
        assert weights_of(again) == weights_of(whole)
        assert [line["loss"] for line in steps_of(again)] == [line["loss"] for line in steps_of(whole)]
        return True


def refused(spec: RunSpec) -> str | None:
    """The sentence with which a run ends, if it does not succeed."""
    try:
        train(spec)
    except RunError as error:
        return str(error)
    return None


def whole_settings(run: Run) -> dict:
    """The settings of a run, as `spec_of` takes them, but for its folder."""
    spec = load_run(str(run.folder.run_file))
    adapter = {"name": spec.adapter.name, **spec.adapter.settings}
    return {"model": spec.model.path, "rows": spec.data.train[0].path, "adapter": adapter, "checkpoints": {"every": 2}}


def test_a_disk_that_is_full_at_some_write(whole: Run, tmp_path: Path):
    total = pages_of(whole)
    full = [assert_survives(whole, tmp_path, pages) for pages in (1, total // 5, total // 2, total - 3)]
    assert all(full)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_disk_that_is_full_at_every_write(whole: Run, tmp_path: Path):
    """Each size from one page on, till everything fits."""
    pages = 1
    while assert_survives(whole, tmp_path, pages):
        pages += 1
    assert pages > 20


def test_a_read_only_folder(whole: Run, tmp_path: Path):
    said = r"cannot be written to .* Choose another folder"
    with small_disk(tmp_path / "disk", "size=1m,ro") as disk, pytest.raises(RunError, match=said):
        train(spec_of(**whole_settings(whole), out=disk / "run"))


def test_a_folder_that_became_read_only(whole: Run, tmp_path: Path):
    """A run that is resumed where nothing can be written any more: a sentence, and no file changed."""
    with small_disk(tmp_path / "disk", "size=8m") as disk:
        subprocess.run(["cp", "-r", str(whole.path), str(disk / "run")], check=True)
        (disk / "run/record.json").unlink()
        before = {path: path.read_bytes() for path in (disk / "run").rglob("*") if path.is_file()}
        remount(disk, "ro")
        with pytest.raises(RunError, match="cannot be written to"):
            resume(disk / "run")
        assert {path: path.read_bytes() for path in (disk / "run").rglob("*") if path.is_file()} == before
