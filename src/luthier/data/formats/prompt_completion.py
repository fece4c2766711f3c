"""A prompt and its answer: `{"prompt": "…", "completion": "…"}`, as text or messages; also `question` and `answer`, and the like."""

from collections.abc import Mapping
from typing import Any

import msgspec

from luthier.data import jsonl
from luthier.data.sample import Sample
from luthier.data.turns import answer, is_turns, text, turns
from luthier.spec.rows import Conversation, Message, Origin

DESCRIPTION = "rows with `prompt` and `completion`, or `question` and `answer`"

PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("prompt", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("input", "output"),
)
OTHER_FORMATS = ("label", "kto_tag", "rejected", "chosen", "score", "scores", "rating", "ratings", "helpfulness", "instruction")
"""Fields that make a row one of human judgements; read as answers to imitate, bad answers would be learned. (And Alpaca's.)"""


def sniff(sample: Sample) -> float:
    return sample.fitting(lambda row: _pair(row) is not None and not any(key in row for key in OTHER_FORMATS))


def mapping(sample: Sample) -> str:
    prompt, completion = next((pair for row in sample.objects if (pair := _pair(row))), PAIRS[0])
    system = "`system` → system, " if sample.share("system") else ""
    return f"{system}`{prompt}` → user, `{completion}` → assistant" + sample.unread(("system", prompt, completion))


class _Plain(msgspec.Struct):
    """The rows that most files consist of. Any other takes the slower way below."""

    prompt: str
    completion: str
    system: None = None


_decode = msgspec.json.Decoder(_Plain).decode


def quick(line: bytes, origin: Origin) -> Conversation | None:
    """A line of JSONL straight into a row, where it is one of the plain ones."""
    try:
        plain = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # not plain; the slower way reads it or says what is wrong
    if is_turns(plain.prompt):
        return None
    return Conversation((Message("user", plain.prompt), Message("assistant", plain.completion)), origin)


def row(fields: Mapping[str, Any], origin: Origin) -> Conversation:
    pair = _pair(fields)
    if pair is None:
        raise _missing(fields, origin)
    prompt, completion = pair
    system = (Message("system", text(fields, "system", origin)),) if fields.get("system") else ()
    if is_turns(fields[prompt]):
        asked = turns(fields[prompt], f"`{prompt}`", origin)
        return Conversation((*system, *asked, *answer(fields[completion], f"`{completion}`", origin)), origin)
    asked = (Message("user", _text(fields, prompt, origin)),)
    return Conversation((*system, *asked, Message("assistant", _text(fields, completion, origin))), origin)


def _pair(fields: Mapping[str, Any]) -> tuple[str, str] | None:
    return next((pair for pair in PAIRS if pair[0] in fields and pair[1] in fields), None)


def _missing(fields: Mapping[str, Any], origin: Origin) -> Exception:
    begun = [pair for pair in PAIRS if pair[0] in fields or pair[1] in fields] or list(PAIRS[:1])
    wanted = [key for key in begun[0] if key not in fields]
    return jsonl.missing(origin, wanted, fields, "prompt_completion")


def _text(fields: Mapping[str, Any], key: str, origin: Origin) -> str:
    if isinstance(fields[key], list):
        raise jsonl.wrong(origin, f"`{key}`", fields[key], "it must be text; conversations go into `messages` (format `chat`)")
    return text(fields, key, origin)
