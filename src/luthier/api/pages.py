"""Lists as OpenAI pages them: by a cursor, the id of the last one seen; and always with `has_more`, without which clients never stop."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Query, Request

from luthier.spec.wire import One, Page

Order = Literal["asc", "desc"]
After = Annotated[str | None, Query(description="The id after which the page begins.")]


def page(items: Sequence[dict[str, Any]], limit: int, ends: bool = False) -> dict[str, Any]:
    """A page of at most `limit`, of items that were read with one more than that. `ends`: with its first and last id."""
    shown = list(items[:limit])
    told: dict[str, Any] = {"object": "list", "data": shown, "has_more": len(items) > limit}
    if ends:
        told |= {"first_id": shown[0]["id"] if shown else None, "last_id": shown[-1]["id"] if shown else None}
    return told


def listed(items: Sequence[One], limit: int) -> Page[One]:
    """The same for what is typed, and has an id."""
    shown = list(items[:limit])
    ids = [str(getattr(one, "id", "")) for one in shown]
    return Page(data=shown, has_more=len(items) > limit, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None)


def metadata_of(request: Request) -> dict[str, str]:
    """What a list is asked to have: `metadata[key]=value` in the query."""
    return {key[9:-1]: value for key, value in request.query_params.items() if key.startswith("metadata[") and key.endswith("]")}
