"""What models must not be asked or say: rules and classifiers that a project has set, for one model or for all."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import anyio

from luthier.accounts.projects import Moderation, ProjectSettings
from luthier.api.asking import error_of, placed
from luthier.api.auth import Caller
from luthier.api.models import found
from luthier.api.platform import Platform
from luthier.spec.serving import Ask, Piece

EVERY = "*"
LONGEST_CLASS = 16
"""Tokens of a classifier's answer."""

Where = Literal["input", "output"]


def moderation_of(settings: ProjectSettings, model: str) -> Moderation | None:
    """What holds for a model: what was set for it, or for all."""
    return settings.moderation.get(model) or settings.moderation.get(EVERY)


def matched(moderation: Moderation, text: str, where: Where) -> list[str]:
    """The categories whose rules match, each once."""
    found = [rule.category for rule in moderation.rules if rule.where in (where, "both") and _compiled(rule.pattern).search(text)]
    return list(dict.fromkeys(found))


async def refused(moderation: Moderation, text: str, where: Where, here: Platform, caller: Caller) -> list[str]:
    """As `matched`, and the class that the classifier gives the text, where that is refused."""
    categories = matched(moderation, text, where)
    if moderation.classifier is not None and moderation.refused and text.strip():
        name = await _class_of(moderation.classifier, text, here, caller)
        if name in moderation.refused and name not in categories:
            categories.append(name)
    return categories


async def _class_of(classifier: str, text: str, here: Platform, caller: Caller) -> str:
    """What the classifier says of a text, without blanks at its ends. Where it cannot be asked, the request fails."""
    model = await anyio.to_thread.run_sync(found, here, classifier, caller)
    place = await anyio.to_thread.run_sync(placed, model, here)
    wanted = Ask(**place, messages=[{"role": "user", "content": text}], temperature=0.0, max_tokens=LONGEST_CLASS, key=caller.key)
    said: list[str] = []
    async for piece in here.backend.answer(wanted):
        if piece.error is not None:
            raise error_of(piece.error)
        said.append(piece.text)
    return "".join(said).strip()


def filtered(index: int) -> Piece:
    """The end of an answer that is not to be said."""
    return Piece(index=index, finish_reason="content_filter")


def texts_of(ask: Ask) -> str:
    """All that a model is asked, as one text."""
    if ask.messages is not None:
        return "\n".join(str(message.get("content") or "") for message in ask.messages)
    return ask.prompt if isinstance(ask.prompt, str) else ""


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def categories_of(settings: ProjectSettings, model: str) -> Sequence[str]:
    """All that could be found."""
    moderation = moderation_of(settings, model)
    if moderation is None:
        return ()
    return tuple(dict.fromkeys([*(rule.category for rule in moderation.rules), *moderation.refused]))
