"""From a request to the sampler process and back: what is asked, who asks, and what is said when there is no answer."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import anyio
from fastapi import Request

from luthier.api.auth import Caller
from luthier.api.chat_request import Drawn
from luthier.api.errors import ApiError
from luthier.api.models import found
from luthier.api.platform import Platform
from luthier.spec.serving import Ask, Fault, Piece
from luthier.store.models import Model

STATUS = {"bad_request": 400, "not_found": 404, "overloaded": 429, "internal": 500}
LINEAGE = "x-luthier-model"
"""The header that says from what a tuned model was made."""

R = TypeVar("R")


def model_of(asked: str | None, request: Request, here: Platform, caller: Caller) -> Model:
    """The model that a request names, in its body or, as Azure's clients do, in its path."""
    name = asked or getattr(request.state, "deployment", None)
    if not name:
        raise ApiError(400, "you must provide a model parameter")
    return found(here, name, caller)


def placed(model: Model, here: Platform) -> dict[str, Any]:
    """Where a model's weights are, and how its conversations are written, as fields of an `Ask`."""
    lineage = model.lineage or {}
    told = {"chat_template": lineage.get("chat_template"), "template_arguments": lineage.get("template_arguments") or {}}
    folder = here.models.laid_out(model)
    if model.kind == "model":
        return {**told, "base": str(folder)}
    return {**told, "base": model.base, "adapter": str(folder) if folder is not None else None}


def drawn(asked: Drawn, caller: Caller) -> dict[str, Any]:
    """How answers are drawn, as fields of an `Ask`: what is not said is as OpenAI has it."""
    return {
        "key": caller.key,
        "n": asked.n or 1,
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        "top_p": 1.0 if asked.top_p is None else asked.top_p,
        "top_k": asked.top_k or 0,
        "min_p": asked.min_p or 0.0,
        "presence_penalty": asked.presence_penalty or 0.0,
        "frequency_penalty": asked.frequency_penalty or 0.0,
        "logit_bias": _bias(asked),
        "stop": asked.stops,
        "seed": asked.seed,
    }


def _bias(asked: Drawn) -> dict[int, float]:
    try:
        return {int(token): bias for token, bias in (asked.logit_bias or {}).items()}
    except ValueError as error:
        raise ApiError(400, "The keys of 'logit_bias' are token ids, as text: '42' - 'logit_bias'", "logit_bias") from error


def headers_of(model: Model) -> dict[str, str]:
    """What every answer of a tuned model says of it."""
    if model.project is None:
        return {LINEAGE: f"{model.name}; untuned"}
    lineage = model.lineage or {}
    parts = [f"{key}={lineage[key]}" for key in ("base", "method", "job") if lineage.get(key)]
    return {LINEAGE: "; ".join([model.name, "tuned", *parts]).encode("ascii", "replace").decode()}


def fingerprint(model: Model) -> str:
    """The same as long as the weights are."""
    text = "\n".join([model.name, model.base, *(f"{file} {sha}" for file, sha in sorted((model.weights or {}).items()))])
    return f"fp_{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def error_of(fault: Fault) -> ApiError:
    """Why there is no answer, as OpenAI's clients are told."""
    headers = {"retry-after": f"{fault.retry_after:.0f}"} if fault.retry_after is not None else {}
    kind = {"overloaded": "rate_limit_error", "internal": "server_error"}.get(fault.kind, "invalid_request_error")
    return ApiError(STATUS[fault.kind], fault.message, fault.param, fault.code, kind, headers)


async def begun(pieces: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    """The same pieces, once the first one is there. Raises `ApiError` where that is an error: a status cannot be taken back."""
    first = await anext(pieces, None)
    if first is None:
        raise ApiError(500, "The model gave no answer.", type="server_error")
    if first.error is not None:
        raise error_of(first.error)

    async def all_of_it() -> AsyncIterator[Piece]:
        try:
            yield first
            async for piece in pieces:
                yield piece
        finally:
            await close(pieces)

    return all_of_it()


async def close(pieces: AsyncIterator[Piece]) -> None:
    """Read no more: what was asked is cancelled."""
    closing: Callable[[], Awaitable[None]] | None = getattr(pieces, "aclose", None)
    if closing is not None:
        with anyio.CancelScope(shield=True):
            await closing()


async def unless_gone(request: Request, work: Callable[[], Awaitable[R]]) -> R:
    """What `work` gives; where the client hangs up meanwhile, it is cancelled.

    Raises:
        ApiError: the client is gone; nobody will read it.
    """
    done: list[R] = []
    try:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(watch)
            done.append(await work())
            group.cancel_scope.cancel()
    except* ApiError as errors:
        raise errors.exceptions[0] from None
    if not done:
        raise ApiError(499, "The client hung up.")
    return done[0]


def ask(here: Platform, model: Model, template: Mapping[str, Any] | None = None, **fields: Any) -> Ask:
    """What goes to the sampler process. `template`: arguments of the chat template, over the model's own."""
    place = placed(model, here)
    return Ask(**{**place, "template_arguments": {**place["template_arguments"], **(template or {})}}, **fields)
