"""Checked rows → examples, by the one renderer."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np

from luthier.batches.example import Example
from luthier.batches.judged import asked, facts_of
from luthier.data.prompts import prompt_of
from luthier.errors import DataError, TemplateError
from luthier.spec.nearest import listed
from luthier.spec.rows import Conversation, Document, Labeled, Origin, Row, Task
from luthier.text.answered import talks_of
from luthier.text.classes import conversation_of
from luthier.text.dropped import Dropped
from luthier.text.renderer import Renderer
from luthier.text.sequence import Sequence
from luthier.text.tokenizer import Tokenizer


class Remark(msgspec.Struct, frozen=True, gc=False):
    """What happened to one row on the way. `kind`: a note's (`text/notes.py`), or one of those below. `text`: the sentence for a person.

    `unlearned`: no token is learned. `cut`: its end was cut away; `count` learned tokens with it. `missing_content`, `missing_reasoning`,
    `missing_tool_calls`, `missing_tools`: `count` characters that the template leaves out, `by_assistant` or of what it answers to;
    `detail` is `most` where that is more than half of a message. `lost_characters`: `count` of them, each once in `detail`.
    `changed_text`: it reads otherwise once it was tokenized.
    """

    kind: str
    origin: str
    text: str
    count: int = 1
    by_assistant: bool = False
    detail: str = ""


@dataclass
class Encoded:
    """The examples of one data set, with what happened on the way, for the preflight and the record."""

    examples: list[Example] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    num_dropped: int = 0
    """Rows left out."""
    num_cut: int = 0
    """Rows whose end was cut away."""
    characters_left_out: int = 0
    """Characters of messages that the template does not write."""

    @property
    def notes(self) -> list[str]:
        """The remarks as sentences."""
        return [remark.text for remark in self.remarks]


LOOKED_AT = 50
"""Of each file the first so many lines, and then every so-manieth, are decoded again and compared."""

TooLong = Literal["refuse", "drop", "cut"]

Learns = Literal["answers", "everything", "prompts", "prompts and answers"]
"""Which tokens of a row are scored: those of the answers, all, or none, because the policy is to answer the prompt. `prompts and answers`:
of a conversation, the prompt as one sequence, and what is learned of the whole behind it."""


def encode(
    rows: Iterable[Row],
    renderer: Renderer,
    learns: Learns,
    max_length: int,
    too_long: TooLong,
    dataset: int = 0,
    count_bytes: bool = False,
) -> Encoded:
    """Examples of at most `max_length` tokens.

    Args:
        learns: where it is `everything`, documents over the length are cut into pieces that all stay.
        too_long: what to do with a longer row otherwise. count_bytes: say how much text the scored tokens spell.
    Raises:
        DataError: rows that are too long, naming them and what to set.
    """
    encoded = Encoded()
    refused: dict[str, int] = {}
    for row in rows:
        encode_row(row, renderer, learns, max_length, too_long, encoded, refused, dataset, count_bytes)
    refuse_long(refused, max_length, learns.startswith("prompts"))
    return encoded


def encode_row(
    row: Row,
    renderer: Renderer,
    learns: Learns,
    max_length: int,
    too_long: TooLong,
    encoded: Encoded,
    refused: dict[str, int],
    dataset: int = 0,
    count_bytes: bool = False,
) -> None:
    """Add one row's examples and what happened on the way to `encoded`; what is too long to `refused`, origin → tokens."""
    origin, everything = str(row.origin), learns == "everything"
    for sequences, facts in _units(row, renderer, learns, encoded):
        longest = max(map(len, sequences))
        if too_long == "refuse" and longest > max_length and not (everything and isinstance(row, Document)):
            refused[origin] = max(longest, refused.get(origin, 0))
            continue
        for fitted in _fit(sequences, row, everything, max_length, too_long, encoded):
            if learns.startswith("prompts") or all(sequence.num_trained for sequence in fitted):
                num_bytes = sum(_num_bytes(sequence, renderer) for sequence in fitted) if count_bytes and not facts else 0
                encoded.examples.append(Example(fitted, dataset, origin, num_bytes, facts))
            else:
                encoded.num_dropped += 1
                encoded.remarks.append(Remark("unlearned", origin, f"{origin}: no token of {_whose(fitted)} is learned; it was left out."))


def _whose(sequences: tuple[Sequence, ...]) -> str:
    """What nothing is learned of."""
    if len(sequences) == 1:
        return "this row"
    number = next(number for number, sequence in enumerate(sequences, start=1) if not sequence.num_trained)
    return f"answer {number} of this row"


def refuse_long(refused: dict[str, int], max_length: int, asked: bool = False) -> None:
    """Raise `DataError` where any row was too long. `asked`: rows are prompts, behind which an answer is to fit."""
    if refused:
        raise DataError(_too_long(refused, max_length, asked))


def _too_long(refused: dict[str, int], limit: int, asked: bool) -> str:
    """All of them at once: mending one and being told of the next takes a run each."""
    (first, length), more = next(iter(refused.items())), len(refused) - 1
    others = ""
    if more:
        longest = max(refused, key=lambda origin: refused[origin])
        named = ", ".join([*list(refused)[1:10], *(["…"] if more > 9 else [])])
        others = (
            f" So {'is 1 other' if more == 1 else f'are {more:,} others'} ({named}); the longest is {longest} with {refused[longest]:,}."
        )
    why = ", so that an answer fits behind it" if asked else ""
    remedies = ["lower `method.rollout.max_new_tokens`"] if asked else []
    ways = "to `drop`" if asked else "to `drop` or `cut`"
    return (
        f"{first}: this row has {length} tokens, the limit is {limit}{why}.{others} "
        f"Shorten {', '.join(['them' if more else 'it', *remedies])}, raise `data.max_length` if the model's context allows, "
        f"or set `data.too_long` {ways}."
    )


def _num_bytes(sequence: Sequence, renderer: Renderer) -> int:
    return len(renderer.tokenizer.decode(sequence.ids[sequence.weights != 0], skip_special=True).encode())


Unit = tuple[tuple[Sequence, ...], dict[str, Any]]
"""The sequences of one example, and its facts."""


def _units(row: Row, renderer: Renderer, learns: Learns, encoded: Encoded) -> Iterator[Unit]:
    if learns.startswith("prompts"):
        shown = _learned(row, renderer, encoded) if learns == "prompts and answers" and isinstance(row, Conversation) else ()
        learned = tuple(sequence for sequence in shown if sequence.num_trained)
        yield (*_prompt(row, renderer, encoded), *learned), asked(row)
    elif isinstance(row, Document):
        encoded.remarks += _on_characters([row.text], row.origin, renderer.tokenizer)
        yield (renderer.document(row.text),), {}
    elif isinstance(row, Conversation | Labeled):
        talk = conversation_of(row) if isinstance(row, Labeled) else row
        for sequence in _learned(talk, renderer, encoded):
            yield (_all_scored(sequence) if learns == "everything" else sequence,), {}
    elif not isinstance(row, Task):
        before = len(encoded.remarks)
        sequences = tuple(_of_answer(talk, renderer, encoded) for talk in talks_of(row))
        encoded.remarks[before:] = dict.fromkeys(encoded.remarks[before:])  # each answer's on the prompt are the same
        yield sequences, facts_of(row)


def _learned(talk: Conversation, renderer: Renderer, encoded: Encoded) -> tuple[Sequence, ...]:
    """What is learned of a conversation; what happened on the way goes to `encoded`."""
    rendered = renderer.sequences(talk)
    origin = str(talk.origin)
    encoded.remarks += [Remark(note.kind, origin, str(note)) for note in rendered.notes]
    encoded.remarks += [_left_out(part, talk, origin) for part in rendered.dropped]
    encoded.remarks += _on_characters([message.content for message in talk.messages], talk.origin, renderer.tokenizer)
    encoded.characters_left_out += sum(part.characters for part in rendered.dropped)
    return rendered.sequences


def _of_answer(talk: Conversation, renderer: Renderer, encoded: Encoded) -> Sequence:
    """One judged answer.

    Raises:
        DataError: its turns can't be written as one sequence.
    """
    sequences = _learned(talk, renderer, encoded)
    if len(sequences) > 1:
        raise DataError(
            f"{talk.origin}: an answer of this row has several turns, which this chat template writes one way while they are answered and "
            f"another once the conversation has gone on, so they are no single text to judge. Keep the last turn as the answer, and what "
            f"comes before it in the prompt."
        )
    return sequences[0]


def _prompt(row: Row, renderer: Renderer, encoded: Encoded) -> tuple[Sequence, ...]:
    prompt = prompt_of(row)
    encoded.remarks += _on_characters([message.content for message in prompt.messages], row.origin, renderer.tokenizer)
    try:
        ids = renderer.prompt_ids(prompt.messages, prompt.tools)
    except TemplateError as error:
        raise TemplateError(f"{row.origin}: {error}") from error
    return (Sequence(ids, np.zeros(len(ids), dtype=np.float32)),)


def _left_out(part: Dropped, row: Conversation, origin: str) -> Remark:
    most = part.part == "content" and 2 * part.characters > sum(not c.isspace() for c in row.messages[part.message].content)
    text, by_assistant = f"{origin}: {part}", part.role == "assistant"
    return Remark(f"missing_{part.part}", origin, text, part.characters, by_assistant, "most" if most else "")


def _on_characters(texts: list[str], origin: Origin, tokenizer: Tokenizer) -> list[Remark]:
    """What the tokenizer loses of a row, and, looked at in some rows, what it changes."""
    found = []
    if lost := tokenizer.lost_in(texts):
        names = ", ".join(f"{char} (U+{ord(char):04X})" for char, _ in lost.most_common(8)) + (", …" if len(lost) > 8 else "")
        text = f"{origin}: no token carries {lost.total():,} of its characters: {names}."
        found.append(Remark("lost_characters", str(origin), text, lost.total(), detail="".join(c for c, _ in lost.most_common(64))))
        return found
    looked_at = origin.line % LOOKED_AT == 0 or origin.line <= LOOKED_AT
    change = next(filter(None, map(tokenizer.change_of, texts)), None) if looked_at else None
    if change is not None:
        found.append(Remark("changed_text", str(origin), f"{origin}: the tokenizer makes {change[1]!r} of {change[0]!r}."))
    return found


def _all_scored(sequence: Sequence) -> Sequence:
    weights = np.ones(len(sequence), dtype=np.float32)
    weights[:1] = 0
    return Sequence(sequence.ids, weights)


def _fit(
    sequences: tuple[Sequence, ...], row: Row, everything: bool, max_length: int, too_long: TooLong, encoded: Encoded
) -> list[tuple[Sequence, ...]]:
    longest = max(map(len, sequences))
    if longest <= max_length:
        return [sequences]
    if everything and isinstance(row, Document):
        return [(piece,) for sequence in sequences for piece in _pieces(sequence, max_length)]
    if too_long == "drop":
        encoded.num_dropped += 1
        return []
    encoded.num_cut += 1
    lost = sum(int((sequence.weights[max_length:] != 0).sum()) for sequence in sequences)
    text = f"{row.origin}: this row has {longest} tokens and was cut to {max_length}; {lost} learned tokens went with its end."
    encoded.remarks.append(Remark("cut", str(row.origin), text, lost))
    return [tuple(Sequence(sequence.ids[:max_length], sequence.weights[:max_length]) for sequence in sequences)]


def _pieces(sequence: Sequence, max_length: int) -> list[Sequence]:
    """Pieces that overlap by one token, so that every token but the first is predicted exactly once."""
    starts = range(0, len(sequence) - 1, max_length - 1)
    return [_all_scored(Sequence(sequence.ids[s : s + max_length], sequence.weights[s : s + max_length] * 0)) for s in starts]


SHAPES = {
    "Conversation": "`messages`",
    "Document": "`text`",
    "Preference": "`prompt`, `chosen` and `rejected`",
    "Ranking": "`prompt`, `answers` and `ranks`",
    "Thumb": "`prompt`, `completion` and `label`",
    "Rating": "`prompt`, `answer` and `scores`",
}
"""The fields of each kind of row, as its simplest format has them."""

LEARNED = {"Labeled": "labeled text"}
"""What a kind is called, where it is not called by its name."""


def refuse_kind(kind: str, where: str, accepted: tuple[str, ...], method: str) -> None:
    """Refuse a kind of row that the method does not learn from.

    Raises:
        DataError: naming the row at `where`.
    """
    if kind not in accepted:
        what = "a prompt without an answer" if kind == "Task" else f"a {kind.lower()}"
        remedy = " Add the answers, or draw them with `luthier generate`." if kind == "Task" else ""
        shape = f" Its rows have {SHAPES[accepted[0]]}." if accepted[0] in SHAPES else ""
        imitate = " To imitate it, take `sft`." if kind == "Conversation" else ""
        learned = listed([f"{LEARNED.get(each, each.lower())}s" for each in accepted])
        raise DataError(f"{where}: this is {what}, but `{method}` learns from {learned}.{remedy}{shape}{imitate}")
