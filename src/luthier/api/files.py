"""Files: uploaded, listed, read, deleted."""

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from luthier.accounts.audit import note
from luthier.api.auth import Caller, may
from luthier.api.errors import RETRY_AFTER_S, ApiError
from luthier.api.multipart import Form, read_form, too_large
from luthier.api.pages import After, Order, page
from luthier.api.platform import Here, Platform
from luthier.api.validation import shown
from luthier.store.blobs import BlobGone, Chunks, StorageError, StorageFull, TooLarge
from luthier.store.files import BadName, File, FileNotFound
from luthier.store.uploads import UploadNotFound, UploadRefused

PURPOSES = ("fine-tune", "assistants", "batch", "user_data", "vision", "evals")
"""What a file can be uploaded for. Jobs make some of other purposes."""
JSONL_FOR = {"fine-tune": "Fine-Tuning", "batch": "Batch"}
"""Purposes that need a name in .jsonl, and what of OpenAI's says so."""
EXPIRES_S = range(3600, 2_592_000 + 1)
"""Seconds from a file's creation to its end."""
FORM_FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")

UPLOAD_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": list(PURPOSES)},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer", "minimum": EXPIRES_S[0], "maximum": EXPIRES_S[-1]},
                    },
                }
            }
        },
    }
}

log = logging.getLogger(__name__)

router = APIRouter(tags=["Files"])

NO_ROOM = "There is no room left on this server. Nothing of this was kept. Ask who runs it to make room, then send it again."
STORE_FAILS = "The store of files fails at the moment. Nothing of this was kept. Try again."


class ExpiresAfter(BaseModel):
    """When a file ends: so many seconds after it was made."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=EXPIRES_S[0], le=EXPIRES_S[-1])]


Reader = Annotated[Caller, Depends(may("files.read"))]
Writer = Annotated[Caller, Depends(may("files.write"))]


@router.post("/files", openapi_extra=UPLOAD_FORM)
async def create(request: Request, caller: Writer, here: Here) -> dict[str, Any]:
    """Upload a file, as a form with `file` and `purpose`."""
    with telling(), await run_in_threadpool(here.blobs.begin, here.files.most_bytes) as incoming:
        form = await read_form(request, "file", incoming.write, here.files.most_bytes)
        asked = _checked(form, incoming.bytes)

        def kept() -> File:
            refuse_over_quota(here, caller, incoming.bytes)
            file = here.files.add(caller.project, asked.filename, asked.purpose, incoming.finish(), asked.expires_after_s)
            note_new(here, caller, file, request)
            return file

        return wire(await run_in_threadpool(kept))


@router.get("/files")
def list_files(
    caller: Reader,
    here: Here,
    purpose: Annotated[str | None, Query(pattern="^[a-z_-]{1,64}$")] = None,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Order = "desc",
) -> dict[str, Any]:
    """All files, or those of a purpose, the newest first."""
    with telling("after"):
        found = here.files.list(caller.project, purpose, after, limit + 1, order)
    return page([wire(file) for file in found], limit, ends=True)


@router.get("/files/{file_id}")
def retrieve(file_id: str, caller: Reader, here: Here) -> dict[str, Any]:
    with telling():
        return wire(here.files.find(caller.project, file_id))


@router.get("/files/{file_id}/content", response_class=StreamingResponse)
def content(file_id: str, caller: Reader, here: Here) -> StreamingResponse:
    """Its bytes, as they were sent."""
    with telling():
        file = here.files.find(caller.project, file_id)
        chunks = here.blobs.open(file.sha256)
    headers = {
        "content-disposition": disposition(file.filename),
        "content-length": str(file.bytes),
        "x-content-type-options": "nosniff",  # nobody's browser takes what somebody uploaded for a page of ours
    }
    return StreamingResponse(_sent(chunks), media_type="application/octet-stream", headers=headers)


@router.delete("/files/{file_id}")
def remove(file_id: str, caller: Writer, here: Here, request: Request) -> dict[str, Any]:
    """Delete a file. A job that was made with it keeps what it needs of it."""
    with telling():
        here.files.delete(caller.project, file_id)
    note(here.database, caller, "files.delete", file_id, {}, request.state.request_id)
    return {"object": "file", "deleted": True, "id": file_id}


def wire(file: File) -> dict[str, Any]:
    """A file as OpenAI tells it."""
    return {
        "object": "file",
        "id": file.id,
        "purpose": file.purpose,
        "filename": file.filename,
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "expires_at": None if file.expires_at is None else int(file.expires_at),
        "status": "processed",
        "status_details": None,
    }


def check_purpose(purpose: str, filename: str) -> None:
    """Raises `ApiError`."""
    if purpose not in PURPOSES:
        raise ApiError(400, f"{shown(purpose)} is not one of {list(PURPOSES)} - 'purpose'", "purpose")
    if purpose in JSONL_FOR and not filename.lower().endswith(".jsonl"):
        raise ApiError(400, f"Invalid file format for {JSONL_FOR[purpose]} API. Must be .jsonl")


def refuse_over_quota(here: Platform, caller: Caller, size: int) -> None:
    """Raises `ApiError` where the project may not have so many bytes more."""
    if why := here.accounts.may_store(caller.project, size):
        raise ApiError(429, why, code="quota_exceeded", type="insufficient_quota", headers={"x-should-retry": "false"})


def note_new(here: Platform, caller: Caller, file: File, request: Request) -> None:
    """Write down that somebody uploaded a file, and what."""
    what = {"filename": file.filename, "purpose": file.purpose, "bytes": file.bytes, "sha256": file.sha256}
    note(here.database, caller, "files.create", file.id, what, request.state.request_id)


def disposition(filename: str) -> str:
    """A file's name for whoever saves it, after RFC 6266: plain as far as that goes, and as it is."""
    plain = "".join(letter if letter.isascii() and letter.isprintable() and letter not in '"\\%' else "_" for letter in filename)
    exact = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='')}"
    return f'attachment; filename="{plain}"{exact}'


