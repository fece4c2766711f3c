"""What people say about answers: told, listed, and made into rows to learn from."""

import tempfile
from pathlib import Path
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request

from luthier.accounts.audit import note
from luthier.accounts.roles import RATER
from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.files import refuse_over_quota, telling
from luthier.api.pages import After, listed, metadata_of
from luthier.api.platform import Here, Platform
from luthier.errors import DataError
from luthier.feedback.export import export
from luthier.feedback.given import entry_of, plain, shown
from luthier.feedback.sheets import Sheet
from luthier.spec.feedback import (
    LEARNED_BY,
    Deleted,
    Export,
    ExportedFile,
    Feedback,
    FeedbackKind,
    LeftOut,
    NewExport,
    NewFeedback,
    RowKind,
    Unjudged,
)
from luthier.spec.wire import Page
from luthier.store.feedback import COMPLETION, Entry, Which
from luthier.store.stored import Kept

router = APIRouter(prefix="/feedback", tags=["Feedback"])

Reads = Annotated[Caller, Depends(may("feedback.read"))]
Writes = Annotated[Caller, Depends(may("feedback.write"))]
MakesFiles = Annotated[Caller, Depends(may("files.write"))]
Limit = Annotated[int, Query(ge=1, le=100)]

PREFIX = "feedback_"
MOST_EXPORTED = 100_000
"""Entries of one export: they are sorted in memory."""


@router.post("")
def create(asked: NewFeedback, caller: Writes, here: Here, request: Request) -> Feedback:
    """A thumb, scores, a ranking or a correction, of a stored completion or of answers that come with it."""
    named = [asked.completion] if asked.completion else asked.completions
    completions = [_completion(here, one, caller) for one in named]
    kept = here.feedback.add(entry_of(asked, completions, caller.project, caller.key))
    note(here.database, caller, "feedback.create", _id(kept), {"kind": kept.kind}, request.state.request_id)
    return _wire(kept, caller)


@router.get("")
def list_feedback(
    caller: Reads,
    here: Here,
    request: Request,
    kind: FeedbackKind | None = None,
    completion: Annotated[str | None, Query(description="What is about this stored completion.")] = None,
    model: Annotated[str | None, Query(description="What is about this model's answers.")] = None,
    rater: str | None = None,
    limit: Limit = 100,
    after: After = None,
) -> Page[Feedback]:
    """The newest first; with all of `metadata[key]=value`. A rater sees its own alone: nobody judges by what others said."""
    _refuse_unblinding(caller, model)
    which = Which(kind, completion, model, rater, _own(caller), metadata_of(request))
    before = _found(here, after, caller, "after").number if after is not None else None
    return listed([_wire(one, caller) for one in here.feedback.newest(caller.project, limit + 1, before, which)], limit)


