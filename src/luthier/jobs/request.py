"""What a job is asked to do, as files in its folder: everything that its process needs to know."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import UserError
from luthier.spec.comparisons import Contest
from luthier.spec.tuning import Tuning

FILE, RUN_FILE, RUN = "job.json", "request.yaml", "run"
"""The request; for a training, its settings, and the run's folder."""

KINDS = ("train", "check", "tune", "compare")


class RequestError(UserError):
    """A job's folder that does not say what to do."""


@dataclass(frozen=True)
class Request:
    """`files`: of a check. `tuning`: of an OpenAI fine-tuning job. `processes`: that train together. `contest`: of a comparison."""

    kind: str
    files: tuple[str, ...] = ()
    tuning: Tuning | None = None
    processes: int = 1
    contest: Contest | None = None


def write(
    folder: Path,
    kind: str,
    run_file: str | None = None,
    files: Sequence[str] = (),
    tuning: Tuning | None = None,
    processes: int = 1,
    contest: Contest | None = None,
) -> None:
    """Make a job's folder. A run file's text stands in it as it is; nobody changes it any more. Of a `tune` it is made by validation.

    The request comes last, and whole: a folder without one was not made to its end, and is made again.

    Raises:
        FileExistsError: there is a request. OSError: it cannot be written; nothing of it is left.
    """
    if (folder / FILE).exists():
        raise FileExistsError(f"{folder / FILE} is there already.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if run_file is not None:
            (folder / RUN_FILE).write_text(run_file, encoding="utf-8")
        several = {"processes": processes} if processes > 1 else {}
        inner = {name: spec.model_dump(mode="json") for name, spec in (("tuning", tuning), ("contest", contest)) if spec is not None}
        partial = folder / f".{FILE}.partial"
        with partial.open("w", encoding="utf-8") as file:
            json.dump({"kind": kind, "files": list(files), **several, **inner}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / FILE)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def read(folder: Path) -> Request:
    """Raises `RequestError` where there is none."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        tuning = Tuning.model_validate(found["tuning"]) if "tuning" in found else None
        contest = Contest.model_validate(found["contest"]) if "contest" in found else None
        request = Request(found["kind"], tuple(found["files"]), tuning, int(found.get("processes", 1)), contest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{folder} holds no job that can be read ({error}). Jobs are made by `luthier jobs submit`.") from error
    if request.kind not in KINDS:
        raise RequestError(f"{folder / FILE} asks for {request.kind}, which this version does not know. Update Luthier on this machine.")
    return request
