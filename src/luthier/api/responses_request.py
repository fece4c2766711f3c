"""What can be asked through the responses interface, and the same as a chat request."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from luthier.api.chat_request import LARGEST_SEED, MOST_TOP, Asked, ChatRequest, Metadata
from luthier.api.errors import ApiError

IGNORED = frozenset(
    {
        "background",
        "context_management",
        "conversation",
        "include",
        "max_tool_calls",
        "moderation",
        "parallel_tool_calls",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "stream_options",
        "truncation",
        "user",
    }
)
"""Harmless fields: they say how OpenAI's servers should work."""

FORMATS = ("text", "json_object", "json_schema")
TEXT_PARTS = ("input_text", "output_text", "text", "refusal")

Turn = dict[str, Any]


class TextSettings(Asked):
    """What form the text must have: `{"format": {"type": "json_schema", "name": …, "schema": …}}`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: dict[str, Any] | None = None


class ResponseRequest(BaseModel):
    """POST /v1/responses."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    model: str | None = None
    input: str | list[dict[str, Any]] = ""
    """A question, or turns and what tools gave."""
    instructions: str | None = None
    """What the model is told about its part, for this response alone."""
    previous_response_id: str | None = None
    """A stored response that is gone on from."""
    max_output_tokens: Annotated[int | None, Field(ge=1)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=MOST_TOP)] = None
    seed: Annotated[int | None, Field(ge=-LARGEST_SEED - 1, le=LARGEST_SEED)] = None
    """Beyond OpenAI's: the same seed gives the same answer."""
    stream: bool | None = None
    store: bool | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    text: TextSettings | None = None
    metadata: Metadata | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_the_ignored(cls, given: Any) -> Any:
        return {key: value for key, value in given.items() if key not in IGNORED} if isinstance(given, dict) else given


def turns_of(asked: ResponseRequest) -> list[Turn]:
    """The input as turns of a chat. Raises `ApiError` for an item that cannot be read."""
    items = [{"role": "user", "content": asked.input}] if isinstance(asked.input, str) else asked.input
    turns: list[Turn] = []
    for number, item in enumerate(items):
        where = f"input[{number}]"
        match item.get("type", "message"):
            case "message":
                turns.append({"role": item.get("role", "user"), "content": _text(item.get("content"), where)})
            case "function_call":
                call = {"name": item.get("name", ""), "arguments": item.get("arguments", "{}")}
                called = {"id": item.get("call_id", ""), "type": "function", "function": call}
                if turns and turns[-1].get("tool_calls"):
                    turns[-1]["tool_calls"].append(called)
                else:
                    turns.append({"role": "assistant", "content": None, "tool_calls": [called]})
            case "function_call_output":
                turns.append({"role": "tool", "tool_call_id": item.get("call_id", ""), "content": _text(item.get("output"), where)})
            case "reasoning":
                continue  # what a model thought is not said again
            case other:
                raise ApiError(400, f"'{other}' items cannot be read by this server - '{where}.type'", f"{where}.type")
    return turns


def as_chat(asked: ResponseRequest, turns: list[Turn]) -> ChatRequest:
    """The chat request that asks the same. Raises pydantic's errors, which name the part of the chat request."""
    first = [{"role": "developer", "content": asked.instructions}] if asked.instructions else []
    choice = asked.tool_choice
    if isinstance(choice, dict):
        choice = {"type": "function", "function": {"name": choice.get("name", "")}}
    told = {
        "model": asked.model,
        "messages": [*first, *turns],
        "max_completion_tokens": asked.max_output_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "logprobs": True if asked.top_logprobs else None,
        "top_logprobs": asked.top_logprobs or None,
        "seed": asked.seed,
        "tools": [_tool(tool, f"tools[{number}]") for number, tool in enumerate(asked.tools or [])] or None,
        "tool_choice": choice,
        "response_format": _format(asked),
    }
    return ChatRequest.model_validate(told)


def _text(content: Any, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise ApiError(400, f"the content must be a text or a list of parts - '{where}.content'", f"{where}.content")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in TEXT_PARTS:
            raise ApiError(400, f"This model reads text only: '{kind}' cannot be given. - '{where}.content'", f"{where}.content")
        texts.append(str(part.get("text") or part.get("refusal") or ""))
    return "".join(texts)


def _tool(tool: dict[str, Any], where: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise ApiError(400, f"'{tool.get('type')}' is not one of ['function'] - '{where}.type'", f"{where}.type")
    return {
        "type": "function",
        "function": {key: value for key, value in tool.items() if key in ("name", "description", "parameters", "strict")},
    }


def _format(asked: ResponseRequest) -> dict[str, Any] | None:
    form = asked.text.format if asked.text is not None else None
    if form is None:
        return None
    kind = form.get("type")
    if kind not in FORMATS:
        raise ApiError(400, f"'{kind}' is not one of {list(FORMATS)} - 'text.format.type'", "text.format.type")
    inner = {key: form.get(key) for key in ("name", "description", "schema", "strict") if form.get(key) is not None}
    return {"type": kind, "json_schema": inner} if kind == "json_schema" else {"type": kind}
