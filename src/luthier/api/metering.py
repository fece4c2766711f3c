"""Tokens that models read and write, counted for the key that asks."""

import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import Request

from luthier.accounts.accounts import Admitted
from luthier.api.asking import close
from luthier.api.limits import settle_tokens, take_tokens
from luthier.spec.serving import Ask, Embed, Embedded, Piece

BYTES_A_TOKEN = 4
"""Of text, roughly: for what is counted before anybody has read it."""

Answers = Callable[[Ask], AsyncIterator[Piece]]


def metered(request: Request, answer: Answers) -> Answers:
    """The same way to answers, for a key whose tokens are counted: at first by a guess, at the end by what there were.

    Calling it raises `ApiError` 429 where the key has had all of this minute's.
    """
    admitted: Admitted = request.state.admitted
    if admitted.settings.tokens_per_minute is None:
        return answer

    def counted(ask: Ask) -> AsyncIterator[Piece]:
        taken = guessed(ask)
        take_tokens(request, taken)
        return _settled(request, taken, answer(ask))

    return counted


async def metered_embedding(request: Request, embed: Callable[[Embed], Awaitable[Embedded]], wanted: Embed) -> Embedded:
    """Vectors, for a key whose tokens are counted. Raises as `metered`."""
    taken = guessed(wanted)
    take_tokens(request, taken)
    told = await embed(wanted)
    settle_tokens(request, taken, told.num_tokens)
    return told


def guessed(asked: Ask | Embed) -> int:
    """Tokens of what is to be read, and at most of the answers as far as that is said."""
    if isinstance(asked, Embed):
        return sum(_read(given) for given in asked.inputs)
    read = _read(asked.prompt) if asked.prompt is not None else _read(json.dumps(asked.messages, ensure_ascii=False))
    return read + asked.n * (asked.max_tokens or 0)


def _read(given: str | list[int]) -> int:
    return len(given) if isinstance(given, list) else math.ceil(len(given.encode(errors="replace")) / BYTES_A_TOKEN)


async def _settled(request: Request, taken: int, pieces: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    """The same pieces. Where the client hangs up before the last one, the guess stands; where that is an error, nothing was used."""
    try:
        async for piece in pieces:
            if piece.last:
                used = piece.usage.prompt_tokens + piece.usage.completion_tokens if piece.usage is not None else 0
                settle_tokens(request, taken, used)
            yield piece
    finally:
        await close(pieces)
