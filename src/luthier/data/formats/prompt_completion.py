"""A prompt and its answer: `{"prompt": "…", "completion": "…"}`, one per line; also `question` and `answer`, `prompt` and `response`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from luthier.data import jsonl
from luthier.data.sample import Sample
from luthier.spec.rows import Conversation, Message, Origin

DESCRIPTION = "rows with `prompt` and `completion`, or `question` and `answer`"

PAIRS = (("prompt", "completion"), ("prompt", "response"), ("question", "answer"))
OTHER_FORMATS = ("label", "rejected", "chosen")
"""Fields that make a row one of human judgements; read as answers to imitate, bad answers would be learned."""


def sniff(sample: Sample) -> float:
    if any(sample.share(key) for key in OTHER_FORMATS):
        return 0.0
    return sum(_pair(row) is not None for row in sample.objects) / max(len(sample.lines), 1)


def mapping(sample: Sample) -> str:
    prompt, answer = next((pair for row in sample.objects if (pair := _pair(row))), PAIRS[0])
    system = "`system` → system, " if sample.share("system") else ""
    return f"{system}`{prompt}` → user, `{answer}` → assistant"


def read(path: Path) -> Iterator[Conversation]:
    for origin, line in jsonl.lines(path):
        fields = jsonl.fields(line, origin)
        pair = _pair(fields)
        if pair is None:
            raise _missing(fields, origin)
        system = (Message("system", _text(fields, "system", origin)),) if fields.get("system") else ()
        prompt, answer = (_text(fields, key, origin) for key in pair)
        yield Conversation((*system, Message("user", prompt), Message("assistant", answer)), origin)


def _pair(fields: Mapping[str, Any]) -> tuple[str, str] | None:
    return next((pair for pair in PAIRS if pair[0] in fields and pair[1] in fields), None)


def _missing(fields: Mapping[str, Any], origin: Origin) -> Exception:
    begun = [pair for pair in PAIRS if pair[0] in fields or pair[1] in fields] or list(PAIRS[:1])
    wanted = [key for key in begun[0] if key not in fields]
    return jsonl.missing(origin, wanted, fields, "prompt_completion")


def _text(fields: Mapping[str, Any], key: str, origin: Origin) -> str:
    value = fields[key]
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        raise jsonl.wrong(origin, f"`{key}`", value, "it must be text; conversations go into `messages` (format `chat`)")
    raise jsonl.wrong(origin, f"`{key}`", value, "it must be text in quotes")
