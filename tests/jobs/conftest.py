"""A queue on a database of its own, and jobs that check a small file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.jobs import request
from luthier.jobs.queue import Asked, Queue
from luthier.store.database import Database

MakeJob = Callable[..., Asked]


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


@pytest.fixture
def a_check(tmp_path: Path, toy_rows: Path) -> MakeJob:
    """Makes the folder of a check of 8 rows, or of `files`."""
    made = iter(range(1000))

    def make(*files: str, **asked: object) -> Asked:
        folder = tmp_path / "jobs" / str(next(made))
        request.write(folder, "check", files=files or [str(toy_rows)])
        return Asked("check", "rows", str(folder), needs={"kind": "check"}, **asked)  # type: ignore[arg-type]

    return make
