"""Training and validation rows: set apart by seed, and the same row never in both."""

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from luthier.data.seeded import generator
from luthier.errors import DataError
from luthier.spec.rows import Conversation, Origin, Row


def content_key(row: Row) -> bytes:
    """16 bytes that are the same for rows with the same content, wherever they stand."""
    content = (row.messages, row.tools) if isinstance(row, Conversation) else row.text
    return hashlib.blake2b(msgspec.json.encode(content), digest_size=16).digest()


def split_validation(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Training and validation rows, each in the order of `rows`. Rows with the same content go to the same side.

    Args:
        share: of the rows, above 0 and at most 0.5. At least one row is set aside.
    Raises:
        DataError: too few different rows to set any aside.
    """
    places: dict[bytes, list[int]] = {}
    for i, row in enumerate(rows):
        places.setdefault(content_key(row), []).append(i)
    if len(places) < 2:
        raise DataError(f"`data.validation_share` needs at least two different rows to set one aside; there is {len(places)}.")
    groups = list(places.values())
    wanted = max(1, round(share * len(rows)))
    aside: set[int] = set()
    for group in generator(seed, "validation").permutation(len(groups))[:-1]:  # the last stays, so that some row is left to learn from
        if len(aside) >= wanted:
            break
        aside.update(groups[group])
    return [row for i, row in enumerate(rows) if i not in aside], [row for i, row in enumerate(rows) if i in aside]


def shared_rows(train: Iterable[Row], validation: Iterable[Row]) -> list[tuple[Origin, Origin]]:
    """Where the same row stands in both: (place in training, place in validation), the first place of each."""
    first = _first_places(train)
    return [(first[key], place) for key, place in _first_places(validation).items() if key in first]


def repeated_rows(rows: Iterable[Row]) -> list[tuple[Origin, Origin]]:
    """Rows whose content stood before: (first place, this place)."""
    first: dict[bytes, Origin] = {}
    found = [(first.setdefault(content_key(row), row.origin), row.origin) for row in rows]
    return [(place, again) for place, again in found if place is not again]


def _first_places(rows: Iterable[Row]) -> dict[bytes, Origin]:
    places: dict[bytes, Origin] = {}
    for row in rows:
        places.setdefault(content_key(row), row.origin)
    return places
