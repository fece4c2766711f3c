"""One answer that a person found good or not: `{"prompt": …, "completion": …, "label": true}`, as TRL's for KTO.

Also LLaMA-Factory's: `messages` (the last answer is judged) or `instruction` and `output`, with `label` or `kto_tag`.
"""

from collections.abc import Mapping
from typing import Any

from luthier.data import jsonl
from luthier.data.messages import tools
from luthier.data.sample import Sample
from luthier.data.turns import ANSWERS, answer, parted, prompt, prompt_key, turns
from luthier.spec.rows import Origin, Thumb

DESCRIPTION = "rows with `prompt`, `completion` and a `label` that is true or false"

JUDGEMENTS = ("label", "kto_tag", "thumb", "good")
CONVERSATIONS = ("messages", "conversations")
SAID: dict[Any, bool] = {True: True, False: False, "true": True, "false": False, "1": True, "0": False, "up": True, "down": False}
"""What a thumb up or down may look like (1 and 0 are Python's True and False)."""


def sniff(sample: Sample) -> float:
    return sample.fitting(lambda row: (key := _judgement(row)) is not None and _good(row[key]) is not None and _is_answered(row))


def mapping(sample: Sample) -> str:
    first = next((row for row in sample.objects if _judgement(row) and _is_answered(row)), {})
    said = f"`{_judgement(first) or JUDGEMENTS[0]}` → whether it is good"
    if key := _conversation(first):
        return f"`{key}` → the prompt, and its last answer, {said}" + sample.unread((key, "tools", *JUDGEMENTS))
    key, response = "instruction" if "instruction" in first else prompt_key(first) or "prompt", _answer(first) or "completion"
    return f"`{key}` → the prompt, `{response}` → the answer, {said}" + sample.unread(
        (key, "input", "system", "history", "tools", response, *JUDGEMENTS)
    )


def row(fields: Mapping[str, Any], origin: Origin) -> Thumb:
    judgement = _judgement(fields)
    if judgement is None or not _is_answered(fields):
        wanted = ["label"] if judgement is None else ["completion"] if prompt_key(fields) else ["prompt", "completion"]
        raise jsonl.missing(origin, wanted, fields, "thumbs")
    good = _good(fields[judgement])
    if good is None:
        raise jsonl.wrong(origin, f"`{judgement}`", fields[judgement], "it must be true (good) or false")
    functions = tools(fields, origin)
    if key := _conversation(fields):
        asked, answered = parted(turns(fields[key], f"`{key}`", origin))
        return Thumb(asked, answered, good, origin, functions)
    response = _answer(fields)
    return Thumb(prompt(fields, origin, "thumbs"), answer(fields[response], f"`{response}`", origin), good, origin, functions)


def _judgement(fields: Mapping[str, Any]) -> str | None:
    return next((key for key in JUDGEMENTS if key in fields), None)


def _good(value: Any) -> bool | None:
    value = value.strip().lower() if isinstance(value, str) else value
    return SAID.get(value) if isinstance(value, str | int) else None


def _is_answered(fields: Mapping[str, Any]) -> bool:
    return _conversation(fields) is not None or (prompt_key(fields) is not None and bool(_answer(fields)))


def _conversation(fields: Mapping[str, Any]) -> str | None:
    return next((key for key in CONVERSATIONS if key in fields and not _answer(fields)), None)


def _answer(fields: Mapping[str, Any]) -> str:
    return next((key for key in ANSWERS if key in fields), "")
