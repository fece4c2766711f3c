"""Answers of chat models in the shapes that OpenAI's clients read, whole or as a stream."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from luthier.api.asking import error_of
from luthier.api.errors import ApiError, envelope
from luthier.spec.serving import Piece, Token, Usage


@dataclass
class Choice:
    """One answer, as far as it has come."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    finish: str | None = None


@dataclass(frozen=True)
class Head:
    """What every part of one completion says."""

    id: str
    model: str
    created: int
    fingerprint: str

    def told(self, object: str) -> dict[str, Any]:
        return {"id": self.id, "object": object, "created": self.created, "model": self.model, "system_fingerprint": self.fingerprint}


async def collected(pieces: AsyncIterator[Piece], n: int) -> tuple[list[Choice], Usage]:
    """All answers of one ask, whole. Raises `ApiError` where one fails."""
    choices = [Choice() for _ in range(n)]
    async for piece in pieces:
        if piece.error is not None:
            raise error_of(piece.error)
        choice = choices[piece.index]
        choice.text += piece.text
        choice.tokens += piece.tokens
        choice.tool_calls += piece.tool_calls
        choice.finish = piece.finish_reason or choice.finish
        if piece.usage is not None:
            return choices, piece.usage
    raise ApiError(500, "The answer broke off.", type="server_error")


def completion(head: Head, choices: list[Choice], usage: Usage, logprobs: bool) -> dict[str, Any]:
    """A whole chat completion."""
    return {
        **head.told("chat.completion"),
        "choices": [
            {
                "index": index,
                "message": message(choice),
                "logprobs": {"content": [token_wire(token) for token in choice.tokens], "refusal": None} if logprobs else None,
                "finish_reason": choice.finish,
            }
            for index, choice in enumerate(choices)
        ],
        "usage": usage_wire(usage),
        "service_tier": "default",
    }


def message(choice: Choice) -> dict[str, Any]:
    """What the assistant said."""
    calls = {"tool_calls": choice.tool_calls} if choice.tool_calls else {}
    text = choice.text if choice.text or not choice.tool_calls else None
    return {"role": "assistant", "content": text, "refusal": None, "annotations": [], **calls}


async def chunks(head: Head, pieces: AsyncIterator[Piece], n: int, logprobs: bool, usage: bool) -> AsyncIterator[str]:
    """A chat completion as server-sent events, up to `[DONE]`; one that fails on the way ends with its error instead."""
    whole = {"usage": None} if usage else {}

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None, tokens: tuple[Token, ...] = ()) -> str:
        told = {"content": [token_wire(token) for token in tokens], "refusal": None} if logprobs and tokens else None
        choice = {"index": index, "delta": delta, "logprobs": told, "finish_reason": finish}
        return event({**head.told("chat.completion.chunk"), "choices": [choice], **whole})

    for index in range(n):
        yield chunk(index, {"role": "assistant", "content": "", "refusal": None})
    async for piece in pieces:
        if piece.error is not None:
            error = error_of(piece.error)
            yield event(envelope(error.message, error.type, error.param, error.code))
            return
        if piece.text or piece.tokens:
            yield chunk(piece.index, {"content": piece.text}, tokens=piece.tokens)
        if piece.tool_calls:
            yield chunk(piece.index, {"tool_calls": [{"index": i, **call} for i, call in enumerate(piece.tool_calls)]})
        if piece.finish_reason is not None:
            yield chunk(piece.index, {}, piece.finish_reason)
        if piece.usage is not None and usage:
            yield event({**head.told("chat.completion.chunk"), "choices": [], "usage": usage_wire(piece.usage)})
    yield "data: [DONE]\n\n"


def event(value: Any) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(',', ':'))}\n\n"


def token_wire(token: Token) -> dict[str, Any]:
    return {**_bare(token), "top_logprobs": [_bare(other) for other in token.top]}


def _bare(token: Token) -> dict[str, Any]:
    shown = token.bytes.decode("utf-8", "replace") if token.bytes else token.text
    return {"token": shown, "logprob": _finite(token.logprob), "bytes": list(token.bytes)}


def _finite(logprob: float | None) -> float:
    """What can never be drawn is told as OpenAI tells it."""
    return max(logprob if logprob is not None else 0.0, -9999.0)


def usage_wire(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
