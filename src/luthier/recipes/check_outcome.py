"""`Check`: one thing that a run's record says, held against what is there."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isclose
from typing import Any, Literal

Outcome = Literal["same", "differs", "not checked"]

CLOSE = 1e-9
"""Relative difference of two figures that counts as none: they went through a file."""


@dataclass(frozen=True)
class Check:
    """One thing that the record says. `detail`: what was compared, what differs, or why it could not be checked."""

    what: str
    outcome: Outcome
    detail: str


def unlike(said: Any, found: Any, place: str = "") -> Iterator[str]:
    """Where two values that came from JSON differ, each as `place: was A and is B`."""
    if isinstance(said, dict) and isinstance(found, dict):
        for key in dict.fromkeys([*said, *found]):
            inner = f"{place}.{key}" if place else str(key)
            if key not in said or key not in found:
                yield f"`{inner}` is {'missing now' if key in said else 'new'}"
            else:
                yield from unlike(said[key], found[key], inner)
    elif isinstance(said, list) and isinstance(found, list) and len(said) == len(found):
        for i, (a, b) in enumerate(zip(said, found, strict=True)):
            yield from unlike(a, b, f"{place}[{i}]")
    elif not _same(said, found):
        yield f"`{place}` was {said} and is {found}"


def _same(a: Any, b: Any) -> bool:
    numbers = isinstance(a, int | float) and isinstance(b, int | float) and not isinstance(a, bool) and not isinstance(b, bool)
    return isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE) if numbers else bool(a == b)
