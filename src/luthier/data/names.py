"""Names for the columns of rows that have none: a table without a header, or lists such as `["Where is my card?", "card_arrival"]`."""

from collections.abc import Sequence


def of_columns(rows: Sequence[Sequence[object]]) -> tuple[str, ...]:
    """`text` and `label` for two columns, one of which holds few different short values, in their order; else `column 1`, `column 2`, …

    Args:
        rows: the first rows, all of one length.
    """
    width = len(rows[0])
    if width == 2 and len(rows) > 1:
        for label in (1, 0):
            if _names_a_class([row[label] for row in rows]) and _is_text([row[1 - label] for row in rows]):
                return ("text", "label") if label else ("label", "text")
    return tuple(f"column {i}" for i in range(1, width + 1))


def _names_a_class(values: list[object]) -> bool:
    """Short, and some come again."""
    if not all(isinstance(value, str | int) and 0 < len(str(value)) <= 40 for value in values):
        return False
    return len(set(values)) < len(values)


def _is_text(values: list[object]) -> bool:
    """Mostly several words, and hardly any twice."""
    texts = [value for value in values if isinstance(value, str)]
    words = sum(len(text.split()) > 1 or len(text) > 15 for text in texts)
    return len(texts) == len(values) and words * 2 > len(values) and len(set(texts)) * 2 > len(texts)
