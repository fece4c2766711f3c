"""`Judge`: a model that is asked to judge, as graders see it. Messages, sampling settings and a JSON schema → text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import Field

from luthier.spec.base import Spec

MOST_BRACES = 100
"""Places in a judge's words at which its JSON is looked for."""

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class SamplingParams(Spec):
    """How the judge draws its answer."""

    temperature: float | None = Field(None, ge=0)
    """0 always takes the likeliest token."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Draw only from the likeliest tokens that hold this share."""
    seed: int | None = None
    """The same seed gives the same judgement, as far as the judge can."""
    max_completions_tokens: int | None = Field(None, ge=1)
    """Longest answer of the judge, in tokens. (Spelled as OpenAI spells it.)"""
    reasoning_effort: Effort | None = None
    """For judges that reason first."""


@dataclass(frozen=True)
class Question:
    """`messages`: in the shape of chat completions. `schema`: what the answer's JSON must fit, named `name`."""

    model: str
    messages: Sequence[Mapping[str, Any]]
    name: str
    schema: Mapping[str, Any]
    sampling: SamplingParams = field(default_factory=SamplingParams)


@dataclass(frozen=True)
class Reply:
    """What the judge said; or `refusal`, its own words; or `fault`, why there is no answer, without a full stop.

    `tokens`: read and written; `written`: of them those of its answer, where that is told.
    """

    text: str = ""
    refusal: str = ""
    fault: str = ""
    tokens: int = 0
    model: str = ""
    written: int = 0


class Judge(Protocol):
    """A local model, or a URL. Answers come in the order of the questions; what fails, fails alone."""

    def __call__(self, questions: Sequence[Question]) -> list[Reply]: ...


def parsed(text: str) -> Mapping[str, Any] | None:
    """The JSON object that a judge wrote, also within a fence or after some words; None where there is none."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    for _ in range(MOST_BRACES):
        if place < 0:
            break
        try:
            value, _ = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
        place = text.find("{", place + 1)
    return None
