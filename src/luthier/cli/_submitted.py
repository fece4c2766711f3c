"""From what a person submits to a job's folder and its row."""

import secrets
from collections.abc import Sequence
from pathlib import Path

from luthier.errors import SettingsError
from luthier.jobs import request
from luthier.jobs.queue import Asked
from luthier.spec.folder import is_path
from luthier.spec.load import load_request, to_yaml
from luthier.spec.paths import absolute, anchored

DATA = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ".gz")


def asked(
    jobs: Path,
    what: str,
    settings: Sequence[str],
    model: str | None,
    data: Sequence[str],
    name: str | None,
    priority: int,
    after: Sequence[str],
    processes: int = 1,
) -> Asked:
    """Make a job's folder below `jobs`: a run's settings with every path absolute, or the files of a check.

    Raises:
        SettingsError: settings that are wrong; a check with settings of a run.
    """
    folder = jobs / secrets.token_hex(8)
    if what.endswith(DATA):
        if processes > 1:
            raise SettingsError(f"`--processes` has no effect on a check of {what}. Leave it out.")
        if model or data:
            raise SettingsError(f"{what} is a data file, which is checked. To train on it, write:  luthier jobs submit sft --data {what}")
        files = [what, *settings]
        request.write(folder, "check", files=[absolute(file) for file in files])
        return Asked("check", name or Path(what).name, str(folder), needs={"kind": "check"}, priority=priority, after=after)
    spec = anchored(load_request(what, settings, model=model, data=list(data) or None))
    request.write(folder, "train", run_file=to_yaml(spec.model_copy(update={"out": None})), processes=processes)
    told = name or f"{Path(spec.method.name).stem} on {Path(spec.data.train[0].path).name if spec.data.train else 'nothing'}"
    method = {} if is_path(spec.method.name) else {"method": spec.method.name}
    needs = {"kind": "train", **method, **({"devices": processes} if processes > 1 else {})}
    return Asked("train", told, str(folder), needs=needs, priority=priority, after=after)
