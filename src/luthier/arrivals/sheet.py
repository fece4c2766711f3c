"""What becomes of another tool's settings, key by key: `Sheet` takes each one up, and whatever nobody took up is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from luthier.arrivals.documents import Document

Fate = Literal["carried", "translated", "default", "automatic", "todo", "without", "unknown"]
"""The same under another name; computed; their default, written out; done by itself here; to be done by hand before the run;
nothing like it; not known."""


@dataclass(frozen=True)
class Line:
    """`source`: their key, `line` of their file. `to`: ours, `now` what stands there. `text`: why, or what to do."""

    fate: Fate
    source: str
    value: Any = None
    to: str = ""
    now: Any = None
    text: str = ""
    line: int | None = None


@dataclass
class Sheet:
    """`document`: theirs. `tool`: its name. `method`: ours, where it was said. `devices`: on how many the other tool ran.

    `values`: ours by dotted key; `notes`: where each comes from. `differences`: what would be silently different, as sentences.
    """

    document: Document
    tool: str
    devices: int = 1
    method: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of one of their keys, by dotted key; `default` where it is absent or empty. It is not taken up by this."""
        found = self.document.flat.get(key)
        return default if found is None else found

    def first(self, *keys: str) -> str | None:
        """The first of their keys that says something."""
        return next((key for key in keys if self.get(key) is not None), None)

    def put(self, to: str, value: Any, *sources: str, text: str = "", same: bool = False) -> None:
        """Set one of ours, from some of theirs. `same`: the value is what stood there."""
        self.values[to] = value
        said = " × ".join(self._shown(source) for source in sources)
        self.notes[to] = "; ".join(part for part in (said, text) if part)
        for source in sources:
            self.taken.add(source)
            fate: Fate = "carried" if same else "translated"
            self.lines.append(Line(fate, source, self.get(source), to, value, text, self.document.lines.get(source)))

    def carry(self, table: Mapping[str, str]) -> None:
        """Settings that differ in nothing but their name: theirs → ours."""
        for source, to in table.items():
            if self.get(source) is not None and source not in self.taken:
                self.put(to, self.get(source), source, same=True)

    def default(self, source: str, to: str, value: Any, text: str = "") -> None:
        """Where they say nothing, their tool takes this: it is written out, because ours would take something else."""
        if to not in self.values:
            if source in self.document.unread:
                text = f"a guess: only running the script tells its {source}"
            self.values[to] = value
            self.notes[to] = text or f"{self.tool}'s default of {source}"
            self.lines.append(Line("default", source, None, to, value, text))

    def leave(self, table: Mapping[str, str]) -> None:
        """What is done by itself here, or has no meaning: theirs → why. A key stands for the group of its name, too."""
        self._tell("automatic", table)

    def miss(self, table: Mapping[str, str]) -> None:
        """What has no equivalent: theirs → what to do about it. Those that are off ask for nothing."""
        self._tell("without", table)

    def missed(self, source: str, text: str) -> None:
        """As `miss`, for one key that stands there."""
        self.taken.add(source)
        self.lines.append(Line("without", source, self.get(source), text=text, line=self.document.lines.get(source)))

    def differs(self, sentence: str) -> None:
        """Something that would be silently different."""
        self.differences.append(sentence)

    def ask(self, source: str, text: str) -> None:
        """Something that has to be done by hand before the run."""
        self.lines.append(Line("todo", source, self.get(source), text=text, line=self.document.lines.get(source)))

    def rest(self) -> None:
        """Whatever was not taken up is told."""
        for key, value in self.document.flat.items():
            if value is None or key in self.taken:
                continue
            self.lines.append(Line("unknown", key, value, line=self.document.lines.get(key)))
        for key, text in self.document.unread.items():
            if key not in self.taken:
                self.lines.append(
                    Line("unknown", key, text, text="only running the script would tell its value", line=self.document.lines.get(key))
                )

    def _tell(self, fate: Fate, table: Mapping[str, str]) -> None:
        for key, value in [*self.document.flat.items(), *self.document.unread.items()]:
            reason = next((table[part] for part in _beginnings(key) if part in table), None)
            if reason is None or value is None or key in self.taken:
                continue
            self.taken.add(key)
            off = fate == "without" and (value in (False, 0, "", "no", "none", "None") or value == [] or value == {})
            now: Fate = "automatic" if off else fate
            self.lines.append(Line(now, key, value, text="is off, as here" if off else reason, line=self.document.lines.get(key)))

    def _shown(self, key: str) -> str:
        line = self.document.lines.get(key)
        return f"{key}{f', line {line}' if line else ''}"


def _beginnings(key: str) -> list[str]:
    """`a.b.c`, `a.b`, `a`, and the last part alone."""
    parts = key.split(".")
    return [".".join(parts[: n + 1]) for n in reversed(range(len(parts)))]
