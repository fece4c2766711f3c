"""What a job is asked to do, as files in its folder: everything that its process needs to know."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import UserError

FILE, RUN_FILE, RUN = "job.json", "request.yaml", "run"
"""The request; for a training, its settings, and the run's folder."""

KINDS = ("train", "check")


class RequestError(UserError):
    """A job's folder that does not say what to do."""


@dataclass(frozen=True)
class Request:
    """`files`: of a check."""

    kind: str
    files: tuple[str, ...] = ()


def write(folder: Path, kind: str, run_file: str | None = None, files: Sequence[str] = ()) -> None:
    """Make a job's folder. A run file's text stands in it as it is; nobody changes it any more.

    Raises:
        FileExistsError: the folder is there.
    """
    folder.mkdir(parents=True)
    try:
        if run_file is not None:
            (folder / RUN_FILE).write_text(run_file, encoding="utf-8")
        (folder / FILE).write_text(json.dumps({"kind": kind, "files": list(files)}), encoding="utf-8")
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def read(folder: Path) -> Request:
    """Raises `RequestError` where there is none."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        request = Request(found["kind"], tuple(found["files"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{folder} holds no job that can be read ({error}). Jobs are made by `luthier jobs submit`.") from error
    if request.kind not in KINDS:
        raise RequestError(f"{folder / FILE} asks for {request.kind}, which this version does not know. Update Luthier on this machine.")
    return request
