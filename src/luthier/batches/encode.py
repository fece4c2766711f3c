"""Checked rows → examples, by the one renderer."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from luthier.batches.examples import Example
from luthier.errors import DataError
from luthier.spec.nearest import listed
from luthier.spec.rows import Conversation, Document, Row
from luthier.text.renderer import Renderer
from luthier.text.sequence import Sequence


@dataclass
class Encoded:
    """The examples of one data set, with what happened on the way, for the record."""

    examples: list[Example] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    num_dropped: int = 0
    """Rows left out."""
    num_cut: int = 0
    """Rows whose end was cut away."""
    characters_left_out: int = 0
    """Characters of messages that the template does not write."""


TooLong = Literal["refuse", "drop", "cut"]


def encode(
    rows: Iterable[Row],
    renderer: Renderer,
    everything: bool,
    max_length: int,
    too_long: TooLong,
    dataset: int = 0,
    count_bytes: bool = False,
) -> Encoded:
    """Examples of at most `max_length` tokens.

    Args:
        everything: score every token, not only the assistant's; documents over the length are then cut into pieces that all stay.
        too_long: what to do with a longer row otherwise. count_bytes: say how much text the scored tokens spell.
    Raises:
        DataError: a row that is too long, naming it and what to set.
    """
    encoded = Encoded()
    for row in rows:
        for sequence in _sequences(row, renderer, everything, encoded):
            for piece in _fit(sequence, row, everything, max_length, too_long, encoded):
                if piece.num_trained:
                    num_bytes = _num_bytes(piece, renderer) if count_bytes else 0
                    encoded.examples.append(Example((piece,), dataset, str(row.origin), num_bytes))
                else:
                    encoded.num_dropped += 1
                    encoded.notes.append(f"{row.origin}: no token of this row is learned; it was left out.")
    return encoded


def _num_bytes(sequence: Sequence, renderer: Renderer) -> int:
    return len(renderer.tokenizer.decode(sequence.ids[sequence.weights != 0], skip_special=True).encode())


def _sequences(row: Row, renderer: Renderer, everything: bool, encoded: Encoded) -> list[Sequence]:
    if isinstance(row, Document):
        return [renderer.document(row.text)]
    assert isinstance(row, Conversation)
    rendered = renderer.sequences(row)
    encoded.notes += [str(note) for note in rendered.notes]
    encoded.notes += [f"{row.origin}: {part}" for part in rendered.dropped]
    encoded.characters_left_out += sum(part.characters for part in rendered.dropped)
    return [_all_scored(s) for s in rendered.sequences] if everything else list(rendered.sequences)


def _all_scored(sequence: Sequence) -> Sequence:
    weights = np.ones(len(sequence), dtype=np.float32)
    weights[:1] = 0
    return Sequence(sequence.ids, weights)


def _fit(sequence: Sequence, row: Row, everything: bool, max_length: int, too_long: TooLong, encoded: Encoded) -> list[Sequence]:
    if len(sequence) <= max_length:
        return [sequence]
    if everything and isinstance(row, Document):
        return _pieces(sequence, max_length)
    if too_long == "refuse":
        raise DataError(
            f"{row.origin}: this row has {len(sequence)} tokens, the limit is {max_length}. "
            f"Shorten it, raise `data.max_length` if the model's context allows, or set `data.too_long` to `drop` or `cut`."
        )
    if too_long == "drop":
        encoded.num_dropped += 1
        return []
    encoded.num_cut += 1
    return [Sequence(sequence.ids[:max_length], sequence.weights[:max_length])]


def _pieces(sequence: Sequence, max_length: int) -> list[Sequence]:
    """Pieces that overlap by one token, so that every token but the first is predicted exactly once."""
    starts = range(0, len(sequence) - 1, max_length - 1)
    return [_all_scored(Sequence(sequence.ids[s : s + max_length], sequence.weights[s : s + max_length] * 0)) for s in starts]


def refuse_kinds(rows: Iterable[Row], accepted: tuple[str, ...], method: str) -> None:
    """Refuse rows of a kind that the method does not learn from.

    Raises:
        DataError: naming the first such row.
    """
    for row in rows:
        if type(row).__name__ not in accepted:
            raise DataError(
                f"{row.origin}: this is a {type(row).__name__.lower()}, "
                f"but `{method}` learns from {listed([a.lower() + 's' for a in accepted])}."
            )
