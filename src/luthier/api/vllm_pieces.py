"""What a vLLM streams, chunk by chunk, as our pieces."""

from collections.abc import Iterator, Mapping
from typing import Any

from luthier.spec.serving import Ask, Finish, Piece, Token, Usage

FINISHES: Mapping[str, Finish] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "abort": "length"}


class Reading:
    """One stream. Calls come in parts, and are told whole when their answer ends."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self._calls: dict[int, dict[int, dict[str, Any]]] = {}
        self._usage = Usage()

    def take(self, chunk: Mapping[str, Any]) -> Iterator[Piece]:
        if usage := chunk.get("usage"):
            self._usage = usage_of(usage)
        for choice in chunk.get("choices") or ():
            piece = self._piece(choice)
            if piece.text or piece.tokens or piece.finish_reason:
                yield piece

    def end(self) -> Piece:
        return Piece(usage=self._usage)

    def _piece(self, choice: Mapping[str, Any]) -> Piece:
        index, delta = choice["index"], choice.get("delta")
        for part in (delta or {}).get("tool_calls") or ():
            self._add(index, part)
        finish = None if choice.get("finish_reason") is None else FINISHES.get(choice["finish_reason"], "stop")
        calls = tuple(call for _, call in sorted(self._calls.pop(index, {}).items())) if finish else ()
        text = choice.get("text") if delta is None else delta.get("content")
        return Piece(
            index=index,
            text=text or "",
            tokens=tokens_of(choice.get("logprobs")),
            tool_calls=calls,
            finish_reason="tool_calls" if calls else finish,
        )

    def _add(self, index: int, part: Mapping[str, Any]) -> None:
        calls = self._calls.setdefault(index, {})
        call = calls.setdefault(part.get("index", 0), {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call["id"] = call["id"] or part.get("id") or ""
        function = part.get("function") or {}
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


def pieces_of_whole(ask: Ask, body: Mapping[str, Any]) -> Iterator[Piece]:
    """A completion that was not streamed and echoes its prompt."""
    usage = usage_of(body.get("usage") or {})
    for choice in body["choices"]:
        tokens, text = tokens_of(choice.get("logprobs")), choice["text"]
        if ask.top_logprobs is not None:
            prompt, tokens = tokens[: usage.prompt_tokens], tokens[usage.prompt_tokens :]
            length = sum(len(token.text) for token in prompt)
        else:
            prompt, length = (), len(ask.prompt) if isinstance(ask.prompt, str) else 0
        yield Piece(index=choice["index"], prompt_text=text[:length], prompt_tokens=prompt)
        finish = FINISHES.get(choice.get("finish_reason") or "stop", "stop")
        yield Piece(index=choice["index"], text=text[length:], tokens=tokens, finish_reason=finish)
    yield Piece(usage=usage)


def usage_of(usage: Mapping[str, Any]) -> Usage:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(
        prompt_tokens=usage.get("prompt_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
        cached_tokens=cached,
    )


def tokens_of(logprobs: Mapping[str, Any] | None) -> tuple[Token, ...]:
    """Of a chat (`content`), or of a completion (lists side by side)."""
    if not logprobs:
        return ()
    if logprobs.get("content") is not None:
        return tuple(_token(entry, tuple(_token(top) for top in entry.get("top_logprobs") or ())) for entry in logprobs["content"])
    tokens = logprobs.get("tokens") or ()
    tops = logprobs.get("top_logprobs") or [None] * len(tokens)
    return tuple(
        Token(-1, text, text.encode(), value, tuple(Token(-1, other, other.encode(), at) for other, at in (top or {}).items()))
        for text, value, top in zip(tokens, logprobs["token_logprobs"], tops, strict=True)
    )


def _token(entry: Mapping[str, Any], top: tuple[Token, ...] = ()) -> Token:
    text = entry["token"]
    spelled = text.encode() if entry.get("bytes") is None else bytes(entry["bytes"])
    return Token(-1, text, spelled, entry["logprob"], top)
