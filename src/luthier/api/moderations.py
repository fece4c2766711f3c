"""Moderation: what a text shows, by the rules that the project has set."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from luthier.api.answering import settings_of
from luthier.api.auth import Caller, may
from luthier.api.chat_request import Asked
from luthier.api.moderation import EVERY, categories_of, moderation_of, refused
from luthier.api.platform import Here
from luthier.store.ids import new

router = APIRouter(prefix="/moderations", tags=["Moderation"])

Uses = Annotated[Caller, Depends(may("inference.use"))]

MOST_INPUTS = 100


class TextInput(Asked):
    """A text in the form of a part."""

    type: str
    text: str = ""


class ModerationRequest(Asked):
    """POST /v1/moderations. `model`: whose rules are asked for; by default those that hold for all."""

    input: str | Annotated[list[str] | list[TextInput], Field(min_length=1, max_length=MOST_INPUTS)]
    model: str | None = None


@router.post("")
async def create(asked: ModerationRequest, caller: Uses, here: Here, request: Request) -> dict[str, Any]:
    """Look through texts. A category that is found scores 1: rules know no more."""
    settings, model = settings_of(request), asked.model or EVERY
    moderation, categories = moderation_of(settings, model), categories_of(settings, model)
    inputs = [asked.input] if isinstance(asked.input, str) else [one if isinstance(one, str) else one.text for one in asked.input]
    results = []
    for text in inputs:
        found = await refused(moderation, text, "input", here, caller) if moderation is not None else []
        flags = {category: category in found for category in categories}
        results.append(
            {"flagged": bool(found), "categories": flags, "category_scores": {name: float(flag) for name, flag in flags.items()}}
        )
    return {"id": new("modr-", 24), "model": model if model != EVERY else "rules", "results": results}
