"""What feedback says: the rules by which exchanges become rows to learn from, all of them, in one place.

1. **Mended.** What a person wrote in place of an answer (an edit, a correction) is preferred to that answer, and is a demonstration.
2. **Thumbs.** An answer with a thumb, up or down, is a row of its own. Where its thumbs contradict each other, in one exchange or in
   several, none counts; nor does a thumb up on an answer that a person then mended.
3. **Drawn again.** Of two answers to one prompt one is preferred only where there is a sign: their thumbs differ (up over down), or one has
   a thumb up and the other none; or neither has one and the conversation went on from exactly one of them. A thumb up on one and a
   conversation that went on from the other contradict each other. That an answer was drawn again is no sign by itself: people do so to see
   another one.
4. **Nothing.** Empty answers, answers that say the same, and rows that could not be learned from are left out.

Nothing is left out silently: whatever a rule sets aside comes with its reason.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import msgspec

from luthier.data.check import check
from luthier.errors import DataError
from luthier.feedback.exchange import Answer, Exchange, Turns, is_empty, same
from luthier.spec.rows import Conversation, Preference, Ranking, Rating, Row, Thumb

Learned = Preference | Thumb | Conversation | Ranking | Rating
"""Rows that feedback becomes."""

Sign = Literal["mended", "thumbs", "continued", "thumb", "ranking", "rating"]
SIGNS: tuple[Sign, ...] = get_args(Sign)
"""What a row rests on."""

EMPTY = "an empty answer"
SAME = "two answers that say the same"
UNCHANGED = "an edit that changed nothing"
CONTRADICTING = "thumbs up and down for the same answer"
UP_YET_MENDED = "a thumb up on an answer that a person then mended"
NO_SIGN = "an answer drawn again, and nothing says which one is better"
ALIKE = "answers with the same thumb, so that neither is better"
SIGNS_DIFFER = "a thumb up on one answer while the conversation went on from the other"
BOTH_WENT_ON = "conversations that went on from both answers"
UNJUDGED = "an answer about which nobody said anything"
"""Why something was left out."""


@dataclass(frozen=True)
class Found:
    """A row and what it rests on."""

    row: Learned
    sign: Sign


def learn(exchange: Exchange) -> Iterator[Found | str]:
    """The rows in an exchange, and phrases for what is left out of it."""
    yield from exchange.faults
    answers = []
    for answer in exchange.answers:
        yield from answer.faults
        if is_empty(answer.turns):
            yield EMPTY
        else:
            answers.append(answer)
    silent = True
    for found in _all(exchange, answers):
        silent = False
        yield checked(found) if isinstance(found, Found) else found
    if silent and answers and not exchange.faults and not any(answer.faults for answer in answers):
        yield UNJUDGED


def _all(exchange: Exchange, answers: list[Answer]) -> Iterator[Found | str]:
    for answer in answers:
        yield from _mended(exchange, answer)
        yield from _thumb(exchange, answer)
    for first, second in combinations(answers, 2):
        yield _compared(exchange, first, second)


def _mended(exchange: Exchange, answer: Answer) -> Iterator[Found | str]:
    if answer.mended is None:
        return
    if is_empty(answer.mended):
        yield EMPTY
    elif same(answer.mended, answer.turns):
        yield UNCHANGED
    else:
        yield _preferred(exchange, answer.mended, answer.turns, "mended")
        yield Found(Conversation((*_read_only(exchange.prompt), *answer.mended), exchange.origin, exchange.tools), "mended")


def _read_only(prompt: Turns) -> Turns:
    """Earlier answers are the model's own, and not shown to be good: read, not learned."""
    return tuple(msgspec.structs.replace(turn, weight=0.0) if turn.role == "assistant" else turn for turn in prompt)


def _thumb(exchange: Exchange, answer: Answer) -> Iterator[Found | str]:
    if len(set(answer.thumbs)) > 1:
        yield CONTRADICTING
    elif answer.thumb and answer.mended is not None and not same(answer.mended, answer.turns):
        yield UP_YET_MENDED
    elif answer.thumb is not None:
        yield Found(Thumb(exchange.prompt, answer.turns, answer.thumb, exchange.origin, exchange.tools), "thumb")


def _compared(exchange: Exchange, first: Answer, second: Answer) -> Found | str:
    """Two answers to one prompt, neither of them a person's."""
    if same(first.turns, second.turns):
        return SAME
    if any(len(set(answer.thumbs)) > 1 for answer in (first, second)):
        return CONTRADICTING
    if first.thumb != second.thumb and True in (first.thumb, second.thumb):
        better, worse = (first, second) if first.thumb else (second, first)
        if worse.thumb is None and _went_on(worse) and not _went_on(better):
            return SIGNS_DIFFER
        return _preferred(exchange, better.turns, worse.turns, "thumbs")
    if first.thumb is not None and first.thumb == second.thumb:
        return ALIKE
    if _went_on(first) == _went_on(second):
        return BOTH_WENT_ON if _went_on(first) else NO_SIGN
    better, worse = (first, second) if _went_on(first) else (second, first)
    return NO_SIGN if better.thumb is False else _preferred(exchange, better.turns, worse.turns, "continued")


def _went_on(answer: Answer) -> bool:
    """From the model's own words: after an edit the conversation went on from the person's."""
    return answer.continued and answer.mended is None


def _preferred(exchange: Exchange, better: Turns, worse: Turns, sign: Sign) -> Found:
    return Found(Preference(exchange.prompt, better, worse, exchange.origin, exchange.tools), sign)


def checked(found: Found) -> Found | str:
    """Or why nothing could be learned from it: the sentence of the check, without its place, which the reader adds."""
    try:
        check(found.row)
    except DataError as error:
        return f"a row that could not be learned from: {str(error).removeprefix(f'{found.row.origin}: ')}"
    return found


FILES: dict[type[Row], str] = {
    Preference: "preferences",
    Thumb: "thumbs",
    Conversation: "demonstrations",
    Ranking: "rankings",
    Rating: "ratings",
}


def kind(row: Row) -> str:
    """The name of the file in which a row belongs."""
    return FILES[type(row)]
