"""Rows by the value of a column: how many each group has, and how often each label in it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from luthier.errors import DataError
from luthier.spec.finding import Finding
from luthier.spec.nearest import listed
from luthier.spec.rows import Faulty, Labeled, Origin, Rating, Row, Thumb

MOST = 1000
"""Groups above which a column does not group rows."""
FEW = 30
"""Rows below which a group's rates say little: at 30, ± 18 points (95 %)."""


class Group(msgspec.Struct, frozen=True):
    """`rates`: the share of the group's rows with each label (or the mean of each score)."""

    name: str
    count: int
    share: float
    rates: dict[str, float]


class Groups:
    """Counts by the values of one column."""

    def __init__(self, column: str) -> None:
        self.column = column
        self.counts: Counter[str] = Counter()
        self.sums: dict[str, dict[str, float]] = {}

    def add(self, value: str, row: Row) -> None:
        if value not in self.counts and len(self.counts) >= MOST:
            raise DataError(
                f"{row.origin}: the column `{self.column}` has more than {MOST:,} values, so it does not group rows. Choose another."
            )
        self.counts[value] += 1
        sums = self.sums.setdefault(value, {})
        for name, amount in _judged(row).items():
            sums[name] = sums.get(name, 0.0) + amount

    def figures(self) -> tuple[Group, ...]:
        total = self.counts.total()
        names = sorted({name for sums in self.sums.values() for name in sums})
        return tuple(
            Group(value, count, count / total, {name: self.sums[value].get(name, 0.0) / count for name in names})
            for value, count in self.counts.most_common()
        )

    def findings(self) -> list[Finding]:
        small = [(value, count) for value, count in self.counts.most_common() if count < FEW]
        if not small or len(self.counts) < 2:
            return []
        names = ", ".join(f'"{value}" ({count})' for value, count in small[::-1][:5]) + (", …" if len(small) > 5 else "")
        number = f"1 group of `{self.column}` has" if len(small) == 1 else f"{len(small)} groups of `{self.column}` have"
        text = f"{number} fewer than {FEW} rows: {names}. What is measured on so few can be off by 18 points and more."
        return [Finding("advice", "small-groups", text, sum(count for _, count in small))]


def _judged(row: Row) -> dict[str, float]:
    if isinstance(row, Labeled):
        return {row.label: 1}
    if isinstance(row, Thumb):
        return {"good": row.good}
    return row.scores if isinstance(row, Rating) else {}


class Column:
    """A column read beside the rows, in one pass over both. `records`: (place, fields) of every record of the file, in order."""

    def __init__(self, column: str, records: Iterator[tuple[Origin, dict[str, Any]] | Faulty]) -> None:
        self._column, self._records = column, records
        self._at: tuple[int, str] = (0, "")

    def value(self, row: Row) -> str:
        """The column's value for this row, which must not stand before the last one asked for.

        Raises:
            DataError: the row's record lacks the column.
        """
        if row.origin.line == self._at[0]:  # a record may hold what several people said
            return self._at[1]
        for record in self._records:
            if isinstance(record, Faulty):
                continue
            origin, fields = record
            if origin.line == row.origin.line:
                if self._column in fields:
                    self._at = origin.line, str(fields[self._column])
                    return self._at[1]
                raise DataError(f"{origin}: this row has no column `{self._column}` to group by. It has {listed(list(fields)[:8], 'and')}.")
        raise DataError(f"{row.origin}: this row's fields can't be read by name, so it has no column `{self._column}`.")
