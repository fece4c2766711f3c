"""Uploads: files that come in parts."""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from luthier.accounts.audit import note
from luthier.api.errors import ApiError
from luthier.api.files import ExpiresAfter, Writer, check_purpose, note_new, refuse_over_quota, telling, wire
from luthier.api.multipart import read_form
from luthier.api.platform import Here
from luthier.store.uploads import MOST_BYTES, MOST_PART_BYTES, Upload

MOST_PARTS = 10_000

PART_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["data"],
                    "additionalProperties": False,
                    "properties": {"data": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}

router = APIRouter(tags=["Uploads"])


class NewUpload(BaseModel):
    """A file that will come in parts."""

    model_config = ConfigDict(extra="forbid")

    filename: str
    purpose: str
    bytes: Annotated[int, Field(ge=1, le=MOST_BYTES, strict=True)]
    mime_type: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[!-~ ]+$")]
    expires_after: ExpiresAfter | None = None


class Completed(BaseModel):
    """The parts, in the order in which they make the file."""

    model_config = ConfigDict(extra="forbid")

    part_ids: Annotated[list[str], Field(min_length=1, max_length=MOST_PARTS)]
    md5: Annotated[str | None, Field(pattern="^[0-9A-Fa-f]{32}$")] = None


@router.post("/uploads")
def create(asked: NewUpload, caller: Writer, here: Here, request: Request) -> dict[str, Any]:
    """Begin an upload. It ends within an hour, completed or not."""
    check_purpose(asked.purpose, asked.filename)
    expires_after_s = asked.expires_after.seconds if asked.expires_after else None
    refuse_over_quota(here, caller, asked.bytes)
    with telling():
        upload = here.uploads.create(caller.project, asked.filename, asked.purpose, asked.mime_type, asked.bytes, expires_after_s)
    what = {"filename": asked.filename, "purpose": asked.purpose, "bytes": asked.bytes}
    note(here.database, caller, "uploads.create", upload.id, what, request.state.request_id)
    return wire_upload(upload)


@router.post("/uploads/{upload_id}/parts", openapi_extra=PART_FORM)
async def add_part(upload_id: str, request: Request, caller: Writer, here: Here) -> dict[str, Any]:
    """Send a part of at most 64 MB, as a form with `data`."""
    with telling():
        await run_in_threadpool(here.uploads.get, caller.project, upload_id)
        with await run_in_threadpool(here.blobs.begin, MOST_PART_BYTES) as incoming:
            form = await read_form(request, "data", incoming.write, MOST_PART_BYTES)
            if form.fields:
                raise ApiError(400, f"Unrecognized request argument supplied: {next(iter(form.fields))}", next(iter(form.fields)))
            if not incoming.bytes:
                raise ApiError(400, "'data' is a required property" if not form.has_file else "The part is empty.", "data")
            part = await run_in_threadpool(lambda: here.uploads.add_part(caller.project, upload_id, incoming.finish()))
    return {"id": part.id, "object": "upload.part", "created_at": int(part.created_at), "upload_id": upload_id}


@router.post("/uploads/{upload_id}/complete")
def complete(upload_id: str, asked: Completed, caller: Writer, here: Here, request: Request) -> dict[str, Any]:
    """Join the parts into a file."""
    with telling():
        begun = here.uploads.get(caller.project, upload_id)
        if begun.status == "pending":
            refuse_over_quota(here, caller, begun.bytes)
        upload, file = here.uploads.complete(caller.project, upload_id, asked.part_ids, asked.md5)
    note_new(here, caller, file, request)
    return wire_upload(upload) | {"file": wire(file)}


@router.post("/uploads/{upload_id}/cancel")
def cancel(upload_id: str, caller: Writer, here: Here, request: Request) -> dict[str, Any]:
    """End an upload; its parts are deleted."""
    with telling():
        upload = here.uploads.cancel(caller.project, upload_id)
    note(here.database, caller, "uploads.cancel", upload_id, {}, request.state.request_id)
    return wire_upload(upload)


def wire_upload(upload: Upload) -> dict[str, Any]:
    """An upload as OpenAI tells it."""
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": int(upload.created_at),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status,
        "expires_at": int(upload.expires_at),
    }
