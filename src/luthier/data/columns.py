"""What people call the columns of texts and classes, and the one place that says which of them a row has."""

from functools import lru_cache

LABELS = ("label_text", "label_name", "label", "intent", "class", "category", "sentiment", "emotion", "topic", "target")
"""Columns that name a class, the surest first: words before numbers, finer before coarser."""

TEXTS = (
    ("premise", "hypothesis"),
    ("word", "sentence1", "sentence2"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "passage"),
    ("title", "description"),
    ("text",),
    ("sentence",),
    ("utterance",),
    ("tweet",),
    ("content",),
    ("review",),
    ("comment",),
    ("comment_text",),
    ("message",),
    ("query",),
    ("headline",),
)
"""Columns of what is classified. Where it has several parts, all of them are read, each under its name."""


@lru_cache(maxsize=256)
def labeled(names: tuple[str, ...]) -> tuple[tuple[str, ...], str] | None:
    """The columns of the text and the one of its class among `names`, whatever their case, or None."""
    known = {name.lower(): name for name in reversed(names)}
    texts = next((texts for texts in TEXTS if all(text in known for text in texts)), None)
    label = next((label for label in LABELS if label in known), None)
    return (tuple(known[text] for text in texts), known[label]) if texts and label else None
