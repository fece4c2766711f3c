"""The script that a text is written in, from the names that Unicode gives its letters."""

import unicodedata
from collections import Counter
from functools import lru_cache

LETTERS = 64
"""How many characters of a text are looked at, evenly from beginning to end."""

NONE = "no letters"

NAMES = {
    "CJK": "Chinese characters",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Hangul",
}
"""What people call them; any other bears the first word of its letters' names: `CYRILLIC SMALL LETTER A`."""


@lru_cache(maxsize=65536)
def script_of(char: str) -> str:
    """`Latin`, `Cyrillic`, `Chinese characters`; empty for what is no letter."""
    if not char.isalpha():
        return ""
    first = unicodedata.name(char, "").partition(" ")[0]
    return NAMES.get(first, first.capitalize())


def script(text: str) -> str:
    """The script of most letters of a text; `NONE` where it has none. One kana among Chinese characters in ten makes it Japanese."""
    if text.isascii():
        return "Latin" if text else NONE
    step = max(1, len(text) // LETTERS)
    counts: Counter[str] = Counter()
    for char, number in Counter(text[::step]).items():
        if found := script_of(char):
            counts[found] += number
    if not counts:
        return NONE
    if counts["Japanese"] * 10 >= counts["Chinese characters"] > 0:
        return "Japanese"
    return counts.most_common(1)[0][0]
