"""What can be asked of a chat model, as OpenAI's clients ask it: the fields, their ranges, and those without effect here."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

IGNORED = frozenset(
    {
        "audio",
        "modalities",
        "moderation",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "user",
        "verbosity",
        "web_search_options",
    }
)
"""Harmless fields of newer clients: they say how OpenAI's servers should work, not what the answer is."""

MOST_ANSWERS = 128
MOST_STOPS = 4
MOST_TOP = 20
LARGEST_SEED = 2**63 - 1
MOST_PAIRS, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512
"""Of metadata."""

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=LONGEST_KEY)], Annotated[str, Field(max_length=LONGEST_VALUE)]], Field(max_length=MOST_PAIRS)
]


class Asked(BaseModel):
    """A part of a request: no field that nobody knows, no number that is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class TextPart(Asked):
    """A stretch of a message's text."""

    type: Literal["text", "refusal"]
    text: str | None = None
    refusal: str | None = None


class MediaPart(Asked):
    """A stretch that is no text, which is told to be unreadable rather than left out."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: Literal["image_url", "input_audio", "file"]


class CalledFunction(Asked):
    """What an assistant called, its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(Asked):
    """One call of an assistant."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Asked):
    """One turn of a conversation."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Annotated[TextPart | MediaPart, Field(discriminator="type")]] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None

    @property
    def text(self) -> str:
        """All of its text."""
        if isinstance(self.content, list):
            return "".join(part.text or part.refusal or "" for part in self.content if isinstance(part, TextPart))
        return self.content or ""

    @property
    def has_media(self) -> bool:
        return isinstance(self.content, list) and any(isinstance(part, MediaPart) for part in self.content)


class ToolFunction(Asked):
    """A function that may be called. `parameters`: a JSON schema."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Asked):
    """A tool: only functions run at the client's, so only they can be given."""

    type: Literal["function"]
    function: ToolFunction


class NamedFunction(Asked):
    """The name of a function."""

    name: str


class NamedTool(Asked):
    """The one tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Asked):
    """A schema that the answer must fit."""

    name: str = "answer"
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Asked):
    """What form the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> "ResponseFormat":
        if self.type == "json_schema" and (self.json_schema is None or self.json_schema.schema_ is None):
            raise ValueError("Missing required parameter: 'response_format.json_schema'")
        return self


class StreamOptions(Asked):
    """Of a streamed answer. `include_usage`: a last piece tells how many tokens it took."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    include_usage: bool | None = None


class Drawn(Asked):
    """How an answer is drawn; a field that is null is as if it were not given."""

    model: str | None = None
    """A model's name, or an alias. Azure's clients name it in the path instead."""
    n: Annotated[int | None, Field(ge=1, le=MOST_ANSWERS)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    top_k: Annotated[int | None, Field(ge=0)] = None
    """Beyond OpenAI's: draw only from so many of the likeliest tokens; 0 for all."""
    min_p: Annotated[float | None, Field(ge=0, le=1)] = None
    """Beyond OpenAI's: draw only from tokens at least this share as likely as the likeliest."""
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: Annotated[int | None, Field(ge=-LARGEST_SEED - 1, le=LARGEST_SEED)] = None
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in given if text)


class ChatRequest(Drawn):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=MOST_TOP)] = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    response_format: ResponseFormat | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    luthier: dict[str, Any] | None = None
    """Beyond OpenAI's: `{"template": {…}}`, arguments of the model's chat template, such as `enable_thinking`."""

    @model_validator(mode="before")
    @classmethod
    def _without_the_ignored(cls, given: Any) -> Any:
        return {key: value for key, value in given.items() if key not in IGNORED} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _goes_together(self) -> "ChatRequest":
        if self.top_logprobs and not self.logprobs:
            raise ValueError("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.")
        if self.stream_options is not None and not self.stream:
            raise ValueError("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
        if self.tool_choice not in (None, "none", "auto") and not self.tools:
            raise ValueError("'tool_choice' is only allowed when 'tools' are specified.")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in {t.function.name for t in self.tools or []}:
            raise ValueError(f"Tool choice '{self.tool_choice.function.name}' not found in 'tools' parameter.")
        return self

    @property
    def longest(self) -> int | None:
        """Tokens of an answer at most; None for what the context leaves."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens
