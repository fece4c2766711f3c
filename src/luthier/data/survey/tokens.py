"""How rows look to one model: tokens, what does not fit its context, characters its tokenizer loses.

What measures a row is handed in, because tokenizers live in another room.
"""

from array import array
from collections import Counter
from collections.abc import Callable

import msgspec

from luthier.data.survey.columns import view
from luthier.data.survey.lengths import Distribution, distribution
from luthier.data.survey.places import Places, at
from luthier.spec.finding import Finding
from luthier.spec.rows import Row

MOST = 20_000
"""Of more rows, every so-manieth is measured, and totals are estimated."""
REFUSED = 0.05
"""Share of the rows over the context from which on training on the rest is another task than was meant."""


class Measured(msgspec.Struct, frozen=True):
    """A row as a model reads it: its tokens, those of them that are learned, and characters that no token carries.

    `refused`: why it can't be read. `divisible`: it may be longer than the context, because it is learned in pieces.
    """

    tokens: int
    learned: int = 0
    lost: dict[str, int] = {}
    refused: str = ""
    divisible: bool = False


class TokenFigures(msgspec.Struct, frozen=True):
    """Over the rows measured: `every`-th row, from which the totals are estimated where that is not 1."""

    model: str
    context: int | None
    every: int
    lengths: Distribution | None
    total: int
    learned: int
    too_long: int
    lost: dict[str, int]


Measure = Callable[[Row], Measured]


class Tokens:
    """At most `most` rows, evenly chosen, measured."""

    def __init__(self, model: str, context: int | None, measure: Measure, most: int = MOST) -> None:
        self.model, self.context, self.every, self._most = model, context, 1, most
        self._measure = measure
        self.rows, self.lengths, self.over = array("I"), array("I"), array("I")
        self.learned = 0
        self.lost: Counter[str] = Counter()
        self.losing, self.refused = array("I"), array("I")
        self.reason = ""

    def choose(self, rows: int) -> None:
        """So many rows there are."""
        self.every = max(1, -(-rows // self._most))

    def add(self, row: Row, number: int) -> None:
        if number % self.every:
            return
        found = self._measure(row)
        if found.refused:
            self.reason = self.reason or found.refused
            self.refused.append(number)
            return
        self.rows.append(number)
        self.lengths.append(found.tokens)
        self.learned += found.learned
        if self.context is not None and found.tokens > self.context and not found.divisible:
            self.over.append(number)
        if found.lost:
            self.lost.update(found.lost)
            self.losing.append(number)

    def figures(self, places: Places) -> TokenFigures:
        lengths = view(self.lengths)
        longest = places.place(self.rows[int(lengths.argmax())]) if len(lengths) else ""
        total = int(lengths.sum(dtype="int64"))
        lost = dict(self.lost.most_common(40))
        return TokenFigures(
            self.model,
            self.context,
            self.every,
            distribution(lengths, "tokens", longest),
            total * self.every,
            self.learned * self.every,
            len(self.over) * self.every,
            lost,
        )

    def findings(self, places: Places) -> list[Finding]:
        return [*self._too_long(places), *self._lost(places), *self._refused(places)]

    def _too_long(self, places: Places) -> list[Finding]:
        over = self.over
        if not over:
            return []
        share = len(over) / len(self.rows)
        where = places.shown(over)
        noun, be = ("row", "is") if len(over) == 1 else ("rows", "are")
        number = f"{len(over):,} {noun} ({share:.1%}{self._of_measured()}) {be}"
        text = (
            f"{number} longer than the model's context of {self.context:,} tokens{at(where, len(over))}; the longest has "
            f"{max(self.lengths):,}. Cut there, answers would lose their end, so a run refuses such rows: shorten them, take a model "
            f"with a longer context, or set `data.too_long=drop`."
        )
        return [Finding("error" if share > REFUSED else "warning", "too-long-rows", text, len(over) * self.every, where)]

    def _lost(self, places: Places) -> list[Finding]:
        if not self.lost:
            return []
        where = places.shown(self.losing)
        names = " ".join(char for char, _ in self.lost.most_common(12))
        number = "1 character" if len(self.lost) == 1 else f"{len(self.lost):,} different characters"
        rows = "1 row holds" if len(self.losing) == 1 else f"{len(self.losing):,} rows hold"
        text = (
            f"{rows} characters that this model's tokenizer loses{self._of_measured()}{at(where, len(self.losing))}: {number}, most often "
            f"{names} . The model never sees them and can't write them: replace them, or take a model whose tokenizer falls back to bytes."
        )
        return [Finding("warning", "lost-characters", text, len(self.losing) * self.every, where)]

    def _refused(self, places: Places) -> list[Finding]:
        if not self.refused:
            return []
        more = f" So are {len(self.refused) - 1:,} more rows." if len(self.refused) > 1 else ""
        return [Finding("error", "template-refuses", f"{self.reason}{more}", len(self.refused) * self.every, places.shown(self.refused))]

    def _of_measured(self) -> str:
        return f", of {len(self.rows):,} measured" if self.every > 1 else ""
