"""What a judge is told: messages with templates, in OpenAI's shape, filled and turned into those of chat completions."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.graders.case import Case
from luthier.graders.template import Template, filled
from luthier.spec.base import Spec


class InputText(Spec):
    type: Literal["input_text"]
    """The kind of part."""
    text: Template
    """A template."""


class OutputText(Spec):
    type: Literal["output_text"]
    """The kind of part."""
    text: Template
    """A template."""


class InputImage(Spec):
    type: Literal["input_image"]
    """The kind of part."""
    image_url: Template
    """Where the picture is, or the picture itself as a `data:` URL."""
    detail: Literal["auto", "low", "high"] | None = None
    """How closely it is looked at."""


class AudioData(Spec):
    data: Template
    """The recording in base64."""
    format: Literal["mp3", "wav"]
    """Its kind."""


class InputAudio(Spec):
    type: Literal["input_audio"]
    """The kind of part."""
    input_audio: AudioData
    """The recording."""


Part = Annotated[InputText | OutputText | InputImage | InputAudio, Field(discriminator="type")]


class JudgeMessage(Spec):
    """One message to the judge."""

    role: Literal["user", "assistant", "system", "developer"]
    """Who speaks."""
    content: Template | Part | tuple[Template | Part, ...]
    """A template, or parts."""
    type: Literal["message"] = "message"
    """Always `message`."""


def turns(messages: Sequence[JudgeMessage], case: Case) -> list[dict[str, Any]]:
    """The messages of chat completions.

    Raises:
        Unfilled: a variable without a value.
    """
    return [{"role": message.role, "content": _content(message, case)} for message in messages]


def written(messages: Sequence[JudgeMessage], case: Case, instruction: str) -> list[dict[str, Any]]:
    """As `turns`; `instruction` stands at the end, so that a judge without structured output knows what to write. Raises as `turns`."""
    return [*turns(messages, case), {"role": "system", "content": instruction}]


def _content(message: JudgeMessage, case: Case) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return filled(message.content, case)
    parts = message.content if isinstance(message.content, tuple) else (message.content,)
    written = [_part(part, case) for part in parts]
    if all(part["type"] == "text" for part in written):
        return "\n".join(part["text"] for part in written)
    return written


def _part(part: str | Spec, case: Case) -> dict[str, Any]:
    match part:
        case str():
            return {"type": "text", "text": filled(part, case)}
        case InputText() | OutputText():
            return {"type": "text", "text": filled(part.text, case)}
        case InputImage():
            detail = {} if part.detail is None else {"detail": part.detail}
            return {"type": "image_url", "image_url": {"url": filled(part.image_url, case), **detail}}
        case InputAudio():
            audio = part.input_audio
            return {"type": "input_audio", "input_audio": {"data": filled(audio.data, case), "format": audio.format}}
    raise AssertionError(part)
