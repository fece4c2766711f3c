"""The answer that an item is graded by: drawn from the model of the run, or given with it."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
from pydantic import ValidationError

from luthier.api.asking import close
from luthier.api.auth import Caller
from luthier.api.chat import ask_of
from luthier.api.chat_request import ChatRequest
from luthier.api.errors import ApiError
from luthier.api.evals_grading import usage_of
from luthier.api.evals_request import CompletionsRun, ResponsesRun, Sampled, Template
from luthier.api.evals_wire import sample_wire
from luthier.api.platform import Platform
from luthier.api.responses_request import ResponseRequest, as_chat, turns_of
from luthier.api.validation import first_fault
from luthier.api.wire_chat import Choice, collected, message
from luthier.errors import UserError
from luthier.graders.case import Case, Sample
from luthier.graders.messages import turns
from luthier.graders.template import Unfilled, Variable, parts, value_of
from luthier.spec.serving import Ask, Usage
from luthier.store.models import Model

SEED = 42
"""Of answers whose run names none."""
INPUT = "item.input"
"""What a model is asked where the run does not say: so the items are called that answers which were kept make."""

TRIES = 3
"""Of an answer at which the server itself fails."""
PATIENCE_S = 600.0
"""How long it is waited where the sampler has too much to do."""
WAIT_S = 1.0

Turn = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """`wire`: as an item tells it. `usage`: of the model."""

    sample: Sample
    wire: dict[str, Any]
    usage: list[dict[str, Any]] = field(default_factory=list)


class NoAnswer(Exception):
    """Why there is none, as a sentence; `wire` as that of an answer."""

    def __init__(self, message: str, code: str, asked: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.wire = sample_wire(**asked, error={"code": code, "message": message})


def given(answer: Mapping[str, Any] | None) -> Answer:
    """The answer that came with an item: as templates name it, or as a completion; an empty one, where the item says it all."""
    told = answer or {}
    choice = _first(told.get("choices"))
    said = choice["message"] if isinstance(choice.get("message"), Mapping) else {}
    text = told.get("output_text", said.get("content"))
    text = told.get("output_json") if text is None else text
    text = text if isinstance(text, str) else "" if text is None else json.dumps(text, ensure_ascii=False)
    tools = told.get("output_tools") or said.get("tool_calls")
    calls = [dict(tool) for tool in tools if isinstance(tool, Mapping)] if isinstance(tools, list) else []
    audio = told.get("output_audio")
    output = [message(Choice(text=text, tool_calls=calls))] if answer else []
    wire = sample_wire(
        output=_shown(output),
        finish_reason=str(told.get("finish_reason") or choice.get("finish_reason") or ("stop" if answer else "")),
        model=str(told.get("model") or ""),
        usage=told["usage"] if isinstance(told.get("usage"), Mapping) else None,
        temperature=told.get("temperature"),
        max_completion_tokens=told.get("max_completion_tokens"),
        top_p=told.get("top_p"),
        seed=told.get("seed"),
    )
    return Answer(Sample(text, calls, audio if isinstance(audio, Mapping) else None), wire)


async def drawn(here: Platform, caller: Caller, model: Model, drawing: Sampled, item: Mapping[str, Any]) -> Answer:
    """The model's answer to an item.

    Raises:
        NoAnswer: the item cannot be asked, or the model gave none.
    """
    sampling = drawing.sampling_params
    asked: dict[str, Any] = {
        "model": drawing.model,
        "temperature": 1.0 if sampling is None or sampling.temperature is None else sampling.temperature,
        "top_p": 1.0 if sampling is None or sampling.top_p is None else sampling.top_p,
        "seed": SEED if sampling is None or sampling.seed is None else sampling.seed,
        "max_completion_tokens": sampling.max_completion_tokens if sampling is not None else None,
    }
    try:
        chat = _chat(drawing, asked, item)
        asked["input"] = [{"role": turn.role, "content": turn.text} for turn in chat.messages]
        wanted = await anyio.to_thread.run_sync(partial(ask_of, chat, model, here, caller))
        choice, usage = await _patiently(here, wanted)
    except Unfilled as error:
        raise NoAnswer(f"{str(error)[:1].upper()}{str(error)[1:]}.", error.flag, asked) from error
    except ValidationError as error:
        raise NoAnswer(first_fault(error.errors()).message, "invalid_request_error", asked) from error
    except ApiError as error:
        raise NoAnswer(error.message, error.code or error.type, asked) from error
    except UserError as error:
        raise NoAnswer(str(error), "server_error", asked) from error
    used = usage_of(drawing.model or model.name, usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    counts = {name: count for name, count in used.items() if name.endswith("_tokens")}
    wire = sample_wire(**asked, output=_shown([message(choice)]), finish_reason=choice.finish or "stop", usage=counts)
    return Answer(Sample(choice.text, choice.tool_calls), wire, [used])


def _chat(drawing: Sampled, asked: Mapping[str, Any], item: Mapping[str, Any]) -> ChatRequest:
    """What is asked. Raises `Unfilled`, `ApiError`, or pydantic's errors."""
    said = _turns(drawing, item)
    sampling = drawing.sampling_params
    how = {name: asked[name] for name in ("model", "temperature", "top_p", "seed")}
    longest = asked["max_completion_tokens"]
    match drawing:
        case CompletionsRun():
            told = (
                sampling.model_dump(by_alias=True, include={"response_format", "tools"}, exclude_none=True) if sampling is not None else {}
            )
            return ChatRequest.model_validate({**how, **told, "max_completion_tokens": longest, "messages": said})
        case ResponsesRun():
            told = sampling.model_dump(include={"text", "tools"}, exclude_none=True) if sampling is not None else {}
            return as_chat(ResponseRequest.model_validate({**how, **told, "max_output_tokens": longest}), said)


def _turns(drawing: Sampled, item: Mapping[str, Any]) -> list[Turn]:
    case, wanted = Case(Sample(""), item), drawing.input_messages
    if isinstance(wanted, Template):
        return turns(wanted.template, case)
    path = INPUT if wanted is None else wanted.item_reference.strip()
    variable = next(part for part in parts(f"{{{{ {path} }}}}") if isinstance(part, Variable))
    value = value_of(variable, case)
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        raise ApiError(400, f"`{path}` must be a text or a list of messages.", code="invalid_item")
    return turns_of(ResponseRequest(input=value)) if any(map(_is_of_responses, value)) else value


def _is_of_responses(turn: Turn) -> bool:
    """Whether a turn is written as responses write them, and not as chats do."""
    content = turn.get("content")
    written = isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") in ("input_text", "output_text") for part in content
    )
    return turn.get("type", "message") != "message" or written


async def _patiently(here: Platform, wanted: Ask) -> tuple[Choice, Usage]:
    """One answer; asked again where the sampler has too much to do, or was being started anew. Raises `ApiError`."""
    began, failures = time.monotonic(), 0
    while True:
        pieces = here.backend.answer(wanted)
        try:
            choices, usage = await collected(pieces, 1)
            return choices[0], usage
        except ApiError as error:
            failures += error.status >= 500
            if error.status < 429 or failures >= TRIES or time.monotonic() - began > PATIENCE_S:
                raise
            wait = float(error.headers.get("retry-after", WAIT_S * 2**failures))
        finally:
            await close(pieces)
        await anyio.sleep(wait)


def _shown(output: list[Turn]) -> list[Turn]:
    """What of a message an item tells."""
    return [{key: turn[key] for key in ("role", "content", "tool_calls") if key in turn} for turn in output]


def _first(choices: Any) -> Mapping[str, Any]:
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