@contextmanager
def telling(param: str = "id") -> Iterator[None]:
    """Within it, what the store of files refuses is an `ApiError`. `param`: which one names a file."""
    try:
        yield
    except FileNotFound as error:
        raise ApiError(404 if param == "id" else 400, str(error), param) from error
    except UploadNotFound as error:
        raise ApiError(404, str(error), "upload_id") from error
    except UploadRefused as error:
        raise ApiError(400, str(error), error.param) from error
    except BadName as error:
        raise ApiError(400, str(error), "filename") from error
    except TooLarge as error:
        raise too_large(error.limit) from error
    except StorageFull as error:
        log.error("%s", error)  # with the folder, which is nobody's business outside
        # To send it twice more, as clients do after a server's error, would not make room.
        raise ApiError(507, NO_ROOM, code="insufficient_storage", type="server_error", headers={"x-should-retry": "false"}) from error
    except BlobGone as error:
        raise ApiError(503, str(error), code="file_gone", type="server_error", headers={"retry-after": str(RETRY_AFTER_S)}) from error
    except StorageError as error:
        log.error("%s", error)
        raise ApiError(
            503, STORE_FAILS, code="storage_unavailable", type="server_error", headers={"retry-after": str(RETRY_AFTER_S)}
        ) from error


@dataclass(frozen=True)
class _Asked:
    filename: str
    purpose: str
    expires_after_s: int | None


def _checked(form: Form, size: int) -> _Asked:
    """What is asked for. Raises `ApiError`."""
    for name in form.fields:
        if name not in FORM_FIELDS:
            raise ApiError(400, f"Unrecognized request argument supplied: {shown(name)[1:-1]}", name)
    if not form.has_file:
        raise ApiError(400, "'file' is a required property", "file")
    if form.filename is None:
        raise ApiError(400, "The file has no name. Send it with one, such as train.jsonl.", "file")
    if "purpose" not in form.fields:
        raise ApiError(400, "'purpose' is a required property", "purpose")
    check_purpose(form.fields["purpose"], form.filename)
    if not size:
        raise ApiError(400, "The file is empty.", "file")
    return _Asked(form.filename, form.fields["purpose"], _expires_after_s(form.fields))


def _expires_after_s(fields: Mapping[str, str]) -> int | None:
    """Raises `ApiError`."""
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise ApiError(400, f"{shown(anchor)} is not one of ['created_at'] - 'expires_after.anchor'", "expires_after.anchor")
    if seconds is None or not seconds.isdecimal() or not seconds.isascii():
        raise ApiError(400, f"{shown(seconds)} is not of type 'integer' - 'expires_after.seconds'", "expires_after.seconds")
    number = int(seconds[:20])  # longer ones are too large anyway
    if number not in EXPIRES_S:
        least, most = EXPIRES_S[0], EXPIRES_S[-1]
        why = f"less than the minimum of {least}" if number < least else f"greater than the maximum of {most}"
        raise ApiError(400, f"{number} is {why} - 'expires_after.seconds'", "expires_after.seconds")
    return int(seconds)


async def _sent(chunks: Chunks) -> AsyncIterator[bytes]:
    try:
        while (chunk := await run_in_threadpool(next, chunks, None)) is not None:
            yield chunk
    finally:
        chunks.close()
