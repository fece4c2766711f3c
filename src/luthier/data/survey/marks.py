"""Special tokens that texts spell out: mostly the traces of another template, through which rows went before."""

import re
from collections.abc import Iterable

from luthier.data.survey import contents
from luthier.spec.rows import Row

KNOWN = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>]{1,40}｜>|</?s>|<[be]os>|</?(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|\[(?:SYSTEM_PROMPT|TOOL_CALLS)\]"
)
"""How turn markers look in the templates of open models, for where no model is named."""


def pattern(tokens: Iterable[str]) -> re.Pattern[str]:
    """Any of the special tokens of one model, and what looks like one of another's.

    Those that begin with no bracket are left out: a word can be ordinary text.
    """
    bracketed = sorted((token for token in tokens if token.startswith(("<", "["))), key=len, reverse=True)
    return re.compile("|".join([*map(re.escape, bracketed), KNOWN.pattern]))


def marks(row: Row, pattern: re.Pattern[str]) -> list[str]:
    """The special tokens that a row spells out, in order."""
    return [mark for text in contents.texts(row) for mark in pattern.findall(text)]
