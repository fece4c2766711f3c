"""`Encoded`: a conversation as token ids with what is learned of them, and what happened on the way."""

from collections import Counter, abc
from dataclasses import dataclass

import numpy as np

from luthier.data.rows import Conversation, Origin
from luthier.text.dropped import Dropped, dropped_from_answer, dropped_from_prompt
from luthier.text.markers import Markers, plain
from luthier.text.notes import Kind, Note
from luthier.text.sequence import Sequence
from luthier.text.tokenizer import Tokenizer, Tokens
from luthier.text.turns import Turn


@dataclass(frozen=True, eq=False)
class Encoded:
    """A conversation, ready to learn.

    `sequences`: usually one; several where a template writes an earlier answer in another way once the conversation has gone on. Together
    they learn every answer once, each as serving would see it. `dropped`: what the template left out. `notes`: what to tell a person, each
    naming the row. `stops`: the ids that end an answer.
    """

    sequences: tuple[Sequence, ...]
    dropped: tuple[Dropped, ...]
    notes: tuple[Note, ...]
    stops: frozenset[int]


def encode_turns(turns: list[Turn], conversation: Conversation, markers: Markers, tokenizer: Tokenizer, stops: frozenset[int]) -> Encoded:
    """`turns`: those to be learned, at least one, in order."""
    sequences: list[Sequence] = []
    notes = _notes_on_row(turns[-1], conversation.origin, markers)
    for group in _together(turns):
        tokens = markers.encode(group[-1].text)
        sequences.append(_weighted(tokens, group, [conversation.messages[turn.index].weight for turn in group]))
        notes += [note for turn in group for note in _notes_on_turn(turn, tokens, conversation.origin, markers)]
    if tokenizer.bos_id is not None and any((sequence.ids[:2] == tokenizer.bos_id).sum() == 2 for sequence in sequences):
        notes.append(_note("double_bos", conversation.origin, None, "the template writes BOS twice; take one of them out of the template"))
    written = stops | {tokenizer.added[turn.text[slice(*turn.stop)]] for turn in turns if turn.stop}
    return Encoded(tuple(sequences), tuple(_dropped(turns, conversation)), tuple(notes), written)


def _together(turns: list[Turn]) -> list[list[Turn]]:
    """Turns that one text holds just as serving would see them; the text is the last one's.

    Without an end token, what follows an answer might grow together with it: then each turn has a text of its own.
    """
    groups: list[list[Turn]] = []
    for turn in reversed(turns):
        host = next((group for group in groups if turn.stop and group[-1].text.startswith(turn.text[: turn.reach])), None)
        if host is None:
            groups.append([turn])
        else:
            host.insert(0, turn)
    return groups[::-1]


def _weighted(tokens: Tokens, group: list[Turn], weights: list[float]) -> Sequence:
    learned = np.zeros(len(tokens), dtype=np.float32)
    for turn, weight in zip(group, weights, strict=True):
        for start, end in turn.spans:
            learned[_touches(tokens, start, end)] = weight
    learned[:1] = 0  # nothing precedes the first token
    return Sequence(tokens.ids, learned)


def _touches(tokens: Tokens, start: int, end: int) -> np.ndarray:
    """(n,) bool: the tokens with a character in [start, end), or between two of its characters."""
    empty = tokens.starts == tokens.ends
    return (tokens.starts < end) & np.where(empty, tokens.starts >= start, tokens.ends > start)


def _dropped(turns: list[Turn], conversation: Conversation) -> abc.Iterator[Dropped]:
    last, messages = turns[-1], conversation.messages
    yield from dropped_from_prompt(messages[: last.index], conversation.tools, plain(last.prompt))
    for turn in turns:
        learned = "".join(turn.text[start:end] for start, end in turn.spans)
        yield from dropped_from_answer(turn.index, messages[turn.index], plain(learned))


def _notes_on_row(last: Turn, origin: Origin, markers: Markers) -> list[Note]:
    found = Counter(markers.escaped(last.text))
    if not found:
        return []
    names = ", ".join(f"`{marker}`" + (f" {count} times" if count > 1 else "") for marker, count in found.items())
    return [_note("escaped", origin, None, f"messages spell out {names}, which is encoded as ordinary text, not as a turn marker")]


def _notes_on_turn(turn: Turn, tokens: Tokens, origin: Origin, markers: Markers) -> abc.Iterator[Note]:
    if turn.differs:
        fed = plain(turn.prompt[turn.start :])
        text = f"serving feeds {fed!r} before this answer, but the template does not write it into the finished turn: it is learned without"
        yield _note("prompt_differs", origin, turn.index, text)
    elif not _is_prefix(markers.encode(turn.prompt).ids, tokens, turn.start):
        text = "its first token grows together with the prompt's last one, so serving feeds other tokens than the ones learned from"
        yield _note("boundary", origin, turn.index, text)
    if turn.stop is None:
        yield _note("no_end", origin, turn.index, "the template writes no end token after it, so it can't be learned where to stop")
    elif not turn.learns_stop:
        text = f"the template's own marks leave out the end token `{turn.text[slice(*turn.stop)]}`, so it is not learned where to stop"
        yield _note("end_not_trained", origin, turn.index, text)


def _is_prefix(prompt_ids: np.ndarray, tokens: Tokens, start: int) -> bool:
    """The tokens before the answer are those that serving feeds, and none of them reaches into it."""
    before = np.searchsorted(tokens.starts, start)
    whole = not before or tokens.ends[before - 1] <= start
    return bool(whole and np.array_equal(prompt_ids, tokens.ids[:before]))


def _note(kind: Kind, origin: Origin, index: int | None, text: str) -> Note:
    return Note(kind, f"{origin}: {text}." if index is None else f"{origin}: message {index + 1}: {text}.")
