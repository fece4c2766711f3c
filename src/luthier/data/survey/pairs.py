"""Pairs of a better and a worse answer: those that say nothing, or too little, about what is better."""

from array import array
from dataclasses import dataclass, field
from typing import Literal

from luthier.data.survey import contents
from luthier.data.survey.places import Places, at
from luthier.spec.finding import Finding
from luthier.spec.rows import Preference

Difference = Literal["none", "both empty", "one word", "length"]

FEW_WORDS = 4
"""Of shorter answers one word is much: `yes` and `no` differ by one."""
MANY = 0.05
"""Share of the pairs above which what differs too little is a warning."""
BIASED, ENOUGH = 0.65, 50
"""Longer answers preferred in that share of at least so many pairs are worth a word."""


def difference(chosen: str, rejected: str) -> Difference | None:
    """How little two answers differ; None where it is enough.

    `length`: one is the other with a stretch of words added in one place. `one word`: one word is another, or is added.
    """
    better, worse = chosen.split(), rejected.split()
    if better == worse:
        return "none" if better else "both empty"
    shorter, longer = sorted((len(better), len(worse)))
    before = next((i for i in range(shorter) if better[i] != worse[i]), shorter)
    after = next((i for i in range(shorter - before) if better[-1 - i] != worse[-1 - i]), shorter - before)
    if longer - before - after <= 1:
        return "one word" if longer >= FEW_WORDS else None
    return "length" if shorter == before + after and shorter >= FEW_WORDS else None


@dataclass
class Pairs:
    """Counts over the pairs of some files. `alike`: rows (numbers over all files) by how little their answers differ."""

    total: int = 0
    longer: int = 0
    shorter: int = 0
    alike: "dict[Difference, array[int]]" = field(default_factory=dict)

    def add(self, row: Preference, number: int) -> None:
        chosen, rejected = contents.text_of(row.chosen), contents.text_of(row.rejected)
        self.total += 1
        self.longer += len(chosen) > len(rejected)
        self.shorter += len(chosen) < len(rejected)
        if any(turn.tool_calls for turn in (*row.chosen, *row.rejected)):
            if row.chosen == row.rejected:
                self.alike.setdefault("none", array("I")).append(number)
        elif found := difference(chosen, rejected):
            self.alike.setdefault(found, array("I")).append(number)

    @property
    def longer_preferred(self) -> float | None:
        """Share of the pairs with answers of different lengths in which the longer one is preferred."""
        unequal = self.longer + self.shorter
        return self.longer / unequal if unequal else None

    def findings(self, places: Places) -> list[Finding]:
        found = []
        for kind, (code, sentence) in SENTENCES.items():
            rows = self.alike.get(kind, array("I"))
            if rows:
                shown = places.shown(rows)
                severity: Literal["warning", "advice"] = "advice" if code in MILD and len(rows) <= MANY * self.total else "warning"
                message = f"{_pairs(len(rows))} {sentence[len(rows) > 1]}{at(shown, len(rows))}. {sentence[2]}"
                found.append(Finding(severity, code, message, len(rows), shown))
        return [*found, *self._bias()]

    def _bias(self) -> list[Finding]:
        share = self.longer_preferred
        if share is None or self.longer + self.shorter < ENOUGH or max(share, 1 - share) < BIASED:
            return []
        which, other = ("longer", "shorter") if share > 0.5 else ("shorter", "longer")
        text = (
            f"In {max(share, 1 - share):.0%} of the pairs the {which} answer is the preferred one: a model can learn length instead of "
            f"quality. Compare with what length alone would score, or add pairs in which the {other} one is better."
        )
        return [Finding("advice", "length-bias", text, self.longer if share > 0.5 else self.shorter)]


SENTENCES: dict[Difference, tuple[str, tuple[str, str, str]]] = {
    "none": (
        "equal-pair",
        ("has the same answer twice", "have the same answer twice", "Nothing can be learned from them: `--fix OUT` leaves them out."),
    ),
    "both empty": (
        "empty-pair",
        ("has two empty answers", "have two empty answers", "Nothing can be learned from them: `--fix OUT` leaves them out."),
    ),
    "one word": (
        "pairs-differ-by-one-word",
        (
            "differs by one word only",
            "differ by one word only",
            "Look whether that word is what makes the answer better; if not, it teaches noise.",
        ),
    ),
    "length": (
        "pairs-differ-in-length-only",
        (
            "differs in length only: one answer is the other with a stretch added",
            "differ in length only: one answer is the other with a stretch added",
            "Such pairs teach to write more, or less.",
        ),
    ),
}
MILD = ("pairs-differ-by-one-word", "pairs-differ-in-length-only")


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count:,} pairs"
