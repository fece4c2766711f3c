"""`Encoded`: a conversation as token ids with what is learned of them, and what happened on the way."""

from collections import Counter, abc
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from luthier.text.dropped import Dropped, dropped_from_answer, dropped_from_prompt
from luthier.text.markers import Markers, plain
from luthier.text.messages import Conversation
from luthier.text.notes import Kind, Note
from luthier.text.sequence import Sequence
from luthier.text.tokenizer import Tokenizer, Tokens
from luthier.text.turns import Turn


@dataclass(frozen=True, eq=False)
class Encoded:
    """A conversation, ready to learn.

    `sequences`: usually one; several where a template writes an earlier answer in another way once the conversation has gone on. Together
    they learn every answer once, each as serving would see it. `dropped`: what the template left out. `notes`: what to tell a person, each
    naming the row. `stops`: the ids that end an answer. `answers`: where each learned answer stands.
    """

    sequences: tuple[Sequence, ...]
    dropped: tuple[Dropped, ...]
    notes: tuple[Note, ...]
    stops: frozenset[int]
    answers: tuple["Answer", ...] = ()


class Answer(NamedTuple):
    """The answer in message number `message` (from 0): tokens `start` to `end` of sequence number `sequence`."""

    message: int
    sequence: int
    start: int
    end: int


class _Layout(NamedTuple):
    """The ids that teach these turns. `grown`: prompt and answer would share tokens if their text were tokenized at once."""

    tokens: Tokens
    turns: list[Turn]
    grown: bool = False


def encode_turns(turns: list[Turn], conversation: Conversation, markers: Markers, tokenizer: Tokenizer, stops: frozenset[int]) -> Encoded:
    """`turns`: those to be learned, at least one, in order."""
    origin, weights = conversation.origin, {turn.index: conversation.messages[turn.index].weight for turn in turns}
    sequences: list[Sequence] = []
    answers: list[Answer] = []
    notes = _notes_on_row(turns[-1], origin, markers)
    for group in _together(turns):
        for layout in _lay_out(group, markers, tokenizer):
            answers += [_place(turn, layout.tokens, len(sequences)) for turn in layout.turns]
            sequences.append(_weighted(layout, weights))
            notes += [note for turn in layout.turns for note in _notes_on_turn(turn, layout.grown, origin)]
    if any(_begins_twice(sequence.ids, tokenizer) for sequence in sequences):
        notes.append(_note("double_bos", origin, None, "the template writes BOS twice; take one of them out of the template"))
    written = stops | {tokenizer.added[turn.text[slice(*turn.stop)]] for turn in turns if turn.stop}
    return Encoded(tuple(sequences), tuple(_dropped(turns, conversation)), tuple(notes), written, tuple(answers))


def _begins_twice(ids: np.ndarray, tokenizer: Tokenizer) -> bool:
    """Two BOS at the beginning, with nothing or white space between them."""
    if tokenizer.bos_id is None:
        return False
    at = np.flatnonzero(ids[:8] == tokenizer.bos_id)
    return len(at) > 1 and not tokenizer.decode(ids[: at[1]], skip_special=True).strip()


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


def _lay_out(group: list[Turn], markers: Markers, tokenizer: Tokenizer) -> list[_Layout]:
    """The ids for each turn: those of the whole text where the prompt's ids in it are the ones that serving feeds.

    Where prompt and answer grow together (`<think>\\n` and `\\n</think>` share a token of two line breaks), that turn gets the ids that
    serving feeds and its answer's own.
    """
    whole = markers.encode(group[-1].text)
    apart = [turn for turn in group if not turn.differs and not _begins_with(whole, turn, markers)]
    if not apart:
        return [_Layout(whole, group)]
    rest = [turn for turn in group if turn not in apart]
    laid = [_Layout(markers.encode(rest[-1].text), rest)] if rest else []
    laid += [_Layout(_joined(turn, markers, tokenizer), [turn], grown=True) for turn in apart]
    return sorted(laid, key=lambda layout: layout.turns[-1].index)


