"""What can be asked of evals, as OpenAI's clients ask it: evals, runs, where their items come from, and how answers are drawn."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, ConfigDict, Discriminator, Field, Tag, TypeAdapter

from luthier.api.chat_request import LARGEST_SEED, Asked, Metadata, ResponseFormat, Tool
from luthier.api.responses_request import TextSettings
from luthier.graders.messages import JudgeMessage

MOST_CRITERIA = 100
LONGEST_NAME = 512

Name = Annotated[str, Field(max_length=LONGEST_NAME)]


def by_type(*types: str) -> Discriminator:
    """Chooses an alternative by its `type`. Its tag begins with a capital, as what errors leave out of a field's path."""

    def tag(value: Any) -> str | None:
        kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
        return kind.capitalize() if isinstance(kind, str) and kind in types else None

    return Discriminator(tag, custom_error_type="not_a_type", custom_error_message=f"its 'type' is not one of {list(types)}")


class CustomConfig(Asked):
    """Items of any form, by their JSON schema."""

    type: Literal["custom"]
    item_schema: dict[str, Any]
    include_sample_schema: bool | None = None
    """Whether there are answers beside the items, given or drawn."""


class KeptConfig(Asked):
    """Items that are answers which were kept: of chat completions, or of responses."""

    type: Literal["logs", "stored_completions"]
    metadata: Metadata | None = None
    """Only those that have all of this."""


Config = Annotated[
    Annotated[CustomConfig, Tag("Custom")] | Annotated[KeptConfig, Tag("Logs")] | Annotated[KeptConfig, Tag("Stored_completions")],
    by_type("custom", "logs", "stored_completions"),
]


class NewEval(Asked):
    """POST /v1/evals."""

    name: Name | None = None
    metadata: Metadata | None = None
    data_source_config: Config
    testing_criteria: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_CRITERIA)]
    """Graders, as in `fine_tuning`; each may have a `pass_threshold`."""


class ChangedEval(Asked):
    """What of an eval can be changed."""

    name: Name | None = None
    metadata: Metadata | None = None


class Given(Asked):
    """A row. `sample`: an answer that is there already."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class FileContent(Asked):
    """Rows in the request itself."""

    type: Literal["file_content"]
    content: Annotated[list[Given], Field(min_length=1)]


class FileId(Asked):
    """Rows of an uploaded file, a JSON object `{"item": …, "sample": …}` a line."""

    type: Literal["file_id"]
    id: str


class StoredCompletions(Asked):
    """Chat completions that were kept, the newest first."""

    type: Literal["stored_completions"]
    metadata: Metadata | None = None
    model: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    limit: Annotated[int | None, Field(ge=1)] = None


class KeptResponses(Asked):
    """Responses that were kept, the newest first."""

    type: Literal["responses"]
    metadata: Metadata | None = None
    model: str | None = None
    created_after: int | None = None
    created_before: int | None = None
    limit: Annotated[int | None, Field(ge=1)] = None
    instructions_search: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    tools: list[str] | None = None
    users: list[str] | None = None
    reasoning_effort: str | None = None


Rows = Annotated[FileContent, Tag("File_content")] | Annotated[FileId, Tag("File_id")]


class Template(Asked):
    """What the model is asked: messages with `{{ item.… }}`."""

    type: Literal["template"]
    template: Annotated[list[JudgeMessage], Field(min_length=1)]


class ItemReference(Asked):
    """What the model is asked stands in the item: `item.input`, a list of messages, or a text."""

    type: Literal["item_reference"]
    item_reference: Annotated[str, Field(pattern=r"^\s*item(\.[A-Za-z_][A-Za-z0-9_-]*|\[[0-9]+\])+\s*$")]


Input = Annotated[
    Annotated[Template, Tag("Template")] | Annotated[ItemReference, Tag("Item_reference")], by_type("template", "item_reference")
]


class Sampling(Asked):
    """How answers are drawn; what is not said is as OpenAI has it: temperature and top_p 1, seed 42."""

    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    seed: Annotated[int | None, Field(ge=-LARGEST_SEED - 1, le=LARGEST_SEED)] = None
    max_completion_tokens: Annotated[
        int | None, Field(ge=1, validation_alias=AliasChoices("max_completion_tokens", "max_completions_tokens"))
    ] = None
    reasoning_effort: str | None = None
    """Taken, and without effect here."""


class CompletionsSampling(Sampling):
    """As chat completions say it."""

    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = None


class ResponsesSampling(Sampling):
    """As responses say it."""

    text: TextSettings | None = None
    tools: list[dict[str, Any]] | None = None


class JsonlRun(Asked):
    """Answers, where there are any, are in the rows."""

    type: Literal["jsonl"]
    source: Annotated[Rows, by_type("file_content", "file_id")]


class CompletionsRun(Asked):
    """Answers are drawn by chat completions; without a `model`, they are in the rows."""

    type: Literal["completions"]
    source: Annotated[
        Rows | Annotated[StoredCompletions, Tag("Stored_completions")], by_type("file_content", "file_id", "stored_completions")
    ]
    input_messages: Input | None = None
    model: str | None = None
    sampling_params: CompletionsSampling | None = None


class ResponsesRun(Asked):
    """Answers are drawn by responses; without a `model`, they are in the rows."""

    type: Literal["responses"]
    source: Annotated[Rows | Annotated[KeptResponses, Tag("Responses")], by_type("file_content", "file_id", "responses")]
    input_messages: Input | None = None
    model: str | None = None
    sampling_params: ResponsesSampling | None = None


Source = FileContent | FileId | StoredCompletions | KeptResponses
Sampled = CompletionsRun | ResponsesRun
DataSource = Annotated[
    Annotated[JsonlRun, Tag("Jsonl")] | Annotated[CompletionsRun, Tag("Completions")] | Annotated[ResponsesRun, Tag("Responses")],
    by_type("jsonl", "completions", "responses"),
]


class NewRun(Asked):
    """POST /v1/evals/{eval_id}/runs."""

    name: Name | None = None
    metadata: Metadata | None = None
    data_source: DataSource


_data_source: TypeAdapter[JsonlRun | CompletionsRun | ResponsesRun] = TypeAdapter(DataSource)


def data_source_of(kept: Mapping[str, Any]) -> JsonlRun | CompletionsRun | ResponsesRun:
    """As it was kept by `told`."""
    return _data_source.validate_python(kept)


def told(asked: Asked) -> dict[str, Any]:
    """As it was asked, without what was not said."""
    return asked.model_dump(mode="json", by_alias=True, exclude_unset=True)
