"""Embeddings: texts as vectors, the mean of a model's last hidden states."""

import base64
import struct
from typing import Annotated, Any, Literal

import anyio
from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import Response

from luthier.api.asking import LINEAGE, error_of, headers_of, model_of, placed, unless_gone
from luthier.api.auth import Caller, may
from luthier.api.chat_request import Asked
from luthier.api.errors import ApiError, JsonResponse
from luthier.api.metering import metered_embedding
from luthier.api.platform import Here
from luthier.spec.serving import Embed
from luthier.store.models import Model

router = APIRouter(prefix="/embeddings", tags=["Embeddings"])

Uses = Annotated[Caller, Depends(may("inference.use"))]

MOST_INPUTS = 2048

TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class EmbeddingRequest(Asked):
    """POST /v1/embeddings."""

    model: str | None = None
    input: (
        Annotated[str, Field(min_length=1)] | Annotated[list[str] | list[TokenIds] | TokenIds, Field(min_length=1, max_length=MOST_INPUTS)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int | None, Field(ge=1)] = None
    user: str | None = None


@router.post("")
async def create(asked: EmbeddingRequest, caller: Uses, here: Here, request: Request) -> Response:
    """A vector of length 1 for each input. `dimensions`: only so many of its numbers, made to length 1 again.

    Of a model that was tuned whole, they are its own; of an adapter, its base's.
    """
    model = await anyio.to_thread.run_sync(model_of, asked.model, request, here, caller)
    place = await anyio.to_thread.run_sync(placed, model, here)
    wanted = Embed(base=place["base"], inputs=_inputs(asked), key=caller.key)
    told = await unless_gone(request, lambda: metered_embedding(request, here.backend.embed, wanted))
    if told.error is not None:
        raise error_of(told.error)
    here.tokens[caller.project, model.name, "prompt"] += told.num_tokens
    data = [{"object": "embedding", "index": index, "embedding": _wire(vector, asked)} for index, vector in enumerate(told.vectors)]
    usage = {"prompt_tokens": told.num_tokens, "total_tokens": told.num_tokens}
    return JsonResponse({"object": "list", "data": data, "model": asked.model or model.name, "usage": usage}, headers=_headers(model))


def _headers(model: Model) -> dict[str, str]:
    """An adapter takes no part in its base's vectors, which is said."""
    told = headers_of(model)
    return {LINEAGE: f"{told[LINEAGE]}; vectors of its base"} if model.kind == "adapter" else told


def _inputs(asked: EmbeddingRequest) -> Any:
    given = asked.input
    if isinstance(given, str):
        return [given]
    inputs = [given] if isinstance(given[0], int) else given
    if any(not one for one in inputs):
        raise ApiError(400, "'$.input' is invalid: an input is empty. - 'input'", "input")
    return inputs


def _wire(vector: bytes, asked: EmbeddingRequest) -> str | list[float]:
    numbers = struct.unpack(f"<{len(vector) // 4}f", vector)
    if asked.dimensions is not None:
        if asked.dimensions > len(numbers):
            raise ApiError(400, f"{asked.dimensions} is greater than the maximum of {len(numbers)} - 'dimensions'", "dimensions")
        numbers = numbers[: asked.dimensions]
        length = sum(number * number for number in numbers) ** 0.5 or 1.0
        numbers = tuple(number / length for number in numbers)
    if asked.encoding_format == "base64":
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    return list(numbers)
