"""What is kept of every row: 20 bytes, in columns. Enough to find what is repeated and shared, and how long rows are."""

from array import array

import numpy as np

from luthier.data.split import content
from luthier.data.survey.contents import Size, key
from luthier.data.survey.places import Places
from luthier.spec.rows import Row


class Columns:
    """One entry a row, in the order of the files: its key, the characters of the row and of its answer."""

    def __init__(self) -> None:
        self.places = Places()
        self.keys = array("Q")
        self.lengths = array("I")
        self.answers = array("I")

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, row: Row, line: int, size: Size) -> None:
        self.places.lines.append(line)
        self.keys.append(key(content(row)))
        self.lengths.append(size.row)
        self.answers.append(size.answer)


def view(column: "array[int]") -> np.ndarray:
    """(n,) of the column's own type, without a copy."""
    return np.frombuffer(column, dtype=f"u{column.itemsize}") if column else np.zeros(0, dtype=f"u{column.itemsize}")


def repeated(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entries whose key stood before, ascending, and the first entry with that key. Both (m,) int64; `keys`: (n,)."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    again = np.zeros(len(keys), dtype=bool)
    again[1:] = ordered[1:] == ordered[:-1]
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(keys))))
    later, earlier = order[again], order[first[again]]
    ascending = np.argsort(later)
    return later[ascending], earlier[ascending]


def shared(train: np.ndarray, validation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entries of `train` whose key stands in `validation`, ascending, and the first entry there. Both (m,) int64."""
    if not len(train) or not len(validation):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    order = np.argsort(validation, kind="stable")
    at = np.minimum(np.searchsorted(validation[order], train), len(validation) - 1)
    found = np.flatnonzero(validation[order][at] == train)
    return found, order[at[found]]


def runs(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where stretches of equal entries begin, and where they end. Both (m,) int64; `ordered`: (n,)."""
    if not len(ordered):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return starts, np.append(starts[1:], len(ordered))


def disputed(questions: np.ndarray, keys: np.ndarray) -> list[np.ndarray]:
    """Entries that ask the same and say different things: for each such question its entries, ascending."""
    order = np.argsort(questions, kind="stable")
    starts, ends = runs(questions[order])
    if not len(starts):
        return []
    told = keys[order]
    differ = np.minimum.reduceat(told, starts) != np.maximum.reduceat(told, starts)
    return [order[starts[i] : ends[i]] for i in np.flatnonzero(differ)]
