"""Files → prompts to be answered: chat rows up to the last question, `{"prompt": …}`, raw text, or a line each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.data import files, jsonl
from luthier.data.check import check
from luthier.data.formats import dialogue
from luthier.data.messages import message, tools
from luthier.data.sample import sample
from luthier.errors import DataError
from luthier.spec.nearest import listed
from luthier.spec.rows import Conversation, Message, Origin

QUESTIONS = ("prompt", "question", "text")
ANSWERS = ("completion", "response", "answer")
OBJECTS = (".jsonl", ".json", ".ndjson")


@dataclass(frozen=True)
class Prompt:
    """`messages`: up to the one to be answered. `reference`: the answer that the file gives, if it gives one."""

    messages: tuple[Message, ...]
    origin: Origin
    tools: tuple[dict[str, Any], ...] = ()
    reference: str | None = None


def read_prompts(path: str) -> list[Prompt]:
    """Every prompt of a file, each checked.

    Raises:
        DataError: a file or row that cannot be used: where, what was found, what to do.
    """
    file = files.existing(path)
    found = list(_prompts(file))
    if not found:
        raise DataError(f"{path} is empty. Give a file with at least one prompt.")
    return found


def _prompts(path: Path) -> Iterator[Prompt]:
    beginning = sample(path)
    if beginning.objects or beginning.suffix in OBJECTS:
        for origin, line in jsonl.lines(path):
            yield _from_fields(jsonl.fields(line, origin), origin)
    elif dialogue.sniff(beginning) > 0.5:
        for row in dialogue.read(path):
            if isinstance(row, Conversation):
                yield _up_to_question(row)
    else:
        for number, line in files.lines(path):
            if text := files.text(line, path, number).strip():
                yield Prompt((Message("user", text),), Origin(str(path), number))


def _from_fields(fields: dict[str, Any], origin: Origin) -> Prompt:
    turns = fields.get("messages", fields.get("prompt"))
    if isinstance(turns, list):
        parsed = tuple(message(turn, origin, i) for i, turn in enumerate(turns, start=1))
        return _up_to_question(Conversation(parsed, origin, tools(fields, origin)))
    if "messages" in fields:
        raise jsonl.wrong(origin, "`messages`", turns, "it must be a list of messages")
    key = next((key for key in QUESTIONS if key in fields), None)
    if key is None:
        raise DataError(
            f"{origin}: this row has no {listed(['messages', *QUESTIONS])}. It has {listed(list(fields)[:8], 'and') or 'nothing'}."
        )
    for name in (key, "system"):
        if name in fields and not (isinstance(fields[name], str) and fields[name].strip()):
            raise jsonl.wrong(origin, f"`{name}`", fields[name], "it must be text in quotes")
    system = (Message("system", fields["system"]),) if "system" in fields else ()
    answer = next((fields[name] for name in ANSWERS if isinstance(fields.get(name), str)), None)
    return Prompt((*system, Message("user", fields[key])), origin, (), answer)


def _up_to_question(row: Conversation) -> Prompt:
    """Without the answers at the end. What is left is checked like a row to be learned, as if it were answered."""
    messages = list(row.messages)
    answers = []
    while messages and messages[-1].role == "assistant":
        answers.append(messages.pop().content)
    if not any(m.role in ("user", "tool") for m in messages):
        raise DataError(f"{row.origin}: no message of this row is the user's, so there is nothing to answer. Add one, or remove the row.")
    check(Conversation((*messages, Message("assistant", "…")), row.origin, row.tools))
    return Prompt(tuple(messages), row.origin, row.tools, "\n".join(reversed(answers)) or None)
