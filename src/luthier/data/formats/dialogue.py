"""Dialogues as plain text: lines that begin with `User:` and `Bot:`, answers closed by `<|endoftext|>`, dialogues parted by a blank line.

Without blank lines each `<|endoftext|>` ends a dialogue; without that mark a blank line does. Where marks show that an answer is over, text
that follows and belongs to no turn (some files mix stories in) is left out and counted; without marks it could as well be the answer's next
paragraph, and is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from luthier.data import files
from luthier.data.sample import Sample
from luthier.errors import DataError
from luthier.spec.rows import Conversation, Faulty, Message, Origin, Skipped

DESCRIPTION = "text with `User:` and `Bot:` before the turns"

MARKER = "<|endoftext|>"
SPEAKERS = {"User": "user", "Human": "user", "Bot": "assistant", "Assistant": "assistant", "System": "system"}
TURN = re.compile(rf"({'|'.join(SPEAKERS)}): ?(.*)")


def sniff(sample: Sample) -> float:
    """More than half of the lines begin a turn, and both sides speak. Surer than raw text, which takes any `.txt`."""
    if sample.container != "text":
        return 0.0
    roles = [SPEAKERS[turn[1]] for line in sample.lines if (turn := TURN.match(line))]
    return 0.5 + len(roles) / len(sample.lines) / 2 if {"user", "assistant"} <= set(roles) and len(roles) * 2 > len(sample.lines) else 0.0


def mapping(sample: Sample) -> str:
    names = dict.fromkeys(turn[1] for line in sample.lines if (turn := TURN.match(line)))
    return ", ".join(f"`{name}:` → {SPEAKERS[name]}" for name in names)


@dataclass
class _Dialogue:
    """What has been read of one dialogue: its first line's number and its turns, each a role and its lines."""

    line: int
    turns: list[tuple[str, list[str]]] = field(default_factory=list)
    closed: bool = False
    """Whether the last turn ended with the marker."""


def read(path: Path) -> Iterator[Conversation | Skipped | Faulty]:
    marked, parted = _habits(path)
    dialogue: _Dialogue | None = None
    blanks, foreign = 0, False
    for number, line in files.lines(path):
        try:
            text = files.text(line, path, number).rstrip()
        except DataError as error:
            yield Faulty(str(error), Origin(str(path), number))
            continue
        if not text:
            blanks, foreign = blanks + 1, False
            continue
        turn = TURN.match(text)
        if dialogue and _is_over(dialogue, turn, blanks, marked, parted):
            yield _conversation(dialogue, path)
            dialogue = None
        if turn:
            dialogue, foreign = dialogue or _Dialogue(number), False
            dialogue.turns.append((SPEAKERS[turn[1]], []))
            _append(dialogue, turn[2], 0)
        elif dialogue and not dialogue.closed and (marked or not blanks):
            _append(dialogue, text, blanks)
        elif not foreign:
            foreign = True
            yield _outside(Origin(str(path), number), marked)
        blanks = 0
    if dialogue:
        yield _conversation(dialogue, path)


def _habits(path: Path) -> tuple[bool, bool]:
    """Whether the file marks the ends of answers, and whether it has blank lines between lines."""
    marked = parted = blank = False
    for _, line in files.lines(path):
        marked = marked or MARKER.encode() in line
        parted = parted or (blank and bool(line.strip()))
        blank = not line.strip()
    return marked, parted


def _is_over(dialogue: _Dialogue, turn: re.Match[str] | None, blanks: int, marked: bool, parted: bool) -> bool:
    """Whether the dialogue ended before this line."""
    if marked and not parted:
        return dialogue.closed
    begins = turn is not None and SPEAKERS[turn[1]] != "assistant"
    return bool(blanks) and (begins or (dialogue.closed if marked else turn is None))


def _append(dialogue: _Dialogue, text: str, blanks: int) -> None:
    dialogue.closed = text.endswith(MARKER)
    dialogue.turns[-1][1].extend([""] * blanks + [text.removesuffix(MARKER).rstrip()])


def _conversation(dialogue: _Dialogue, path: Path) -> Conversation:
    messages = tuple(Message(role, "\n".join(lines).strip()) for role, lines in dialogue.turns)
    return Conversation(messages, Origin(str(path), dialogue.line))


def _outside(origin: Origin, marked: bool) -> Skipped | Faulty:
    if marked:
        return Skipped("text that belongs to no turn", origin)
    why = (
        f"{origin}: this line follows a blank line and begins no turn. Begin it with `User:` or `Bot:`; "
        f"if answers have several paragraphs, close each answer with `{MARKER}`."
    )
    return Faulty(why, origin)
