"""A row as training sees it: its tokens in order, each with what becomes of it. For people: terminal and page draw the same data."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, assert_never

import numpy as np

from luthier.spec.rows import Conversation, Document, Judged, Labeled, Origin, Preference, Ranking, Rating, Row, Task, Thumb
from luthier.text.answered import talks_of
from luthier.text.classes import conversation_of
from luthier.text.dropped import Dropped
from luthier.text.encoded import Answer, Encoded
from luthier.text.learning import Learning
from luthier.text.renderer import Renderer
from luthier.text.sequence import Sequence as Ids

Kind = Literal["trained", "context", "special", "dropped", "cut"]

MEANINGS: dict[Kind, str] = {
    "trained": "learned",
    "context": "only read",
    "special": "a marker, one token",
    "dropped": "left out by the template",
    "cut": "beyond the longest row",
}
"""In the order of a legend."""


@dataclass(frozen=True)
class Token:
    """`text`: what it spells; empty where its bytes are only a part of a character, which its last token then spells.

    `weight`: how much it is learned, above 0 for a `special` one too where the model must write it. `id`: None for what is `dropped`.
    """

    text: str
    kind: Kind
    weight: float = 0.0
    id: int | None = None


@dataclass(frozen=True)
class Part:
    """One stretch of a row with a `name` for people: a whole conversation (empty), a shared prompt, one of several answers."""

    name: str
    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class Shown:
    """One row. `facts`: what the row says besides its text, such as a label or scores. `notes`: sentences on how it became tokens."""

    kind: str
    origin: Origin
    parts: tuple[Part, ...]
    facts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def tokens(self) -> Iterator[Token]:
        """Those that the model reads: without what is dropped."""
        return (token for part in self.parts for token in part.tokens if token.id is not None)

    @property
    def num_tokens(self) -> int:
        """A shared prompt counted once."""
        return sum(1 for _ in self.tokens)

    @property
    def num_trained(self) -> int:
        return sum(token.weight != 0 and token.kind != "cut" for token in self.tokens)


@dataclass(frozen=True)
class _Branch:
    """One sequence of a row: its name, its ids, and what the template dropped of which answer."""

    name: str
    ids: Ids
    dropped: tuple[tuple[int, Dropped], ...] = ()
    """(before which token, what)."""


def show(row: Row, renderer: Renderer, max_length: int, learning: Learning = Learning()) -> Shown:
    """A row of any kind, rendered as training renders it.

    Args:
        max_length: the longest row in tokens; what lies beyond is `cut`. Documents are never cut: they are learned in pieces.
        learning: which tokens are learned. Where answers are drawn, a row is shown as its prompt, a `Task`.
    Raises:
        TemplateError: the model has no chat template, or it refuses the row.
    """
    match row:
        case Document():
            return _document(row, renderer, max_length)
        case Conversation():
            shown = _rendered(row, [("", row)], renderer, max_length, learning)
        case Labeled():
            shown = _rendered(row, [("", conversation_of(row))], renderer, max_length, learning, (f"label: {row.label}",))
        case Preference():
            shown = _rendered(row, _named(row, ("chosen", "rejected")), renderer, max_length, learning)
        case Ranking():
            ranked = [f"answer {i}, rank {rank}" for i, rank in enumerate(row.ranks, start=1)]
            shown = _rendered(row, _named(row, ranked), renderer, max_length, learning, _rater(row.rater))
        case Thumb():
            name = "answer, found good" if row.good else "answer, found not good"
            shown = _rendered(row, _named(row, (name,)), renderer, max_length, learning)
        case Rating():
            scores = f"scores: {', '.join(f'{criterion} {score:g}' for criterion, score in row.scores.items())}"
            shown = _rendered(row, _named(row, ("answer",)), renderer, max_length, learning, (scores, *_rater(row.rater)))
        case Task():
            shown = _asked(row, renderer, max_length)
        case _:
            assert_never(row)
    return shown


def _rater(name: str | None) -> tuple[str, ...]:
    return () if name is None else (f"rater: {name}",)


def _named(row: Judged, names: Sequence[str]) -> list[tuple[str, Conversation]]:
    return list(zip(names, talks_of(row), strict=True))


def _asked(row: Task, renderer: Renderer, max_length: int) -> Shown:
    """The prompt as it is fed before an answer is drawn."""
    ids = renderer.prompt_ids(row.messages, row.tools)
    notes = _lost(renderer.render(row.messages, row.tools, add_generation_prompt=True).text, renderer)
    facts = (f"for rewards: {', '.join(row.item)}",) if row.item else ()
    sequence = Ids(ids, np.zeros(len(ids), dtype=np.float32))
    return Shown("task", row.origin, (Part("", tuple(_tokens(sequence, renderer, max_length))),), facts, tuple(notes))


def _document(row: Document, renderer: Renderer, max_length: int) -> Shown:
    ids = renderer.document(row.text)
    notes = list(_lost(row.text, renderer))
    if len(ids) > max_length:
        pieces = -(-(len(ids) - 1) // (max_length - 1))
        notes.append(f"{len(ids):,} tokens are more than the {max_length:,} that a row may have: `pretrain` learns it in {pieces} pieces.")
    return Shown("document", row.origin, (Part("", tuple(_tokens(ids, renderer, len(ids)))),), (), tuple(notes))


def _rendered(
    row: Row,
    talks: Sequence[tuple[str, Conversation]],
    renderer: Renderer,
    max_length: int,
    learning: Learning,
    facts: tuple[str, ...] = (),
) -> Shown:
    branches, notes = list[_Branch](), list[str]()
    for name, talk in talks:
        encoded = renderer.sequences(talk)
        branches += _branches(name, encoded, learning)
        notes += [*map(str, encoded.notes), *map(str, encoded.dropped)]
        notes += _not_read(encoded, talk)
        notes += _lost(renderer.render(talk.messages, talk.tools).text, renderer)
    notes += _too_long(branches, max_length)
    shared = _num_shared([branch.ids for branch in branches]) if len(talks) > 1 else 0
    parts = [Part(branch.name, tuple(_stretch(branch, renderer, max_length, shared))) for branch in branches]
    if shared:
        parts.insert(0, Part("prompt, shared by all answers", tuple(_stretch(branches[0], renderer, max_length, 0, shared))))
    spoken = (note.removeprefix(f"{row.origin}: ") for note in notes)
    return Shown(type(row).__name__.lower(), row.origin, tuple(parts), facts, tuple(dict.fromkeys(spoken)))


def _branches(name: str, encoded: Encoded, learning: Learning) -> Iterator[_Branch]:
    """One a sequence; several where a template writes an answer in another way once the conversation has gone on."""
    several = len(encoded.sequences) > 1
    for number, ids in enumerate(encoded.sequences):
        answers = [answer for answer in encoded.answers if answer.sequence == number]
        learned = " and ".join(str(answer.message + 1) for answer in answers)
        which = f"sequence {number + 1} of {len(encoded.sequences)}, learns message {learned}" if several else ""
        title = ": ".join(part for part in (name, which) if part)
        places = ((_place(dropped, answers, number), dropped) for dropped in encoded.dropped)
        yield _Branch(title, learning.of(ids), tuple((place, dropped) for place, dropped in places if place is not None))


def _place(dropped: Dropped, answers: Sequence[Answer], number: int) -> int | None:
    """Before which token something dropped is shown: thoughts before their answer, the rest of it after; all else at the beginning."""
    for answer in answers:
        if answer.message == dropped.message:
            return answer.start if dropped.part == "reasoning" else answer.end
    return 0 if number == 0 and dropped.role != "assistant" else None


def _num_shared(sequences: Sequence[Ids]) -> int:
    """Tokens that all begin with and none learns."""
    columns = zip(*(zip(ids.ids.tolist(), ids.weights.tolist(), strict=True) for ids in sequences), strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1 and column[0][1] == 0, columns))


def _stretch(branch: _Branch, renderer: Renderer, max_length: int, start: int, end: int | None = None) -> Iterator[Token]:
    """The tokens from `start` to `end`, with what was dropped where it would have stood."""
    tokens = list(_tokens(branch.ids, renderer, max_length))
    for at in range(start, len(tokens) + 1 if end is None else end):
        yield from (Token(dropped.text, "dropped") for place, dropped in branch.dropped if place == at)
        yield from tokens[at : at + 1]


def _tokens(sequence: Ids, renderer: Renderer, max_length: int) -> Iterator[Token]:
    texts = _texts(sequence.ids, renderer)
    for at, (id, weight, text) in enumerate(zip(sequence.ids.tolist(), sequence.weights.tolist(), texts, strict=True)):
        kind: Kind = "special" if id in renderer.marker_ids else "trained" if weight else "context"
        yield Token(text, "cut" if at >= max_length else kind, weight, id)


def _texts(ids: np.ndarray, renderer: Renderer) -> list[str]:
    """What each id adds to the text."""
    stream = renderer.tokenizer.stream(skip_special=False)
    texts = [stream.push(id) for id in ids.tolist()]
    if texts:
        texts[-1] += stream.finish()
    return texts


def _too_long(branches: Iterable[_Branch], max_length: int) -> Iterator[str]:
    longest = max(len(branch.ids) for branch in branches)
    if longest > max_length:
        yield (
            f"{longest:,} tokens are more than the {max_length:,} that a row may have. `data.too_long` says what training does "
            f"about it: `refuse` (the default), `drop`, or `cut` what is shown as cut."
        )


def _not_read(encoded: Encoded, talk: Conversation) -> Iterator[str]:
    last = max((answer.message for answer in encoded.answers), default=len(talk.messages) - 1)
    if last < len(talk.messages) - 1:
        yield f"nothing after message {last + 1} is learned, so training leaves off there."


def _lost(text: str, renderer: Renderer) -> Iterator[str]:
    if lost := renderer.tokenizer.lost_characters(text):
        names = ", ".join(f"{char!r} (U+{ord(char):04X}{f', {count} times' if count > 1 else ''})" for char, count in lost.most_common(8))
        more = f" and {len(lost) - 8} others" if len(lost) > 8 else ""
        yield f"The tokenizer has no token for {names}{more}: the model never sees them."
