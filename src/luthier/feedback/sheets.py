"""Files of rows that fill while logs are read, and are mended at the end: repetitions and contradictions are only known then.

Of a row no more than 14 bytes stay in memory: what it is about, what it says of that, what it rests on, and its line.
"""

import hashlib
from array import array
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from luthier.data.survey.columns import view
from luthier.data.survey.places import Places
from luthier.errors import RunError
from luthier.feedback.exchange import Turns, said
from luthier.feedback.rules import SIGNS, Learned, Sign
from luthier.spec.rows import Preference, Ranking, Rating, Thumb


@dataclass(frozen=True)
class Sheet:
    """A file as it was written. `up`: how many of its rows are thumbs up. `signs`: what its rows rest on.

    `repeated`, `contradicted`: how many rows were left out as such, and the first places.
    """

    file: Path
    rows: int
    up: int
    signs: dict[str, int]
    repeated: tuple[int, tuple[str, ...]]
    contradicted: tuple[int, tuple[str, ...]]


class OpenSheet:
    """Appends rows of one kind to a hidden file, which becomes the real one when it is closed; if it never is, nothing is left behind."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._partial = file.with_name(f".{file.name}.partial")
        self._keys, self._verdicts, self._signs, self._places = array("Q"), array("b"), array("b"), Places()
        try:
            self._out = self._partial.open("wb")
        except OSError as error:
            raise RunError(f"{file} cannot be written ({error.strerror}). Choose another folder with `--out`.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()
        with suppress(FileNotFoundError):
            self._partial.unlink()

    def begin(self, path: str) -> None:
        """What comes now is from this log."""
        self._places.begin(path)

    def add(self, row: Learned, sign: Sign) -> None:
        about, verdict = _about(row)
        self._keys.append(int.from_bytes(hashlib.blake2b(about, digest_size=8).digest(), "big"))
        self._verdicts.append(verdict)
        self._signs.append(SIGNS.index(sign))
        self._places.lines.append(row.origin.line)
        origin = f"{Path(row.origin.path).name}:{row.origin.line}"
        self._out.write(msgspec.json.encode({**_fields(row), "sign": sign, "origin": origin}) + b"\n")

    def close(self) -> Sheet:
        """Write each row once, without those that contradict one another; a file without rows is not written.

        Raises:
            RunError: the file is there by now, or there is no room.
        """
        self._out.close()
        kept, repeated, contradicted = self._sorted_out()
        if kept.any():
            self._write(kept)
        up = int(_bytes(self._verdicts)[kept].sum())
        counts = np.bincount(_bytes(self._signs)[kept], minlength=len(SIGNS))
        signs: dict[str, int] = {name: int(count) for name, count in zip(SIGNS, counts, strict=True) if count}
        found = [(int(rows.sum()), self._places.shown(np.flatnonzero(rows))) for rows in (repeated, contradicted)]
        return Sheet(self._file, int(kept.sum()), up, signs, found[0], found[1])

    def _sorted_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n,) masks: the rows to keep, those that say again what an earlier one says, those that another one contradicts."""
        number = len(self._keys)
        if not number:
            return (np.zeros(0, dtype=bool),) * 3
        _, first, group = np.unique(view(self._keys), return_index=True, return_inverse=True)
        yes = np.bincount(group, weights=_bytes(self._verdicts))
        several = np.bincount(group)
        contradicted = ((yes > 0) & (yes < several))[group]
        earliest = np.zeros(number, dtype=bool)
        earliest[first] = True
        return earliest & ~contradicted, ~earliest & ~contradicted, contradicted

    def _write(self, kept: np.ndarray) -> None:
        try:
            with self._partial.open("rb") as lines, self._file.open("xb") as out:
                for line, keep in zip(lines, kept, strict=True):
                    if keep:
                        out.write(line)
        except FileExistsError:
            raise RunError(f"{self._file} is there already, and nothing is written over. Choose another folder with `--out`.") from None
        except OSError as error:
            with suppress(OSError):
                self._file.unlink()  # half of it is worse than nothing
            raise RunError(f"{self._file} could not be written ({error.strerror}). Choose another folder with `--out`.") from error


def _bytes(values: "array[int]") -> np.ndarray:
    return np.frombuffer(values, dtype=np.int8) if values else np.zeros(0, dtype=np.int8)


def _about(row: Learned) -> tuple[bytes, bool]:
    """What a row is about, as bytes that are the same for every row about it, and what it says of that."""
    if isinstance(row, Preference):
        first, second = sorted((_key(row.chosen), _key(row.rejected)))
        return msgspec.json.encode([row.prompt, first, second]), _key(row.chosen) == first
    if isinstance(row, Thumb):
        return msgspec.json.encode([row.prompt, _key(row.answer)]), row.good
    if isinstance(row, Ranking):
        return msgspec.json.encode([row.prompt, [_key(answer) for answer in row.answers], row.ranks, row.rater]), True
    if isinstance(row, Rating):
        return msgspec.json.encode([row.prompt, _key(row.answer), row.scores, row.rater]), True
    return msgspec.json.encode([row.messages]), True


def _key(answer: Turns) -> str:
    return said(answer) + "".join(str(turn.tool_calls) for turn in answer if turn.tool_calls)


def _fields(row: Learned) -> Mapping[str, Any]:
    if isinstance(row, Ranking):
        return {"prompt": row.prompt, "answers": row.answers, "ranks": row.ranks, "rater": row.rater}
    if isinstance(row, Rating):
        return {"prompt": row.prompt, "answer": row.answer, "scores": row.scores, "rater": row.rater}
    tools = {"tools": row.tools} if row.tools else {}
    if isinstance(row, Preference):
        return {"prompt": row.prompt, "chosen": row.chosen, "rejected": row.rejected, **tools}
    if isinstance(row, Thumb):
        return {"prompt": row.prompt, "completion": row.answer, "label": row.good, **tools}
    return {"messages": row.messages, **tools}
