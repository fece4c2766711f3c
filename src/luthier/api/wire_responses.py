"""Responses in the shape that OpenAI's clients read: whole, or as events."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from luthier.api.asking import error_of
from luthier.api.responses_request import ResponseRequest
from luthier.api.wire_chat import Choice, token_wire
from luthier.spec.serving import Piece, Usage
from luthier.store.ids import new


@dataclass
class Answered:
    """A response as it comes: its request, the text so far, and the calls at its end."""

    asked: ResponseRequest
    model: str
    created: int
    id: str = field(default_factory=lambda: new("resp_", 48))
    message_id: str = field(default_factory=lambda: new("msg_", 48))
    choice: Choice = field(default_factory=Choice)
    usage: Usage | None = None

    def add(self, piece: Piece) -> None:
        self.choice.text += piece.text
        self.choice.tokens += piece.tokens
        self.choice.tool_calls += piece.tool_calls
        self.choice.finish = piece.finish_reason or self.choice.finish
        self.usage = piece.usage or self.usage

    def wire(self, status: str | None = None) -> dict[str, Any]:
        """The response. `status`: where it is not done yet."""
        cut = self.choice.finish == "length"
        asked = self.asked
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status or ("incomplete" if cut else "completed"),
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "model": self.model,
            "output": [] if status else self.output(),
            "parallel_tool_calls": True,
            "previous_response_id": asked.previous_response_id,
            "reasoning": {"effort": None, "summary": None},
            "store": asked.store is not False,
            "temperature": 1.0 if asked.temperature is None else asked.temperature,
            "text": {"format": (asked.text.format if asked.text else None) or {"type": "text"}},
            "tool_choice": asked.tool_choice or "auto",
            "tools": asked.tools or [],
            "top_p": 1.0 if asked.top_p is None else asked.top_p,
            "truncation": "disabled",
            "usage": self._usage(),
            "user": None,
            "metadata": dict(asked.metadata or {}),
        }

    def output(self) -> list[dict[str, Any]]:
        """The message, where there is one, and the calls."""
        said = [self.message("completed")] if self.choice.text or not self.choice.tool_calls else []
        return [*said, *(_call(call) for call in self.choice.tool_calls)]

    def message(self, status: str) -> dict[str, Any]:
        content = [] if status == "in_progress" else [self.part()]
        return {"id": self.message_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def part(self) -> dict[str, Any]:
        logprobs = [token_wire(token) for token in self.choice.tokens]
        return {"type": "output_text", "text": self.choice.text, "annotations": [], "logprobs": logprobs}

    def _usage(self) -> dict[str, Any] | None:
        if self.usage is None:
            return None
        return {
            "input_tokens": self.usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": self.usage.cached_tokens},
            "output_tokens": self.usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.usage.prompt_tokens + self.usage.completion_tokens,
        }


async def events(answered: Answered, pieces: AsyncIterator[Piece]) -> AsyncIterator[str]:
    """The response as server-sent events, each numbered; the last one holds all of it, or why it failed."""
    number = -1

    def event(kind: str, **fields: Any) -> str:
        nonlocal number
        number += 1
        body = json.dumps({"type": kind, "sequence_number": number, **fields}, ensure_ascii=False, allow_nan=False)
        return f"event: {kind}\ndata: {body}\n\n"

    where = {"item_id": answered.message_id, "output_index": 0, "content_index": 0}
    yield event("response.created", response=answered.wire("in_progress"))
    yield event("response.in_progress", response=answered.wire("in_progress"))
    opened = False
    async for piece in pieces:
        if piece.error is not None:
            error = error_of(piece.error)
            failed = {**answered.wire("failed"), "error": {"code": "server_error", "message": error.message}}
            yield event("response.failed", response=failed)
            return
        if (piece.text or (piece.last and not piece.tool_calls and not answered.choice.tool_calls)) and not opened:
            opened = True
            yield event("response.output_item.added", output_index=0, item=answered.message("in_progress"))
            yield event("response.content_part.added", **where, part={"type": "output_text", "text": "", "annotations": [], "logprobs": []})
        answered.add(piece)
        if piece.text:
            told = [token_wire(token) for token in piece.tokens]
            yield event("response.output_text.delta", **where, delta=piece.text, logprobs=told)
    if opened:
        part = answered.part()
        yield event("response.output_text.done", **where, text=part["text"], logprobs=part["logprobs"])
        yield event("response.content_part.done", **where, part=part)
        yield event("response.output_item.done", output_index=0, item=answered.message("completed"))
    for index, item in enumerate(answered.output()[int(opened) :], start=int(opened)):
        begun = {**item, "arguments": "", "status": "in_progress"}
        yield event("response.output_item.added", output_index=index, item=begun)
        at = {"item_id": item["id"], "output_index": index}
        yield event("response.function_call_arguments.delta", **at, delta=item["arguments"])
        yield event("response.function_call_arguments.done", **at, arguments=item["arguments"], name=item["name"])
        yield event("response.output_item.done", output_index=index, item=item)
    whole = answered.wire()
    yield event(f"response.{whole['status']}", response=whole)


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {
        "id": f"fc_{call['id']}",
        "type": "function_call",
        "status": "completed",
        "call_id": call["id"],
        "name": function["name"],
        "arguments": function["arguments"],
    }
