"""Completions: text that is gone on with, and how likely each token of it was; what evaluation harnesses ask."""

import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Request
from pydantic import Field, model_validator
from starlette.responses import Response, StreamingResponse

from luthier.api.answering import answers
from luthier.api.asking import ask, begun, close, drawn, error_of, fingerprint, headers_of, model_of, unless_gone
from luthier.api.auth import Caller, may
from luthier.api.chat import STREAM
from luthier.api.chat_request import IGNORED, Drawn
from luthier.api.errors import ApiError, JsonResponse, envelope
from luthier.api.platform import Here
from luthier.api.wire_chat import Head, event, usage_wire
from luthier.api.wire_completions import Written, choice_wire
from luthier.spec.serving import Ask, Piece, Usage
from luthier.store.ids import new

router = APIRouter(prefix="/completions", tags=["Completions"])

Uses = Annotated[Caller, Depends(may("inference.use"))]

USUAL_TOKENS = 16
MOST_PROMPTS = 256
MOST_LOGPROBS = 20

TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class CompletionRequest(Drawn):
    """POST /v1/completions. `prompt`: a text, token ids, or several of either, each answered on its own."""

    prompt: str | Annotated[list[str] | list[TokenIds] | TokenIds, Field(min_length=1, max_length=MOST_PROMPTS)] = ""
    max_tokens: Annotated[int | None, Field(ge=0)] = None
    logprobs: Annotated[int | None, Field(ge=0, le=MOST_LOGPROBS)] = None
    echo: bool | None = None
    best_of: Annotated[int | None, Field(ge=1, le=20)] = None
    suffix: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_the_ignored(cls, given: Any) -> Any:
        return {key: value for key, value in given.items() if key not in IGNORED} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _can_be_done(self) -> "CompletionRequest":
        if self.suffix:
            raise ValueError("This server does not insert text: leave 'suffix' out.")
        if self.best_of is not None and self.best_of > (self.n or 1):
            raise ValueError("This server draws as many answers as it returns: 'best_of' can be no more than 'n'.")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        given = self.prompt
        if isinstance(given, str):
            return [given]
        return [given] if isinstance(given[0], int) else list(given)


@router.post("")
async def create(asked: CompletionRequest, caller: Uses, here: Here, request: Request) -> Response:
    """Go on with each prompt."""
    model = await anyio.to_thread.run_sync(model_of, asked.model, request, here, caller)
    common = partial(
        ask,
        here,
        model,
        max_tokens=USUAL_TOKENS if asked.max_tokens is None else asked.max_tokens,
        top_logprobs=asked.logprobs,
        echo=bool(asked.echo),
        **drawn(asked, caller),
    )
    asks = [await anyio.to_thread.run_sync(partial(common, prompt=prompt)) for prompt in asked.prompts]
    answer = partial(answers, request, here, caller, model)
    head = Head(new("cmpl-", 29), asked.model or model.name, int(time.time()), fingerprint(model))
    if not asked.stream:
        body = await unless_gone(request, lambda: _whole(head, asks, answer, asked.logprobs is not None))
        return JsonResponse(body, headers=headers_of(model))
    if len(asks) > 1:
        raise ApiError(400, "Only one prompt can be streamed at a time. - 'prompt'", "prompt")
    pieces = await begun(answer(asks[0]))
    usage = bool(asked.stream_options and asked.stream_options.include_usage)
    chunks = _chunks(head, pieces, asks[0].n, asked.logprobs is not None, usage)
    return StreamingResponse(chunks, media_type=STREAM, headers=headers_of(model))


async def _whole(head: Head, asks: list[Ask], answer: Any, logprobs: bool) -> dict[str, Any]:
    """All prompts at once: the sampler draws them side by side."""
    done: list[tuple[list[Written], Usage] | None] = [None] * len(asks)

    async def one(index: int, wanted: Ask) -> None:
        done[index] = await _written(answer(wanted), wanted.n)

    try:
        async with anyio.create_task_group() as group:
            for index, wanted in enumerate(asks):
                group.start_soon(one, index, wanted)
    except* ApiError as errors:
        raise errors.exceptions[0] from None
    answered = [pair for pair in done if pair is not None]
    total = Usage(*(sum(getattr(usage, name) for _, usage in answered) for name in Usage.__struct_fields__))
    choices = [written for writtens, _ in answered for written in writtens]
    return {
        **head.told("text_completion"),
        "choices": [choice_wire(written, index, logprobs) for index, written in enumerate(choices)],
        "usage": usage_wire(total),
    }


async def _written(pieces: AsyncIterator[Piece], n: int) -> tuple[list[Written], Usage]:
    answers = [Written() for _ in range(n)]
    try:
        async for piece in pieces:
            if piece.error is not None:
                raise error_of(piece.error)
            answers[piece.index].add(piece)
            if piece.usage is not None:
                return answers, piece.usage
    finally:
        await close(pieces)
    raise ApiError(500, "The answer broke off.", type="server_error")


async def _chunks(head: Head, pieces: AsyncIterator[Piece], n: int, logprobs: bool, usage: bool) -> AsyncIterator[str]:
    told = [0] * n
    async for piece in pieces:
        if piece.error is not None:
            error = error_of(piece.error)
            yield event(envelope(error.message, error.type, error.param, error.code))
            return
        written = Written(offset=told[piece.index])
        written.add(piece)
        told[piece.index] += len(written.text)
        if written.text or written.tokens or written.finish:
            yield event({**head.told("text_completion"), "choices": [choice_wire(written, piece.index, logprobs)]})
        if piece.usage is not None and usage:
            yield event({**head.told("text_completion"), "choices": [], "usage": usage_wire(piece.usage)})
    yield "data: [DONE]\n\n"
