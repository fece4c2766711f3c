"""ShareGPT's conversations: `{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}], "tools": …, "system": …}`.

Calls of tools (`function_call`) and what they return (`observation`) become OpenAI's. Turns may also have `role` and `content`.
"""

from collections.abc import Mapping
from typing import Any

from luthier.data import jsonl
from luthier.data.messages import tools
from luthier.data.sample import Sample
from luthier.data.turns import decoded, text, turns
from luthier.spec.rows import Conversation, Message, Origin

DESCRIPTION = "rows with `conversations` of `from` and `value`, as ShareGPT's"

KEYS = ("conversations", "conversation")
JUDGED = ("label", "kto_tag", "chosen", "rejected", "scores")
"""Fields that make a row one of human judgements; read as answers to imitate, bad answers would be learned."""


def sniff(sample: Sample) -> float:
    return sample.fitting(lambda row: _key(row) is not None and not any(key in row for key in JUDGED))


def mapping(sample: Sample) -> str:
    key = next((key for row in sample.objects if (key := _key(row))), KEYS[0])
    speakers = dict.fromkeys(_speaker(turn) for row in sample.objects for turn in _entries(row.get(key)))
    others = "".join(
        f", `{other}` → {what}" for other, what in (("tools", "the tools it may call"), ("system", "system")) if sample.share(other)
    )
    who = f" (of {', '.join(f'`{speaker}`' for speaker in speakers if speaker)})" if any(speakers) else ""
    return f"`{key}`{who} → the conversation{others}" + sample.unread((key, "tools", "system"))


def row(fields: Mapping[str, Any], origin: Origin) -> Conversation:
    key = _key(fields)
    if key is None:
        raise jsonl.missing(origin, ["conversations"], fields, "sharegpt")
    if not isinstance(decoded(fields[key]), list):
        raise jsonl.wrong(origin, f"`{key}`", fields[key], 'it must be a list of turns such as {"from": "human", "value": "…"}')
    system = (Message("system", text(fields, "system", origin)),) if fields.get("system") else ()
    return Conversation((*system, *turns(fields[key], f"`{key}`", origin)), origin, tools(fields, origin))


def _key(fields: Mapping[str, Any]) -> str | None:
    return next((key for key in KEYS if key in fields), None)


def _entries(value: Any) -> list[Any]:
    value = decoded(value)
    return value if isinstance(value, list) else []


def _speaker(turn: Any) -> str:
    return str(turn.get("from", turn.get("role", ""))) if isinstance(turn, dict) else ""
