"""What was said through the interface: checked and kept as an entry, and read back as the rows that it is worth."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from luthier.data.messages import tools
from luthier.data.turns import answer, turns
from luthier.errors import DataError
from luthier.feedback.answers import answers_of, prompt_of
from luthier.feedback.exchange import Answer, Exchange, Turns
from luthier.feedback.rules import Found, checked, learn
from luthier.spec.feedback import NewFeedback, Text
from luthier.spec.rows import Message, Origin, Ranking, Rating
from luthier.store.feedback import Entry
from luthier.store.stored import Kept

PLACE = "feedback"
"""What stands for a file's name in places: `feedback:12` is the entry with the number 12."""

SIDE_BY_SIDE = 16
"""Answers to one prompt that are compared with each other, at most: a prompt that everybody sends has thousands."""

NEW = Origin("this feedback", 0)


@dataclass
class _Given:
    """An answer, and all that was said of it."""

    turns: Turns
    thumbs: list[bool] = field(default_factory=list)
    mended: list[Turns] = field(default_factory=list)


def entry_of(asked: NewFeedback, completions: Sequence[Kept], project: str, key: str) -> Entry:
    """What somebody said, with the answers that it is about.

    Args:
        completions: those that it names, in its order.
    Raises:
        DataError: nothing could be learned from it, or it does not say which answer it means.
    """
    try:
        prompt, answers, functions = _told(asked) if asked.prompt is not None else _stored(completions)
        models = {kept.model for kept in completions} if completions else {asked.model}
        choice = None if asked.ranks else _choice(asked, answers)
        entry = Entry(
            project=project,
            key=key,
            rater=asked.rater or key,
            kind=asked.kind,
            model=models.pop() if len(models) == 1 else None,
            prompt=plain(prompt),
            answers=[plain(one) for one in answers],
            tools=list(functions),
            choice=choice,
            said=_said(asked),
            comment=asked.comment,
            metadata=asked.metadata,
            completions=tuple(kept.id for kept in completions),
        )
        _refuse_unlearnable(entry)
    except DataError as error:
        raise DataError(str(error).replace(f"{NEW}: ", "").replace("Remove the row", "Leave it out")) from error
    return entry


def rows_of(entries: Iterable[Entry]) -> Iterator[tuple[Found | str, int]]:
    """Rows, and phrases for what becomes none, each with the number of an entry that it comes from. All entries are held in memory."""
    shown: dict[bytes, list[Entry]] = {}
    for entry in entries:
        if entry.kind in ("ranking", "rating"):
            yield checked(_judged(entry)), entry.number
        else:
            shown.setdefault(msgspec.json.encode([entry.prompt, entry.tools]), []).append(entry)
    for group in shown.values():
        for exchange in _exchanges(group):
            yield from ((found, exchange.origin.line) for found in learn(exchange))


def _told(asked: NewFeedback) -> tuple[Turns, list[Turns], tuple[dict[str, Any], ...]]:
    assert asked.prompt is not None
    said = [answer(one, f"answer {number}", NEW) for number, one in enumerate(asked.answers, start=1)]
    prompt = (Message("user", asked.prompt),) if isinstance(asked.prompt, str) else turns(asked.prompt, "`prompt`", NEW)
    return prompt, said, tools({"tools": asked.tools}, NEW) if asked.tools else ()


def _stored(completions: Sequence[Kept]) -> tuple[Turns, list[Turns], tuple[dict[str, Any], ...]]:
    asked = [shown(kept) for kept in completions]
    if any((prompt, functions) != (asked[0][0], asked[0][2]) for prompt, _, functions in asked):
        raise DataError("These completions answer different prompts, so their answers cannot be ranked against each other.")
    return asked[0][0], [one for _, answers, _ in asked for one in answers], asked[0][2]


def shown(kept: Kept) -> tuple[Turns, list[Turns], tuple[dict[str, Any], ...]]:
    """What a stored completion was asked, what it answered, and which tools it could call. Raises `DataError` for what is no text."""
    origin = Origin(kept.id, 0)
    try:
        prompt = prompt_of(kept.request, origin)
        answers = answers_of(kept.body, origin)
        functions = tools(kept.request, origin)
    except DataError as error:
        raise DataError(str(error).replace(f"{origin}: ", f"{kept.id}: ")) from error
    if not prompt or not answers:
        raise DataError(f"{kept.id} holds no {'answer' if prompt else 'prompt'} that could be judged.")
    return prompt, answers, functions


