"""Between a route and the sampler process: what is asked and said is looked through and, where a project wants it, logged."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
from fastapi import Request

from luthier.accounts.accounts import Admitted
from luthier.accounts.projects import ProjectSettings
from luthier.api.asking import close
from luthier.api.auth import Caller
from luthier.api.errors import ApiError
from luthier.api.metering import metered
from luthier.api.moderation import filtered, moderation_of, refused, texts_of
from luthier.api.platform import Platform
from luthier.spec.serving import Ask, Piece, Usage
from luthier.store.logged import Logged
from luthier.store.models import Model

REFUSED = "Your request was refused by this server's rules ({categories})."


@dataclass
class _Said:
    """What was said so far, answer by answer, and where an answer was ended for it."""

    texts: list[str]
    ended: set[int] = field(default_factory=set)


async def answers(request: Request, here: Platform, caller: Caller, model: Model, ask: Ask) -> AsyncIterator[Piece]:
    """The pieces of all answers. An answer that must not be said ends with `content_filter`, as soon as its text shows it.

    Raises:
        ApiError: what is asked must not be, or the key has had all of this minute's tokens. Before the first piece.
    """
    admitted: Admitted = request.state.admitted
    settings, began = admitted.settings, time.perf_counter()
    moderation = moderation_of(settings, model.name)
    if moderation is not None and (found := await refused(moderation, texts_of(ask), "input", here, caller)):
        raise ApiError(400, REFUSED.format(categories=", ".join(found)), "messages", "content_policy_violation")
    said, usage = _Said([""] * ask.n), Usage()
    pieces = metered(request, here.backend.answer)(ask)
    try:
        async for piece in pieces:
            if piece.index in said.ended and not piece.last:
                continue
            said.texts[piece.index] += piece.text
            text = said.texts[piece.index]
            if moderation is not None and _looked_at(piece) and await refused(moderation, text, "output", here, caller):
                said.ended.add(piece.index)
                said.texts[piece.index] = ""
                yield filtered(piece.index)
                if piece.usage is None:
                    continue
                piece = Piece(index=piece.index, usage=piece.usage)
            usage = piece.usage or usage
            yield piece
    finally:
        await close(pieces)
        here.tokens[caller.project, model.name, "prompt"] += usage.prompt_tokens
        here.tokens[caller.project, model.name, "completion"] += usage.completion_tokens
        if settings.log_requests:
            with anyio.CancelScope(shield=True):
                entry = _entry(request, caller, model, ask, said, usage, time.perf_counter() - began)
                await anyio.to_thread.run_sync(here.log.write, entry, settings.log_days, settings.redact)


def _looked_at(piece: Piece) -> bool:
    """Whether something was said that has not been looked through."""
    return bool(piece.text or piece.finish_reason)


def _entry(request: Request, caller: Caller, model: Model, ask: Ask, said: _Said, usage: Usage, seconds: float) -> Logged:
    return Logged(
        project=caller.project,
        key=caller.key,
        model=model.name,
        asked=ask.messages if ask.messages is not None else ask.prompt,
        said=said.texts,
        tokens=usage.prompt_tokens + usage.completion_tokens,
        seconds=seconds,
        request=request.state.request_id,
    )


def settings_of(request: Request) -> ProjectSettings:
    """Of the project whose key it is."""
    admitted: Admitted = request.state.admitted
    return admitted.settings
