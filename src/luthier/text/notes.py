"""`Note`: what a person should know about how a row, or a template, became tokens."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from luthier.errors import TemplateError
from luthier.text.marked import SOME_TIME, MarkedTemplate
from luthier.text.markers import PROBE
from luthier.text.tokenizer import Tokenizer
from luthier.text.turns import Turns

MARKER_LIKE = re.compile(r"<\|[^|<>\s]+\|>|<｜[^｜<>\s]+｜>|</?s>|\[/?INST\]")

Kind = Literal[
    "boundary",  # prompt and answer would share tokens if they were tokenized at once; each has its own
    "prompt_differs",  # the finished turn does not begin with what serving feeds before it
    "end_not_trained",  # the template does not count the end token as the assistant's
    "no_end",  # the template writes no end token after an answer
    "escaped",  # a message holds a marker, encoded as ordinary text
    "double_bos",  # the text begins with BOS twice
    "text_markers",  # turns are separated by ordinary text, which a message can imitate
    "imitated_marker",  # … and this one does
    "split_marker",  # the template writes a marker that is not one token
    "date",  # the template writes today's date
]


@dataclass(frozen=True)
class Note:
    """One observation: `kind` to count by, `text` the sentence for a person."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        return self.text


def notes_on_template(template: MarkedTemplate, turns: Turns, tokenizer: Tokenizer) -> Iterator[Note]:
    """What is worth knowing before any row is seen."""
    if template.template.uses_date:
        yield Note("date", "The chat template writes today's date: the same row gives other tokens on another day.")
    if separator := text_between_turns(template):
        yield Note("text_markers", f"The chat template separates turns by ordinary text ({separator!r}), which a message can imitate.")
    answer = turns.example
    if answer and turns.end_token is None:
        yield Note("no_end", "The chat template writes no end token after an answer: the model can't learn to stop.")
    for marker in sorted({*MARKER_LIKE.findall(_question(template) + answer)} - tokenizer.added.keys()):
        yield Note(
            "split_marker",
            f"The chat template writes `{marker}`, which is not a token of this tokenizer: it becomes "
            f"{len(tokenizer.encode(marker))} ordinary pieces, and a message can write it too.",
        )


def text_between_turns(template: MarkedTemplate) -> str | None:
    """What stands between a question and its answer where that is ordinary text, and no marker; otherwise None."""
    between = _question(template).rpartition(PROBE)[2]
    return between.strip() or None if not template.markers.find(between) else None


def _question(template: MarkedTemplate) -> str:
    """The rendering of a lone question, or nothing where the template refuses it."""
    content = [{"type": "text", "text": PROBE}] if template.in_parts else PROBE
    try:
        text = template.render([{"role": "user", "content": content}], (), True, SOME_TIME).marked
    except TemplateError:
        return ""
    return text if PROBE in text else ""
