"""Faults in what is learned of a data set: rows without a learned token or without an end, answers cut, lost or left out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from luthier.batches.encode import LOOKED_AT, Remark
from luthier.data.survey.places import SHOWN, at
from luthier.spec.finding import Finding

MOST_CUT = 0.05
"""Share of the rows whose answers may be cut. Beyond it another task is learned than was meant: to begin answers, not to end them."""

MOST_WITHOUT_END = 0.5
"""Share of the rows without a learned end beyond which the model does not learn to stop."""

MOST_MISSING = 0.5
"""Share of the rows in which a template may leave out most of an answer, or a tokenizer lose characters."""

MOST_CHANGED = 0.05
"""Share of the rows whose text may read otherwise once it was tokenized; a few full-width letters are no reason to warn."""

SEE = "`luthier show FILE --row N` shows a row as the model sees it."


def of_learned(remarks: Iterable[Remark], num_rows: int, bos: str | None = None) -> Iterator[Finding]:
    """Of one data set. `remarks`: on its rows. `bos`: as the tokenizer calls it."""
    by_kind: dict[str, list[Remark]] = {}
    for remark in remarks:
        by_kind.setdefault(remark.kind, []).append(remark)

    def of(kind: str) -> list[Remark]:
        return by_kind.get(kind, [])

    yield from _unlearned(of("unlearned"), num_rows)
    yield from _without_end(of("no_end"), of("end_not_trained"), num_rows)
    yield from _double_bos(of("double_bos"), bos)
    yield from _cut(of("cut"), num_rows)
    yield from _missing_answers([remark for remark in of("missing_content") if remark.by_assistant], num_rows)
    yield from _missing_others(
        [remark for remark in of("missing_content") if not remark.by_assistant], "what others than the assistant say"
    )
    yield from _missing_others(of("missing_reasoning"), "the reasoning")
    yield from _missing_others(of("missing_tool_calls"), "tool calls")
    yield from _missing_others(of("missing_tools"), "the list of tools")
    yield from _lost(of("lost_characters"), num_rows)
    yield from _changed(of("changed_text"), num_rows)
    yield from _imitations(of("imitated_marker"))
    yield from _parted(of("prompt_differs"), "prompt-differs", FED)
    yield from _parted(of("boundary"), "boundary", SHARED)


def _unlearned(remarks: list[Remark], num_rows: int) -> Iterator[Finding]:
    """Rows of which nothing is learned."""
    places, count = places_of(remarks)
    if count:
        which = "any row" if count == num_rows else rows_of(count)
        text = (
            f"No token of {which} would be learned{at(places, count)}: the template marks nothing there as the assistant's, or it was cut "
            f"away. Mend the template, or raise `data.max_length`. {SEE}"
        )
        yield Finding("error" if count == num_rows else "warning", "nothing-learned", text, count, places)


def _without_end(without: list[Remark], untrained: list[Remark], num_rows: int) -> Iterator[Finding]:
    """Answers after which no end token is learned."""
    places, count = places_of([*without, *untrained])
    if not count:
        return
    if len(without) >= len(untrained):
        why, how = "the template writes no token of this tokenizer after an answer", "Put the end token there"
    else:
        why, how = "the template's `{% generation %}` leaves the end token out", "Put it before `{% endgeneration %}`"
    text = (
        f"In {rows_of(count, num_rows)}{at(places, count)} the model would not learn where to stop: {why}. {how}, or set "
        f"`model.chat_template=plain`, which ends each turn."
    )
    yield Finding("error" if count > MOST_WITHOUT_END * num_rows else "warning", "end-not-learned", text, count, places)


def _double_bos(remarks: list[Remark], bos: str | None) -> Iterator[Finding]:
    places, count = places_of(remarks)
    if count:
        begin = "begins" if count == 1 else "begin"
        text = f"{rows_of(count)} {begin} with `{bos}` twice{at(places, count)}. Take one of them out of the chat template."
        yield Finding("error", "double-bos", text, count, places)


def _cut(remarks: list[Remark], num_rows: int) -> Iterator[Finding]:
    """Rows whose answers are cut away or cut short."""
    lost = [remark for remark in remarks if remark.count]
    places, count = places_of(lost)
    if not count:
        return
    share, tokens = count / num_rows, sum(remark.count for remark in lost)
    accepted = f"; up to {MOST_CUT:.0%} are accepted" if share > MOST_CUT else ""
    text = (
        f"{rows_of(count, num_rows)} ({share:.1%}) would lose the end of what is learned, {tokens:,} tokens in all{at(places, count)}. "
        f"Raise `data.max_length`, shorten the rows, or leave them out with `data.too_long=drop`{accepted}."
    )
    yield Finding("error" if share > MOST_CUT else "warning", "answers-cut", text, count, places)


def _missing_answers(remarks: list[Remark], num_rows: int) -> Iterator[Finding]:
    """What the template leaves out of answers."""
    places, count = places_of(remarks)
    if count:
        mostly = places_of([remark for remark in remarks if remark.detail == "most"])[1]
        text = (
            f"In {rows_of(count, num_rows)}{at(places, count)} {_characters(remarks)} of answers would not be learned: the chat template "
            f"leaves them out, or does not mark them as the assistant's. Take the template that belongs to this model. {SEE}"
        )
        yield Finding("error" if mostly > MOST_MISSING * num_rows else "warning", "missing-answer", text, count, places)


def _missing_others(remarks: list[Remark], what: str) -> Iterator[Finding]:
    """What the template leaves out besides."""
    places, count = places_of(remarks)
    if count:
        text = (
            f"In {rows_of(count)}{at(places, count)} the chat template leaves out {what}: {_characters(remarks)}. "
            f"Take a template that writes them, or take them out of the rows. {SEE}"
        )
        yield Finding("warning", remarks[0].kind.replace("_", "-"), text, count, places)


def _characters(remarks: list[Remark]) -> str:
    number = sum(remark.count for remark in remarks)
    return "1 character" if number == 1 else f"{number:,} characters"


def _lost(remarks: list[Remark], num_rows: int) -> Iterator[Finding]:
    """Characters that no token carries."""
    places, count = places_of(remarks)
    if count:
        ranked = [char for char, _ in Counter(char for remark in remarks for char in remark.detail).most_common()]
        names = ", ".join(f"{char} (U+{ord(char):04X})" for char in ranked[:8]) + (
            f" and {len(ranked) - 8:,} others" if len(ranked) > 8 else ""
        )
        text = (
            f"The tokenizer loses {_characters(remarks)} of {rows_of(count, num_rows)}{at(places, count)}: {names}. The model never sees "
            f"them and can't write them: replace them, or take a model whose tokenizer falls back to bytes."
        )
        yield Finding("warning", "lost-characters", text, count, places)


def _changed(remarks: list[Remark], num_rows: int) -> Iterator[Finding]:
    """Texts that read otherwise once they were tokenized: by a tokenizer that makes letters small, or takes accents off."""
    places, count = places_of(remarks)
    if count:
        looked_at = min(num_rows, LOOKED_AT + num_rows // LOOKED_AT)
        text = (
            f"The tokenizer changes the text of {rows_of(count)} of about {looked_at:,} looked at: {remarks[0].text.removesuffix('.')}. "
            f"So the model will write it, too. If that matters, take another model."
        )
        yield Finding("warning" if count > MOST_CHANGED * looked_at else "advice", "changed-text", text, count, places)


FED = "the finished turn does not hold all that serving feeds before the answer, which is learned as it is fed"
SHARED = "prompt and answer would share a token in one text; the answer is learned with tokens of its own, as it is served"


def _parted(remarks: list[Remark], code: str, reason: str) -> Iterator[Finding]:
    """Answers that are learned otherwise than the finished text reads."""
    places, count = places_of(remarks)
    if count:
        yield Finding("advice", code, f"In {rows_of(count)}{at(places, count)} {reason}. {SEE}", count, places)


def _imitations(remarks: list[Remark]) -> Iterator[Finding]:
    """Messages that hold the ordinary text by which a template separates turns."""
    places, count = places_of(remarks)
    if count:
        text = (
            f"Messages of {rows_of(count)}{at(places, count)} hold the text by which this template separates turns: the model can't tell "
            f"them apart. Take it out of them, or separate turns by tokens, as `model.chat_template=plain` does."
        )
        yield Finding("warning", "imitated-marker", text, count, places)


def rows_of(count: int, of: int | None = None) -> str:
    """`1 row`, `1,200 rows`, `3 of 80 rows`."""
    if of is not None:
        return f"{count:,} of {of:,} rows"
    return "1 row" if count == 1 else f"{count:,} rows"


def places_of(remarks: Sequence[Remark]) -> tuple[tuple[str, ...], int]:
    """The first few rows that remarks are about, and how many there are."""
    origins = dict.fromkeys(remark.origin for remark in remarks)
    return tuple(origins)[:SHOWN], len(origins)
