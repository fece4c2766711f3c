"""What to do with an account that was taken along: a script with a command for each job that runs it here."""

import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from luthier.arrivals.archive import FILE, Archive
from luthier.arrivals.documents import Document, flattened
from luthier.arrivals.settings import openai
from luthier.arrivals.sheet import Sheet
from luthier.arrivals.translate import finished
from luthier.errors import UserError

RUN_FILE = "run.yaml"
ASKED = ("training_file", "validation_file", "method", "seed", "metadata")
"""What of a job is asked again as it stands."""


def write(archive: Archive, platform: bool) -> None:
    """The script. `platform`: files have arrived on the platform, and jobs are asked of it; else each job gets a run file."""
    text = "\n".join([*_head(archive, platform), *(line for job in archive.jobs() for line in _job(archive, job, platform))])
    archive.next_steps.write_text(text + "\n", encoding="utf-8")
    archive.next_steps.chmod(0o700)


def _head(archive: Archive, platform: bool) -> Iterator[str]:
    yield "#!/bin/sh"
    yield "# The fine-tuning jobs of an OpenAI account, the oldest first, each as a command that runs it here on an open model."
    yield "# Nobody has run this. Read it, choose the model, then run it, whole or in parts. Tuned weights OpenAI does not hand out."
    yield "set -e"
    yield "MODEL=${MODEL:-starter}  # a model that `luthier models list` shows, a folder, or a Hugging Face id that is on this machine"
    if not platform:
        return
    yield "OPENAI_BASE_URL=${OPENAI_BASE_URL:-http://127.0.0.1:8321/v1}  # of `luthier serve`"
    yield ': "${LUTHIER_KEY:?Set it to a key of this platform, as luthier keys create --role member prints it.}"'
    yield ""
    yield "# Old names stand for the new model."
    bases = dict.fromkeys(str(job.get("model")) for job in archive.jobs() if not str(job.get("model")).startswith("ft:"))
    yield from (f'luthier models alias {shlex.quote(base)} "$MODEL"' for base in bases)


def _job(archive: Archive, job: dict[str, Any], platform: bool) -> Iterator[str]:
    when = datetime.fromtimestamp(float(job.get("created_at") or 0), UTC)
    kind = str((job.get("method") or {}).get("type") or "supervised")
    yield ""
    yield _comment(f"{job['id']}  {when:%Y-%m-%d}  {kind} on {job.get('model')}, {job.get('status')}")
    if job.get("status") != "succeeded":
        error = job.get("error") or {}
        yield _comment(f"not run again: {error.get('message') or job.get('status')}")
        return
    if platform:
        yield from _asked(job)
    else:
        yield from _trained(archive, job, str(job.get("model")))
    name = job.get("fine_tuned_model")
    if name and platform:
        yield _comment(f"when it has succeeded:  luthier models alias {shlex.quote(str(name))} NEW-NAME")
    elif name:
        yield _comment(f"it was called {name}")


def _asked(job: dict[str, Any]) -> Iterator[str]:
    """The same job of the platform, by its own interface: files have kept their ids."""
    if str(job.get("model")).startswith("ft:"):
        yield _comment(f"goes on from {job['model']}: let that name stand for its successor first")
    body = {"model": job.get("model"), **{key: job[key] for key in ASKED if job.get(key) is not None}}
    if not job.get("method") and job.get("hyperparameters"):
        body["hyperparameters"] = job["hyperparameters"]
    if job.get("user_provided_suffix"):
        body["suffix"] = job["user_provided_suffix"]
    yield 'curl -sS --fail-with-body "$OPENAI_BASE_URL/fine_tuning/jobs" -H "Authorization: Bearer $LUTHIER_KEY" \\'
    yield "  -H 'Content-Type: application/json' -d @- <<'END-OF-JOB'"
    yield json.dumps(body, ensure_ascii=True)
    yield "END-OF-JOB"
    yield "echo"


def _trained(archive: Archive, job: dict[str, Any], model: str) -> Iterator[str]:
    """A run file beside the job, and the command for it."""
    document = Document(f"{job['id']}/job.json", job, dict(flattened(job)))
    sheet = Sheet(document, openai.NAME)
    place = archive.place("job", str(job["id"])).absolute()
    try:
        openai.translate(sheet)
        for key, to in (("training_file", "data.train"), ("validation_file", "data.validation")):
            if job.get(key):
                sheet.values[to] = _content(archive, str(job[key]))
        sheet.values["out"] = str(archive.folder.absolute() / "runs" / place.name)
        (place / RUN_FILE).write_text(finished(sheet).text, encoding="utf-8")
    except UserError as error:
        yield _comment(f"no run file could be made: {error}")
        return
    if model.startswith("ft:"):
        yield _comment(f"it went on from {model}: set `adapter.start` to the run of that job")
    yield f'luthier train {shlex.quote(str(place / RUN_FILE))} --model "$MODEL"'


def _content(archive: Archive, file: str) -> str:
    """Where a file's content lies. Raises `UserError` where OpenAI did not hand it out."""
    entry = archive.has("file", file)
    contents = [part["path"] for part in (entry or {}).get("parts", ()) if not part["path"].endswith(FILE)]
    if not contents:
        raise UserError(f"its file {file} was not handed out")
    return str((archive.folder / contents[0]).absolute())


def _comment(text: str) -> str:
    """One line, whatever a name holds."""
    return "# " + " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
