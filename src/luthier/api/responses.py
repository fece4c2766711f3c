"""Responses: OpenAI's newer interface to the same models. What is stored can be read again and gone on from."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import Response, StreamingResponse

from luthier.accounts.audit import note
from luthier.api.answering import answers
from luthier.api.asking import begun, close, error_of, headers_of, model_of, unless_gone
from luthier.api.auth import Caller, may
from luthier.api.chat import STREAM, ask_of
from luthier.api.errors import ApiError, JsonResponse
from luthier.api.pages import After, Order, page
from luthier.api.platform import Here, Platform
from luthier.api.responses_request import ResponseRequest, Turn, as_chat, turns_of
from luthier.api.wire_responses import Answered, events
from luthier.spec.serving import Piece
from luthier.store.stored import Kept

router = APIRouter(prefix="/responses", tags=["Responses"])

Uses = Annotated[Caller, Depends(may("inference.use"))]
Reads = Annotated[Caller, Depends(may("stored.read"))]
Writes = Annotated[Caller, Depends(may("stored.write"))]

KIND = "response"
MOST_BEFORE = 200
"""Responses that one goes on from, each from the one before."""


@router.post("")
async def create(asked: ResponseRequest, caller: Uses, here: Here, request: Request) -> Response:
    """Answer an input."""
    before = await anyio.to_thread.run_sync(_before, asked, here, caller)
    turns = turns_of(asked)
    try:
        chat = as_chat(asked, [*before, *turns])
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    model = await anyio.to_thread.run_sync(model_of, chat.model, request, here, caller)
    wanted = await anyio.to_thread.run_sync(ask_of, chat, model, here, caller)
    answered = Answered(asked, asked.model or model.name, int(time.time()))
    pieces = answers(request, here, caller, model, wanted)

    async def keep() -> None:
        if asked.store is not False:
            await anyio.to_thread.run_sync(here.stored.keep, _kept(answered, turns, caller, request))

    if asked.stream:
        return StreamingResponse(_stream(answered, await begun(pieces), keep), media_type=STREAM, headers=headers_of(model))
    await unless_gone(request, lambda: _whole(answered, pieces))
    await keep()
    return JsonResponse(answered.wire(), headers=headers_of(model))


@router.get("/{response}")
def retrieve(response: str, caller: Reads, here: Here) -> dict[str, Any]:
    return _found(here, response, caller).body


@router.delete("/{response}")
def delete(response: str, caller: Writes, here: Here, request: Request) -> dict[str, Any]:
    here.stored.remove(_found(here, response, caller))
    note(here.database, caller, "responses.delete", response, {}, request.state.request_id)
    return {"id": response, "object": "response.deleted", "deleted": True}


@router.get("/{response}/input_items")
def input_items(
    response: str,
    caller: Reads,
    here: Here,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Order = "desc",
    after: After = None,
) -> dict[str, Any]:
    """What it was asked, the newest first."""
    kept = _found(here, response, caller)
    items = [_item(kept.id, number, turn) for number, turn in enumerate(kept.request["turns"])]
    items = items if order == "asc" else items[::-1]
    place = next((number + 1 for number, item in enumerate(items) if item["id"] == after), 0)
    return page(items[place : place + limit + 1], limit, ends=True)


async def _whole(answered: Answered, pieces: AsyncIterator[Piece]) -> None:
    try:
        async for piece in pieces:
            if piece.error is not None:
                raise error_of(piece.error)
            answered.add(piece)
    finally:
        await close(pieces)


async def _stream(answered: Answered, pieces: AsyncIterator[Piece], keep: Any) -> AsyncIterator[str]:
    try:
        held: str | None = None
        async for told in events(answered, pieces):
            if held is not None:
                yield held
            held = told
        if answered.usage is not None:
            await keep()  # before the last event: what a client was told is there can be gone on from
        if held is not None:
            yield held
    finally:
        await close(pieces)


def _before(asked: ResponseRequest, here: Platform, caller: Caller) -> list[Turn]:
    """The turns of the responses that this one goes on from, the oldest first."""
    turns: list[Turn] = []
    previous = asked.previous_response_id
    for _ in range(MOST_BEFORE):
        if previous is None:
            break
        kept = here.stored.get(caller.project, KIND, previous)
        if kept is None:
            raise ApiError(400, f"Previous response with id '{previous}' not found.", "previous_response_id", "previous_response_not_found")
        turns = [*kept.request["turns"], *kept.request["answer"], *turns]
        previous = kept.body.get("previous_response_id")
    return turns


def _kept(answered: Answered, turns: list[Turn], caller: Caller, request: Request) -> Kept:
    choice = answered.choice
    answer: Turn = {"role": "assistant", "content": choice.text, **({"tool_calls": choice.tool_calls} if choice.tool_calls else {})}
    return Kept(
        id=answered.id,
        project=caller.project,
        kind=KIND,
        model=answered.model,
        request={"turns": turns, "answer": [answer]},
        body=answered.wire(),
        request_id=request.state.request_id,
        metadata=answered.asked.metadata,
    )


def _found(here: Platform, response: str, caller: Caller) -> Kept:
    kept = here.stored.get(caller.project, KIND, response)
    if kept is None:
        raise ApiError(404, f"Response with id '{response}' not found.")
    return kept


def _item(response: str, number: int, turn: Turn) -> dict[str, Any]:
    identifier = f"msg_{response.removeprefix('resp_')}{number}"
    if turn["role"] == "tool":
        return {
            "id": identifier,
            "type": "function_call_output",
            "call_id": turn["tool_call_id"],
            "output": turn["content"],
            "status": "completed",
        }
    kind = "output_text" if turn["role"] == "assistant" else "input_text"
    content = [{"type": kind, "text": turn.get("content") or ""}]
    return {"id": identifier, "type": "message", "role": turn["role"], "content": content, "status": "completed"}