@router.get("/completions")
def list_unjudged(
    caller: Reads,
    here: Here,
    model: Annotated[str | None, Query(description="Only answers of this model.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: After = None,
) -> Page[Unjudged]:
    """Stored completions of which this key has said nothing yet, the oldest first, without a word of who answered."""
    _refuse_unblinding(caller, model)
    found = here.feedback.unjudged(caller.project, caller.key, limit + 1, after, model)
    page = found[:limit]
    ids = (page[0].id, page[-1].id) if page else (None, None)
    told = [one for kept in page if (one := _unjudged(kept)) is not None]
    return Page(data=told, has_more=len(found) > limit, first_id=ids[0], last_id=ids[1])


@router.post("/exports")
def export_feedback(asked: NewExport, caller: MakesFiles, here: Here, request: Request) -> Export:
    """Make files of rows from feedback, which fine-tuning jobs take: thumbs for kto, preferences and rankings for dpo …"""
    which = Which(model=asked.model, rater=asked.rater, metadata=asked.metadata)
    entries = here.feedback.newest(caller.project, MOST_EXPORTED + 1, None, which)
    if len(entries) > MOST_EXPORTED:
        raise ApiError(400, f"This is more than {MOST_EXPORTED:,} entries. Export them in parts, by `model`, `rater` or `metadata`.")
    with tempfile.TemporaryDirectory(prefix="luthier-feedback-") as folder, telling():
        made = export(reversed(entries), Path(folder), asked.kinds)
        refuse_over_quota(here, caller, sum(sheet.file.stat().st_size for sheet in made.files.values()))
        files = [_kept(here, caller, name, sheet) for name, sheet in made.files.items()]
    details = {"feedback": made.read, "files": [file.id for file in files]}
    note(here.database, caller, "feedback.export", caller.project, details, request.state.request_id)
    left_out = [
        LeftOut(why=part.why, count=part.count, feedback=[place.replace(":", "_") for place in part.places]) for part in made.left_out
    ]
    return Export(feedback=made.read, files=files, left_out=left_out)


@router.get("/{feedback}")
def retrieve(feedback: str, caller: Reads, here: Here) -> Feedback:
    return _wire(_found(here, feedback, caller), caller)


@router.delete("/{feedback}")
def delete(feedback: str, caller: Writes, here: Here, request: Request) -> Deleted:
    """Take it back. A rater takes back its own."""
    found = _found(here, feedback, caller)
    here.feedback.remove(caller.project, found.number)
    note(here.database, caller, "feedback.delete", feedback, {}, request.state.request_id)
    return Deleted(object="feedback.deleted", id=_id(found))


def _completion(here: Platform, completion: str, caller: Caller) -> Kept:
    kept = here.stored.get(caller.project, COMPLETION, completion)
    if kept is None:
        raise ApiError(404, f"Completion {completion} not found. Only those that were asked with `store: true` are kept.", "completion")
    return kept


def _found(here: Platform, feedback: str, caller: Caller, param: str = "feedback") -> Entry:
    number = feedback.removeprefix(PREFIX)
    known = number.isascii() and number.isdecimal() and len(number) < 10
    found = here.feedback.get(caller.project, int(number)) if known else None
    if found is None or _own(caller) not in (None, found.key):
        status = 404 if param == "feedback" else 400
        raise ApiError(status, f"There is no feedback {feedback}.", param, "feedback_not_found")
    return found


def _refuse_unblinding(caller: Caller, model: str | None) -> None:
    """Raises `ApiError`: who picks by model learns who answered."""
    if caller.role == RATER and model is not None:
        raise ApiError(403, "A rater's key judges without knowing who answered. Leave `model` out.", "model", "permission_denied")


def _own(caller: Caller) -> str | None:
    """The key whose feedback alone the caller sees; None for all."""
    return caller.key if caller.role == RATER else None


def _kept(here: Platform, caller: Caller, name: str, sheet: Sheet) -> ExportedFile:
    """Rows as a file of the project."""
    kind = cast(RowKind, name)  # sheets are called as the kinds are
    file = here.files.add(caller.project, f"feedback-{name}.jsonl", "fine-tune", here.blobs.put_file(sheet.file))
    return ExportedFile(kind=kind, id=file.id, filename=file.filename, rows=sheet.rows, methods=list(LEARNED_BY[kind]))


def _id(entry: Entry) -> str:
    return f"{PREFIX}{entry.number}"


def _wire(entry: Entry, caller: Caller) -> Feedback:
    told = {name: value for name, value in vars(entry).items() if name not in ("number", "key", "said", "completions", "created_at")}
    told |= {"model": None} if caller.role == RATER else {}
    return Feedback(id=_id(entry), completions=list(entry.completions), created_at=int(entry.created_at), **told, **entry.said)


def _unjudged(kept: Kept) -> Unjudged | None:
    """What can be judged of it; None where it holds no text, but an image."""
    try:
        prompt, answers, functions = shown(kept)
    except DataError:
        return None
    told = [plain(one) for one in answers]
    return Unjudged(id=kept.id, prompt=plain(prompt), answers=told, tools=list(functions), created_at=int(kept.created_at))
