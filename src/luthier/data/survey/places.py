"""Places of rows, for people: the first few as `file:line`, or all of them as stretches of lines."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np

SHOWN = 5
"""How many places a finding names."""


class Places:
    """Where the rows of some files stand, four bytes a row: the number of the row counted over all files → file and line."""

    def __init__(self) -> None:
        self.lines = array("I")
        self._starts: list[int] = []
        self._paths: list[str] = []

    def begin(self, path: str) -> None:
        """What is added from now on stands in this file."""
        self._starts.append(len(self.lines))
        self._paths.append(path)

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        return f"{self._paths[bisect_right(self._starts, row) - 1]}:{self.lines[row]}"

    def shown(self, rows: Sequence[int] | np.ndarray) -> tuple[str, ...]:
        """The first few of some rows."""
        return tuple(self.place(int(row)) for row in rows[:SHOWN])


def stretches(lines: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending line numbers as (first, last) of what stands together: `[3, 4, 5, 9]` → `[(3, 5), (9, 9)]`."""
    found: list[tuple[int, int]] = []
    for line in lines:
        if found and line == found[-1][1] + 1:
            found[-1] = (found[-1][0], line)
        else:
            found.append((line, line))
    return found


def named(lines: Iterable[int], most: int = 12) -> str:
    """`lines 3–5, 9, …`"""
    parts = stretches(lines)
    words = [str(first) if first == last else f"{first}–{last}" for first, last in parts[:most]]
    return (
        ("line " if len(parts) == 1 and parts[0][0] == parts[0][1] else "lines ") + ", ".join(words) + (", …" if len(parts) > most else "")
    )


def at(places: Sequence[str], count: int) -> str:
    """` (train.jsonl:3, 9, 12 and 40 more)`, with the space before it; nothing where there is no place. The file is named once."""
    if not places:
        return ""
    words, last = list[str](), ""
    for place in places[:3]:
        path, _, line = place.rpartition(":")
        words.append(line if path and path == last else place)
        last = path
    more = count - len(words)
    return f" ({', '.join(words)}{f' and {more:,} more' if more > 0 else ''})"
