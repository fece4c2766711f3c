"""Tokens for the eye: white space and control characters made visible, tokens of one kind put together."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from luthier.text.shown import Kind, Token

LINE_BREAK, SPACE, TAB = "↵", "·", "⇥"

JOINERS = "\u200c\u200d"
"""Format characters that belong to the writing of some languages, and to emoji."""


@dataclass(frozen=True)
class Piece:
    """What one token shows; several where only together they spell a character."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Stretch:
    """Neighbouring tokens of one kind and weight. `factor`: `×0.5` where learning with that weight ends, empty for the usual 1."""

    kind: Kind
    weight: float
    pieces: tuple[Piece, ...]
    factor: str = ""

    @property
    def learned(self) -> bool:
        return self.weight != 0 and self.kind != "cut"


def stretches(tokens: Iterable[Token]) -> Iterator[Stretch]:
    groups = groupby(tokens, key=lambda token: (token.kind, 0.0 if token.kind == "cut" else token.weight))
    found = [Stretch(kind, weight, tuple(_pieces(list(group)))) for (kind, weight), group in groups]
    for stretch, following in zip(found, [*found[1:], None], strict=True):
        goes_on = following is not None and following.learned and following.weight == stretch.weight
        yield stretch if goes_on or stretch.weight == 1 or not stretch.learned else replace(stretch, factor=f"×{stretch.weight:g}")


def _pieces(tokens: Sequence[Token]) -> Iterator[Piece]:
    characters = visible("".join(token.text for token in tokens))
    at, ids = 0, list[int]()
    for token in tokens:
        ids += [] if token.id is None else [token.id]
        if token.text:
            yield Piece("".join(characters[at : at + len(token.text)]), tuple(ids))
            at, ids = at + len(token.text), []
    if ids:
        yield Piece("", tuple(ids))


def visible(text: str) -> list[str]:
    """What to show for each character. A single space between words stays as it is; any other is a dot."""
    last = len(text) - 1
    return [
        SPACE if char == " " and (at in (0, last) or text[at - 1].isspace() or text[at + 1].isspace()) else _shown(char)
        for at, char in enumerate(text)
    ]


def _shown(char: str) -> str:
    if char == "\n":
        return f"{LINE_BREAK}\n"
    if char == "\t":
        return TAB
    if char < " ":
        return chr(0x2400 + ord(char))  # the pictures of control characters
    hidden = unicodedata.category(char) in ("Cc", "Cf", "Co", "Zl", "Zp", "Zs") and char not in JOINERS and char != " "
    return f"<U+{ord(char):04X}>" if hidden else char
