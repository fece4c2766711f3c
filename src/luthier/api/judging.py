"""Models of this platform as judges: what graders ask, its sampler answers."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import anyio
import numpy as np
from anyio.from_thread import run as in_the_loop

from luthier.api.asking import ask, placed
from luthier.api.auth import Caller
from luthier.api.errors import ApiError
from luthier.api.models import found
from luthier.api.platform import Platform
from luthier.api.wire_chat import collected
from luthier.graders.base import Outside
from luthier.graders.judge import Question, Reply
from luthier.spec.serving import Embed

LONGEST = 1024
"""Tokens of a judge's answer where the grader says nothing."""


def outside(here: Platform, caller: Caller, embedding_model: str = "starter") -> Outside:
    """What a grader may ask, from a thread of the gateway's: the models that the caller can use, by their names."""
    return Outside(judge=partial(_judged, here, caller), embed=partial(_embedded, here, caller, embedding_model))


def _judged(here: Platform, caller: Caller, questions: Sequence[Question]) -> list[Reply]:
    return in_the_loop(_all, here, caller, questions)


async def _all(here: Platform, caller: Caller, questions: Sequence[Question]) -> list[Reply]:
    replies: list[Reply | None] = [None] * len(questions)

    async def one(index: int, question: Question) -> None:
        replies[index] = await _one(here, caller, question)

    async with anyio.create_task_group() as group:
        for index, question in enumerate(questions):
            group.start_soon(one, index, question)
    return [reply for reply in replies if reply is not None]


async def _one(here: Platform, caller: Caller, question: Question) -> Reply:
    sampling = question.sampling
    try:
        model = await anyio.to_thread.run_sync(found, here, question.model, caller)
        wanted = await anyio.to_thread.run_sync(
            partial(
                ask,
                here,
                model,
                messages=system_first(question.messages),
                json_schema=dict(question.schema),
                max_tokens=sampling.max_completions_tokens or LONGEST,
                temperature=1.0 if sampling.temperature is None else sampling.temperature,
                top_p=1.0 if sampling.top_p is None else sampling.top_p,
                seed=sampling.seed,
                key=caller.key,
            )
        )
        choices, usage = await collected(here.backend.answer(wanted), 1)
    except ApiError as error:
        return Reply(fault=error.message.rstrip("."), model=question.model)
    tokens = usage.prompt_tokens + usage.completion_tokens
    return Reply(text=choices[0].text, tokens=tokens, model=question.model, written=usage.completion_tokens)


def system_first(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the system says in one message, the first: many chat templates allow no other. A picture stays where it is."""
    told = [{**message, "role": {"developer": "system"}.get(message["role"], message["role"])} for message in messages]
    system = [message for message in told if message["role"] == "system" and isinstance(message["content"], str)]
    others = [message for message in told if message not in system]
    said = "\n\n".join(message["content"] for message in system)
    return [{"role": "system" if others else "user", "content": said}, *others] if system else others


def _embedded(here: Platform, caller: Caller, model: str, texts: Sequence[str]) -> np.ndarray:
    """(n, d) vectors of length 1."""
    place = placed(found(here, model, caller), here)
    told = in_the_loop(here.backend.embed, Embed(base=place["base"], inputs=list(texts), key=caller.key))
    if told.error is not None:
        raise ApiError(502, told.error.message)
    return np.stack([np.frombuffer(vector, dtype="<f4") for vector in told.vectors])