def _begins_with(tokens: Tokens, turn: Turn, markers: Markers) -> bool:
    """The tokens before the answer are those that serving feeds, and none of them reaches into it.

    Text is cut at the template's markers before it is tokenized, so only what follows the prompt's last marker is tokenized again.
    """
    before = int(np.searchsorted(tokens.starts, turn.start))
    if before and tokens.ends[before - 1] > turn.start:
        return False
    at = max((start for start, _ in markers.find(turn.prompt)), default=0)
    first = int(np.searchsorted(tokens.starts[:before], at))
    tail = markers.encode(turn.prompt[at:]).ids
    return np.array_equal(tail, tokens.ids[first:before]) or np.array_equal(markers.encode(turn.prompt).ids, tokens.ids[:before])


def _joined(turn: Turn, markers: Markers, tokenizer: Tokenizer) -> Tokens:
    """The prompt's ids, then the answer's. The ids of the whole text where a vocabulary can't write the answer on its own."""
    whole, prompt = markers.encode(turn.text), markers.encode(turn.prompt)
    marker = min(markers.texts, default="")  # in front, so that no space is put before the answer as before a text
    answer = markers.encode(marker + turn.text[turn.start :])
    first, shift = int(bool(marker)), turn.start - len(marker)
    ids = np.concatenate([prompt.ids, answer.ids[first:]])
    if tokenizer.decode(ids) != tokenizer.decode(whole.ids):
        return whole
    starts, ends = answer.starts[first:] + shift, answer.ends[first:] + shift
    return Tokens(ids, np.concatenate([prompt.starts, starts]), np.concatenate([prompt.ends, ends]))


def _place(turn: Turn, tokens: Tokens, sequence: int) -> Answer:
    start = int(np.searchsorted(tokens.ends, turn.spans[0][0] if turn.spans else turn.start, side="right"))
    return Answer(turn.index, sequence, start, int(np.searchsorted(tokens.starts, turn.reach)))


def _weighted(layout: _Layout, weights: dict[int, float]) -> Sequence:
    learned = np.zeros(len(layout.tokens), dtype=np.float32)
    for turn in layout.turns:
        for start, end in turn.spans:
            learned[_touches(layout.tokens, start, end)] = weights[turn.index]
    learned[:1] = 0  # nothing precedes the first token
    return Sequence(layout.tokens.ids, learned)


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


def _notes_on_row(last: Turn, origin: object, markers: Markers) -> list[Note]:
    found = Counter(markers.escaped(last.text))
    if not found:
        return []
    names = ", ".join(f"`{marker}`" + (f" {count} times" if count > 1 else "") for marker, count in found.items())
    return [_note("escaped", origin, None, f"messages spell out {names}, which is encoded as ordinary text, not as a turn marker")]


def _notes_on_turn(turn: Turn, grown: bool, origin: object) -> abc.Iterator[Note]:
    if turn.differs:
        fed = plain(turn.prompt[turn.start :])
        text = f"serving feeds {fed!r} before this answer, but the template does not write it into the finished turn: it is learned without"
        yield _note("prompt_differs", origin, turn.index, text)
    if grown:
        text = "prompt and answer grow together where they are tokenized at once; learned is the answer after the tokens that serving feeds"
        yield _note("boundary", origin, turn.index, text)
    if turn.stop is None:
        yield _note("no_end", origin, turn.index, "the template writes no end token after it, so it can't be learned where to stop")
    elif not turn.learns_stop:
        text = f"the template's own marks leave out the end token `{turn.text[slice(*turn.stop)]}`, so it is not learned where to stop"
        yield _note("end_not_trained", origin, turn.index, text)


def _note(kind: Kind, origin: object, index: int | None, text: str) -> Note:
    return Note(kind, f"{origin}: {text}." if index is None else f"{origin}: message {index + 1}: {text}.")
