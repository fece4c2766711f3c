"""Chat completions: a conversation in, the assistant's next turn out, whole or as it is drawn."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response, StreamingResponse

from luthier.api.answering import answers
from luthier.api.asking import ask, begun, close, drawn, fingerprint, headers_of, model_of, unless_gone
from luthier.api.auth import Caller, may
from luthier.api.chat_request import ChatMessage, ChatRequest, NamedTool
from luthier.api.errors import ApiError, JsonResponse
from luthier.api.platform import Here, Platform
from luthier.api.validation import shown
from luthier.api.wire_chat import Head, chunks, collected, completion
from luthier.spec.serving import ANY_OBJECT, Ask, Piece
from luthier.store.ids import new
from luthier.store.models import Model
from luthier.store.stored import Kept

router = APIRouter(prefix="/chat/completions", tags=["Chat"])

Uses = Annotated[Caller, Depends(may("inference.use"))]

STREAM = "text/event-stream; charset=utf-8"


@router.post("")
async def create(asked: ChatRequest, caller: Uses, here: Here, request: Request) -> Response:
    """Go on with a conversation."""
    model = await anyio.to_thread.run_sync(model_of, asked.model, request, here, caller)
    wanted = await anyio.to_thread.run_sync(ask_of, asked, model, here, caller)
    head = Head(new("chatcmpl-", 29), asked.model or model.name, int(time.time()), fingerprint(model))
    logprobs = bool(asked.logprobs)
    pieces = answers(request, here, caller, model, wanted)
    if not asked.stream:
        body = await unless_gone(request, lambda: _whole(head, pieces, wanted.n, logprobs))
        if asked.store:
            await _store(here, caller, request, asked, body)
        return JsonResponse(body, headers=headers_of(model))
    pieces = await begun(pieces)
    if asked.store:
        pieces = _storing(pieces, head, here, caller, request, asked)
    usage = bool(asked.stream_options and asked.stream_options.include_usage)
    return StreamingResponse(chunks(head, pieces, wanted.n, logprobs, usage), media_type=STREAM, headers=headers_of(model))


def ask_of(asked: ChatRequest, model: Model, here: Platform, caller: Caller) -> Ask:
    """What goes to the sampler. Raises `ApiError` for what it cannot read."""
    if any(message.has_media for message in asked.messages):
        raise ApiError(400, "This model reads text only: images, audio and files cannot be given.", "messages", "unsupported_content")
    return ask(
        here,
        model,
        messages=[_turn(message) for message in asked.messages],
        tools=[tool.model_dump(exclude_none=True) for tool in asked.tools or []],
        tool_choice=asked.tool_choice.model_dump() if isinstance(asked.tool_choice, NamedTool) else asked.tool_choice or "auto",
        max_tokens=asked.longest,
        top_logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
        json_schema=_schema(asked),
        template=_template(asked),
        **drawn(asked, caller),
    )


def _template(asked: ChatRequest) -> dict[str, Any]:
    """Arguments of the chat template. Raises `ApiError` for anything else under `luthier`."""
    given = dict(asked.luthier or {})
    template = given.pop("template", None) or {}
    if given:
        name = f"luthier.{next(iter(given))}"
        raise ApiError(400, f"Unrecognized request argument supplied: {name}", name)
    if not isinstance(template, dict):
        raise ApiError(400, f"{shown(template)} is not of type 'object' - 'luthier.template'", "luthier.template")
    return template


def _turn(message: ChatMessage) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.tool_calls:
        told["tool_calls"] = [call.model_dump() for call in message.tool_calls]
    for name in ("name", "tool_call_id"):
        if getattr(message, name) is not None:
            told[name] = getattr(message, name)
    return told


def _schema(asked: ChatRequest) -> dict[str, Any] | None:
    form = asked.response_format
    if form is None or form.type == "text":
        return None
    return form.json_schema.schema_ if form.json_schema is not None else ANY_OBJECT


async def _whole(head: Head, pieces: AsyncIterator[Piece], n: int, logprobs: bool) -> dict[str, Any]:
    try:
        choices, usage = await collected(pieces, n)
    finally:
        await close(pieces)
    return completion(head, choices, usage, logprobs)


async def _storing(
    pieces: AsyncIterator[Piece], head: Head, here: Platform, caller: Caller, request: Request, asked: ChatRequest
) -> AsyncIterator[Piece]:
    """The same pieces; once the last one has come, the whole is kept before it is told."""
    seen: list[Piece] = []
    try:
        async for piece in pieces:
            seen.append(piece)
            if piece.usage is not None:
                choices, usage = await collected(_again(seen), asked.n or 1)
                await _store(here, caller, request, asked, completion(head, choices, usage, bool(asked.logprobs)))
            yield piece
    finally:
        await close(pieces)


async def _again(seen: list[Piece]) -> AsyncIterator[Piece]:
    for piece in seen:
        yield piece


async def _store(here: Platform, caller: Caller, request: Request, asked: ChatRequest, body: dict[str, Any]) -> None:
    kept = Kept(
        id=body["id"],
        project=caller.project,
        kind="chat.completion",
        model=body["model"],
        metadata=asked.metadata,
        request=asked.model_dump(exclude_none=True, by_alias=True),
        body=body,
        request_id=request.state.request_id,
    )
    await anyio.to_thread.run_sync(here.stored.keep, kept)
