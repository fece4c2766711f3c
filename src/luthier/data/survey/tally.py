"""How often names occur, and where first. Bounded: of a million different ones nobody reads the list."""

from luthier.data.survey.places import SHOWN

MOST = 20_000


class Tally:
    """`counts`: how often each name came; `places`: where first. `others`: occurrences of names that came after there were too many."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.places: dict[str, list[str]] = {}
        self.others = 0

    def add(self, name: str, path: str, line: int, number: int = 1) -> None:
        seen = self.counts.get(name)
        if seen is None:
            if len(self.counts) >= MOST:
                self.others += number
                return
            self.counts[name], self.places[name] = number, [f"{path}:{line}"]
            return
        self.counts[name] = seen + number
        if seen < SHOWN:
            self.places[name].append(f"{path}:{line}")

    @property
    def total(self) -> int:
        return sum(self.counts.values()) + self.others

    def ranked(self) -> list[tuple[str, int]]:
        """(name, how often), the most frequent first."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
