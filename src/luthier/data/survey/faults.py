"""Rows that cannot be used, gathered by what is wrong with them: one sentence a kind, with the first as its example."""

import re
from array import array
from dataclasses import dataclass, field

from luthier.data.survey.places import SHOWN, named
from luthier.spec.finding import Finding, Severity
from luthier.spec.rows import Faulty, Skipped

KINDS = (
    ("malformed-json", ("not valid JSON", "nested too deeply", "JSON array", "surrogate", "several lines")),
    ("not-utf-8", ("not UTF-8", "NUL bytes")),
    ("wrong-role", ("has role", "`role`")),
    ("empty-answer", ("answer in message", "is empty", "are empty")),
    ("missing-field", ("has no `", "no `content`", "no `role`")),
)
"""What kind a sentence tells of, by words in it; any other is a `faulty-row`."""

VARIABLE = re.compile(r'"[^"]*"|\d+(?:\.\d+)?')
"""What differs between sentences of one kind: numbers and what was found."""


@dataclass
class Kind:
    """Rows with one fault. `example`: the sentence on the first."""

    example: str
    path: str
    lines: "array[int]" = field(default_factory=lambda: array("I"))
    places: list[str] = field(default_factory=list)

    @property
    def why(self) -> str:
        """The sentence without its place."""
        return self.example.removeprefix(f"{self.path}:{self.lines[0]}: ")


class Faults:
    """Of one file: what could not be used (`errors`), or what was no row and is passed over (`advice`)."""

    def __init__(self, severity: Severity = "error") -> None:
        self.severity = severity
        self.kinds: dict[str, Kind] = {}

    def add(self, row: Faulty | Skipped) -> None:
        name = VARIABLE.sub("…", row.why.removeprefix(f"{row.origin}: "))
        kind = self.kinds.get(name)
        if kind is None:
            kind = self.kinds[name] = Kind(row.why, row.origin.path)
        kind.lines.append(row.origin.line)
        if len(kind.places) < SHOWN:
            kind.places.append(str(row.origin))

    @property
    def total(self) -> int:
        return sum(len(kind.lines) for kind in self.kinds.values())

    def findings(self) -> list[Finding]:
        found = []
        for kind in self.kinds.values():
            count = len(kind.lines)
            if self.severity == "error":
                more = f" So {_rows(count - 1)}: {named(kind.lines[1:])} of {kind.path}." if count > 1 else ""
                found.append(Finding("error", _code(kind.example), f"{kind.example}{more}", count, tuple(kind.places)))
            else:
                what = "1 stretch is no row" if count == 1 else f"{count:,} stretches are no rows"
                text = f"{kind.path}: {what} and will be left out ({kind.example}), {named(kind.lines)}."
                found.append(Finding(self.severity, "skipped-text", text, count, tuple(kind.places)))
        return found


def _code(sentence: str) -> str:
    return next((code for code, words in KINDS if any(word in sentence for word in words)), "faulty-row")


def _rows(count: int) -> str:
    return "is 1 more row" if count == 1 else f"are {count:,} more rows"
