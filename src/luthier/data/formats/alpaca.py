"""Alpaca's instructions: `{"instruction": "…", "input": "…", "output": "…"}`, with `system` and earlier turns (`history`) if there are any.

`response` is read like `output` and `context` like `input`, as Dolly calls them.
"""

from collections.abc import Mapping
from typing import Any

from luthier.data import jsonl
from luthier.data.sample import Sample
from luthier.data.turns import prompt, text
from luthier.spec.rows import Conversation, Message, Origin

DESCRIPTION = "rows with `instruction`, `input` and `output`, as Alpaca's"

OUTPUTS = ("output", "response")
OTHER_FORMATS = ("chosen", "rejected", "kto_tag", "label", "score", "scores", "rating", "ratings")
"""Fields that make a row one of human judgements; read as answers to imitate, bad answers would be learned."""


def sniff(sample: Sample) -> float:
    return sample.fitting(lambda row: "instruction" in row and bool(_output(row)) and not any(key in row for key in OTHER_FORMATS))


def mapping(sample: Sample) -> str:
    given = next((key for key in ("input", "context") if sample.share(key)), "")
    output = next((key for row in sample.objects if (key := _output(row))), "output")
    before = [f"`{key}` → {what}, " for key, what in (("system", "system"), ("history", "earlier turns")) if sample.share(key)]
    asked = f"`instruction` and, below it, `{given}` → user" if given else "`instruction` → user"
    return f"{''.join(before)}{asked}, `{output}` → assistant" + sample.unread(("system", "history", "instruction", given, output))


def row(fields: Mapping[str, Any], origin: Origin) -> Conversation:
    output = _output(fields)
    wanted = ([] if "instruction" in fields else ["instruction"]) + ([] if output else ["output"])
    if wanted or output is None:
        raise jsonl.missing(origin, wanted, fields, "alpaca")
    text(fields, "instruction", origin)
    return Conversation((*prompt(fields, origin, "alpaca"), Message("assistant", text(fields, output, origin))), origin)


def _output(fields: Mapping[str, Any]) -> str | None:
    return next((key for key in OUTPUTS if key in fields), None)
