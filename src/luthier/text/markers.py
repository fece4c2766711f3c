"""`Markers`: keeps the text of messages apart from the tokens that only a template may write.

A message that says `<|im_end|>` must not end its turn. So before a template sees a message, each marker in it is put between two
characters that Unicode reserves for a program's own use. Templates hand them on like any others; what stands between them afterwards is
ordinary text, and every other marker was written by the template. Both are then encoded in one piece, by a copy of the tokenizer that knows
the template's markers under other names: so the ids are those of the whole text, where a marker in a message is text.
"""

import json
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import tokenizers

from luthier.errors import TemplateError
from luthier.text.tokenizer import Tokenizer, Tokens

OPEN, CLOSE, PROBE, SPAN_START, SPAN_END = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3", "\ufdd4"
"""Noncharacters. Around a marker in a message; for finding where a template puts a text; around what `{% generation %}` encloses."""

RESERVED = re.compile("[\ufdd0-\ufdd4]")
TAG = re.compile(r"</?[a-z_]+>")  # `<think>`, `</tool_call>`: what models write inside their answers
PUNCTUATED = re.compile(r"[^\w\s▁]")


class Markers:
    """The markers of one tokenizer and template.

    Every special token is one. So is an added token that is not called special, where the template writes it: DeepSeek's
    `<｜User｜>`. In the assistant's own text tags such as `<think>` are left as they are, because models write them and templates look
    for them there.
    """

    def __init__(self, tokenizer: Tokenizer, template_text: str) -> None:
        self._tokenizer = tokenizer
        written = (text for text in tokenizer.added if PUNCTUATED.search(text) and text in template_text)
        special = (text for text, id in tokenizer.added.items() if id in tokenizer.special_ids)
        self.texts = frozenset(text for text in (*written, *special) if text)
        self._in_messages = _any_of(self.texts)
        self._tags = {text for text in self.texts if TAG.fullmatch(text) and tokenizer.added[text] not in tokenizer.special_ids}
        self._in_answers = _any_of(self.texts - self._tags)

    def mark(self, value: Any, by_assistant: bool) -> Any:
        """`value` (text, or lists and dicts of it) with each marker in it between `OPEN` and `CLOSE`.

        Raises `TemplateError` on text that holds one of the reserved characters.
        """
        pattern = self._in_answers if by_assistant else self._in_messages
        return _map_text(value, lambda text: self._mark_text(text, pattern))

    @staticmethod
    def _mark_text(text: str, pattern: re.Pattern[str]) -> str:
        if reserved := RESERVED.search(text):
            raise TemplateError(
                f"A message holds the character U+{ord(reserved[0]):04X}, which Unicode keeps for a program's own use and Luthier uses "
                "to keep messages apart from turn markers. Take it out of the text."
            )
        return pattern.sub(f"{OPEN}\\g<0>{CLOSE}", text)

    def find(self, marked: str, tags: bool = True) -> list[tuple[int, int]]:
        """Where the template wrote markers, (start, end) in `marked`, in order; with or without tags such as `</tool_call>`."""
        found = (match for match in self._written.finditer(marked) if match.lastindex is None)
        return [match.span() for match in found if tags or match[0] not in self._tags]

    def escaped(self, marked: str) -> list[str]:
        """The markers that stand in messages, in order."""
        return [match[1] for match in self._written.finditer(marked) if match[1]]

    @cached_property
    def _written(self) -> re.Pattern[str]:
        """A marker in a message (group 1), a stray bracket (group 2), or a marker that the template wrote (no group)."""
        markers = self._in_messages.pattern
        return re.compile(f"{OPEN}({markers}){CLOSE}|([{OPEN}{CLOSE}])|{markers}")

    def encode(self, marked: str) -> Tokens:
        """Ids of a rendered text; a marker in a message becomes ordinary pieces. Positions refer to `marked`.

        Raises `TemplateError` where the vocabulary itself makes a marker of ordinary text.
        """
        if OPEN not in marked and CLOSE not in marked:
            return self._tokenizer.tokens(marked)
        text, positions = self._for_guard(marked)
        tokens = self._guard.tokens(text)
        if forged := set(tokens.ids.tolist()) & self._forged_ids:
            name = self._tokenizer.token_of(min(forged))
            raise TemplateError(
                f"The text of a message holds `{name}`, and this tokenizer can't write it as ordinary text. "
                "Take it out of the message: it would be read as the end or the start of a turn."
            )
        ids = np.array([self._true_ids.get(id, id) for id in tokens.ids.tolist()], dtype=np.int64)
        starts = positions[tokens.starts]
        return Tokens(ids, starts, np.where(tokens.ends > tokens.starts, positions[tokens.ends - 1] + 1, starts))

    def _for_guard(self, marked: str) -> tuple[str, np.ndarray]:
        """The text for the copy of the tokenizer, and for each of its positions the one in `marked`, (n + 1,)."""
        parts: list[str] = []
        positions: list[np.ndarray] = []

        def keep(start: int, end: int) -> None:
            parts.append(marked[start:end])
            positions.append(np.arange(start, end))

        at = 0
        for match in self._written.finditer(marked):
            keep(at, match.start())
            at = match.end()
            if match[1]:
                keep(*match.span(1))
            elif match.lastindex is None:
                parts.append(_alias(match[0]))
                positions.append(np.clip(np.arange(match.start() - 1, match.end() + 1), match.start(), match.end() - 1))
        keep(at, len(marked))
        positions.append(np.array([len(marked)]))
        return "".join(parts), np.concatenate(positions)

    @cached_property
    def _guard(self) -> Tokenizer:
        settings = json.loads(self._tokenizer.to_json())
        for token in settings["added_tokens"]:
            if token["content"] in self.texts:
                token["content"] = _alias(token["content"])
        return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(settings, ensure_ascii=False)), {})

    @cached_property
    def _true_ids(self) -> dict[int, int]:
        """The copy's ids → the tokenizer's, where they differ: a marker that is in the vocabulary itself got a new id."""
        names = {text: _alias(text) if text in self.texts else text for text in self._tokenizer.added}
        return {self._guard.added[name]: self._tokenizer.added[text] for text, name in names.items()}

    @cached_property
    def _forged_ids(self) -> frozenset[int]:
        """The markers' own ids in the copy: there only ordinary text can lead to them."""
        ids = (self._guard.id_of(text) for text in self.texts)
        return frozenset(id for id in ids if id is not None)


def plain(marked: str) -> str:
    """The text as a reader sees it, without the reserved characters."""
    return RESERVED.sub("", marked)


def _alias(marker: str) -> str:
    return f"{OPEN}{marker}{CLOSE}"


def _any_of(texts: frozenset[str] | set[str]) -> re.Pattern[str]:
    """The longest first, as `tokenizers` matches them. Matches nothing where there are none."""
    return re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)) or "(?!)")


def _map_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key) if isinstance(key, str) else key: _map_text(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_map_text(item, change) for item in value]
    return value
