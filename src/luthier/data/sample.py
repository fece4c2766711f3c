"""The beginning of a data file, from which formats tell whether it is theirs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from luthier.data import files

LINES = 32
BYTES = 1 << 16


@dataclass(frozen=True)
class Sample:
    """`suffix`: its ending without `.gz`, in lower case. `lines`: the first that are not blank. `objects`: those that are JSON objects."""

    suffix: str
    lines: tuple[str, ...]
    objects: tuple[dict[str, Any], ...]

    def share(self, *keys: str) -> float:
        """The share of lines that are objects with all of these keys."""
        fitting = sum(all(key in row for key in keys) for row in self.objects)
        return fitting / len(self.lines) if self.lines else 0.0


def sample(path: Path) -> Sample:
    """The first lines of a file: at most 32, and no more after 64 KiB.

    Raises:
        DataError: as `files.lines`.
    """
    taken: list[bytes] = []
    size = 0
    for _, line in files.lines(path):
        if line and not line.isspace():
            taken.append(line)
            size += len(line)
        if len(taken) >= LINES or size >= BYTES:
            break
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    objects = [value for line in taken if isinstance(value := _object(line), dict)]
    return Sample(suffixes[-1] if suffixes else "", tuple(line.decode("utf-8", errors="replace") for line in taken), tuple(objects))


def _object(line: bytes) -> Any:
    """A line's JSON, or None: a line that is not JSON is evidence here, and is named when it is read."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
