"""A completion's text and its tokens, in the shape that evaluation harnesses read."""

from dataclasses import dataclass, field
from typing import Any

from luthier.spec.serving import Piece, Token


@dataclass
class Written:
    """One answer as far as it has come, the prompt before it where that was asked for. `offset`: characters that were told before."""

    offset: int = 0
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    finish: str | None = None

    def add(self, piece: Piece) -> None:
        self.text += (piece.prompt_text or "") + piece.text
        self.tokens += [*piece.prompt_tokens, *piece.tokens]
        self.finish = piece.finish_reason or self.finish


def choice_wire(written: Written, index: int, logprobs: bool) -> dict[str, Any]:
    told = _logprobs(written) if logprobs else None
    return {"text": written.text, "index": index, "logprobs": told, "finish_reason": written.finish}


def _logprobs(written: Written) -> dict[str, Any]:
    """Parallel lists, one entry a token; the first token of a text has no probability, for nothing stands before it."""
    offsets, place = [], written.offset
    for token in written.tokens:
        offsets.append(place)
        place += len(token.text)
    return {
        "tokens": [token_text(token) for token in written.tokens],
        "token_logprobs": [token.logprob for token in written.tokens],
        "top_logprobs": [
            {token_text(other): other.logprob for other in token.top} if token.logprob is not None else None for token in written.tokens
        ],
        "text_offset": offsets,
    }


def token_text(token: Token) -> str:
    """A token's own text; one that is not whole characters is told by its bytes."""
    try:
        return token.bytes.decode("utf-8") if token.bytes else token.text
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.bytes)