def _choice(asked: NewFeedback, answers: Sequence[Turns]) -> int:
    if asked.choice is None and len(answers) > 1:
        raise DataError(f"There are {len(answers)} answers: say with `choice` which one this is about, counted from 0.")
    if asked.choice is not None and asked.choice >= len(answers):
        raise DataError(f"`choice` is {asked.choice}, counted from 0, and there {'is' if len(answers) == 1 else 'are'} {len(answers)}.")
    return asked.choice or 0


def _said(asked: NewFeedback) -> dict[str, Any]:
    match asked.kind:
        case "thumb":
            return {"thumb": asked.thumb}
        case "rating":
            return {"scores": asked.scores}
        case "ranking":
            return {"ranks": asked.ranks}
    return {"correction": plain(_correction(asked.correction))}


def _correction(said: Text | None) -> Turns:
    assert said is not None
    return answer(said, "`correction`", NEW)


def _refuse_unlearnable(entry: Entry) -> None:
    """Raises `DataError`, now rather than at the export: whoever said it is still there to mend it."""
    if entry.kind in ("ranking", "rating"):
        found = checked(_judged(entry, NEW))
    else:
        (exchange, *_) = _exchanges([entry], NEW)
        judged = exchange.answers[entry.choice or 0]
        rows = list(learn(Exchange(exchange.prompt, (judged,), NEW, exchange.tools)))
        found = next((one for one in rows if isinstance(one, str)), rows[0])
    if isinstance(found, str):
        why = found.removeprefix("a row that could not be learned from: ").rstrip(".")
        raise DataError(f"Nothing can be learned from this: {why}.")


def _judged(entry: Entry, origin: Origin | None = None) -> Found:
    """A ranking or a rating as the row that it is."""
    at = origin or Origin(PLACE, entry.number)
    answers = [_turns(one) for one in entry.answers]
    if entry.kind == "ranking":
        return Found(Ranking(_turns(entry.prompt), tuple(answers), tuple(entry.said["ranks"]), at, entry.rater), "ranking")
    return Found(Rating(_turns(entry.prompt), answers[entry.choice or 0], entry.said["scores"], at, entry.rater), "rating")


def _exchanges(entries: Sequence[Entry], origin: Origin | None = None) -> Iterator[Exchange]:
    """Thumbs and corrections of one prompt: the answers with all that was said of each, some beside each other."""
    first = entries[0]
    prompt, functions, at = _turns(first.prompt), tuple(first.tools), origin or Origin(PLACE, first.number)
    given = list(_by_answer(entries).values())
    for start in range(0, len(given), SIDE_BY_SIDE):
        beside = given[start : start + SIDE_BY_SIDE]
        yield Exchange(
            prompt, tuple(Answer(one.turns, tuple(one.thumbs), one.mended[0] if one.mended else None) for one in beside), at, functions
        )
    for one in given:
        yield from (Exchange(prompt, (Answer(one.turns, mended=more),), at, functions) for more in one.mended[1:])


def _by_answer(entries: Iterable[Entry]) -> dict[bytes, _Given]:
    """Each answer once, also those beside the one that was judged: they were seen, and passed over."""
    found: dict[bytes, _Given] = {}
    for entry in entries:
        for number, answered in enumerate(entry.answers):
            given = found.setdefault(msgspec.json.encode(answered), _Given(_turns(answered)))
            if number == entry.choice and entry.kind == "thumb":
                given.thumbs.append(entry.said["thumb"] == "up")
            elif number == entry.choice:
                given.mended.append(_turns(entry.said["correction"]))
    return found


def plain(said: Turns) -> list[dict[str, Any]]:
    """Turns as the interface tells them."""
    return [{name: value for name, value in _fields(turn).items() if (name, value) != ("weight", 1.0)} for turn in said]


def _fields(turn: Message) -> dict[str, Any]:
    return {"role": turn.role, "content": turn.content, **msgspec.to_builtins(turn)}


def _turns(told: Sequence[dict[str, Any]]) -> Turns:
    return tuple(msgspec.convert(turn, Message) for turn in told)
