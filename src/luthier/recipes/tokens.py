"""Data files as token ids: from the user's cache where a file was encoded before, else encoded piece by piece, and kept there."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from luthier.batches.chunk import DTYPES, Encoding
from luthier.batches.encode import refuse_kind, refuse_long
from luthier.batches.stored import LARGE, Table
from luthier.batches.workers import encode_in
from luthier.data import files
from luthier.data import load as loading
from luthier.data.cache import Cache
from luthier.data.entry import NoRoom, Writer
from luthier.data.recognize import Recognized
from luthier.data.split import keys_of
from luthier.engine.report import Progress
from luthier.errors import DataError
from luthier.spec.folder import PACKAGE_ROOT, is_path
from luthier.spec.paths import shown
from luthier.spec.rows import Row, Skipped
from luthier.spec.run import DataSource
from luthier.text.renderer import Renderer

SMALLEST_KEPT_BYTES = 2**18
"""Smaller data files are encoded each time: it takes less than a second."""

ROWS_A_CHUNK = 256

FEWEST_SHARED = 4_000
"""Fewer rows are encoded by this process alone, before others would have started."""

CODE = ("data", "text", "spec/rows.py", "batches/encode.py", "batches/chunk.py", "batches/stored.py")
"""What of this program decides the ids of a file. Where any of it changes, nothing that was kept is used any more."""

LIBRARIES = ("tokenizers", "jinja2", "msgspec", "numpy", "pyarrow")


class Sink(Protocol):
    """Takes the parts of arrays, one after the other."""

    def append(self, name: str, array: np.ndarray) -> None: ...


@dataclass(frozen=True, eq=False)
class DataFile:
    """A file whose rows were all looked at, or whose token ids were kept.

    `keys` (R, 2) uint64, `lines` (R,): content and place of each row. `kinds`: of row → the line of the first. `notes`: on what was left
    out. `table`: its token ids, where they were kept.
    """

    source: DataSource
    recognized: Recognized
    sha256: str
    keys: np.ndarray
    lines: np.ndarray
    kinds: dict[str, int]
    notes: tuple[str, ...]
    table: Table | None = None

    @property
    def path(self) -> str:
        """As rows name it."""
        return str(Path(self.source.path))

    def rows(self) -> Iterator[Row]:
        """The rows, read anew."""
        return loading.rows(self.source, self.recognized, [])


@dataclass(frozen=True, eq=False)
class TokenReader:
    """Reads data files as token ids.

    `renderer`, `encoding` decide the ids; `kinds` are those of rows that `method` learns from. `cache`: where they are kept. `say`,
    `progress`: told what happens. `processes`: how many encode at once.
    """

    renderer: Renderer
    encoding: Encoding
    method: str
    kinds: tuple[str, ...]
    cache: Cache
    say: Callable[[str], None]
    progress: Progress
    processes: int = 1

    def look(self, source: DataSource) -> DataFile:
        """All that is known of a file without encoding it: nothing of it is held but two numbers a row.

        Raises:
            DataError: a file or row that cannot be used, or of a kind that the method does not learn from.
        """
        recognized = loading.one_part(source)
        sha256 = files.fingerprint(source.path)
        file = self._kept(source, recognized, sha256) or _surveyed(source, recognized, sha256)
        for kind, line in file.kinds.items():
            refuse_kind(kind, f"{file.path}:{line}", self.kinds, self.method)
        return file

    def table(self, file: DataFile) -> Table:
        """A file's token ids.

        Raises:
            DataError: rows that are too long; a file that changed meanwhile.
        """
        if file.table is not None:
            return file.table
        if self._is_kept(file.source):
            key = self._key(file.source, file.recognized, file.sha256)
            try:
                with self.cache.making(key) as writer:
                    self._encode(file, writer)
                    writer.note({"kinds": file.kinds, "notes": [note.removeprefix(file.source.path) for note in file.notes]})
                    if files.fingerprint(file.source.path) != file.sha256:
                        raise _changed(file)
                assert writer.entry is not None
                return Table(writer.entry.arrays, file.path, str(self.cache.folder / key))
            except NoRoom as error:
                self.say(f"The token ids of {shown(file.source.path)} are not kept for the next run: {error}.")
        collected = Collected()
        self._encode(file, collected)
        return Table(collected.arrays(), file.path)

    def _is_kept(self, source: DataSource) -> bool:
        """A format of the user's own may do anything: its files are read anew each time."""
        large = files.existing(source.path).stat().st_size >= SMALLEST_KEPT_BYTES
        return large and not is_path(source.format) and self.cache.limit_bytes > 0

    def _key(self, source: DataSource, recognized: Recognized, sha256: str) -> str:
        of_source = source.model_dump(mode="json", exclude={"path", "weight", "format"})
        parts = [
            *(sha256, recognized.format, recognized.container, of_source),
            *(self.renderer.fingerprint, self.renderer.written_moment, asdict(self.encoding), code_fingerprint(CODE)),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]

    def _kept(self, source: DataSource, recognized: Recognized, sha256: str) -> DataFile | None:
        if not self._is_kept(source):
            return None
        key = self._key(source, recognized, sha256)
        try:
            entry = self.cache.open(key, LARGE)
            if entry is None:
                return None
            table = Table(entry.arrays, str(Path(source.path)), str(entry.path))
        except DataError as error:
            self.say(f"{error} It is removed and made again.")
            self.cache.remove(key)
            return None
        keys = np.stack([table.arrays["key_high"], table.arrays["key_low"]], axis=1)
        notes = tuple(source.path + note for note in entry.about["notes"])
        return DataFile(source, recognized, sha256, keys, table.arrays["line"], entry.about["kinds"], notes, table)

    def _encode(self, file: DataFile, sink: Sink) -> None:
        refused: dict[str, int] = {}
        started, done, total = time.perf_counter(), 0, len(file.lines)
        for name, dtype in DTYPES.items():
            sink.append(name, np.empty(0, dtype))
        processes = self.processes if total >= FEWEST_SHARED else 1
        for encoded in encode_in(processes, in_chunks(file.rows()), self.renderer, self.encoding):
            if isinstance(sink, Writer):
                sink.check_room()
            keys = np.stack([encoded.arrays["key_high"], encoded.arrays["key_low"]], axis=1)
            if not np.array_equal(keys, file.keys[done : done + len(keys)]):
                raise _changed(file)
            for name, array in encoded.arrays.items():
                sink.append(name, array)
            refused |= encoded.refused
            done += len(keys)
            self.progress(done, total, (time.perf_counter() - started) / done * (total - done))
        if done != total:
            raise _changed(file)
        refuse_long(refused, self.encoding.max_length, self.encoding.learns.startswith("prompts"))


class Collected:
    """Arrays in memory."""

    def __init__(self) -> None:
        self._parts: dict[str, list[np.ndarray]] = {}

    def append(self, name: str, array: np.ndarray) -> None:
        self._parts.setdefault(name, []).append(array)

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: np.concatenate(parts) for name, parts in self._parts.items()}


def in_chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, ROWS_A_CHUNK)):
        yield chunk


def _surveyed(source: DataSource, recognized: Recognized, sha256: str) -> DataFile:
    keys: list[np.ndarray] = [np.empty((0, 2), np.uint64)]
    lines: list[np.ndarray] = [np.empty(0, np.int64)]
    kinds: dict[str, int] = {}
    skipped: list[Skipped] = []

    for chunk in in_chunks(loading.rows(source, recognized, skipped)):
        keys.append(keys_of(chunk))
        lines.append(np.array([row.origin.line for row in chunk], np.int64))
        for row in chunk:
            kinds.setdefault(type(row).__name__, row.origin.line)
    if len(lines) == 1:
        raise DataError(f"{source.path} holds no row of the format `{recognized.format}`.")
    notes = tuple(loading.notes_on(skipped, source.path))
    return DataFile(source, recognized, sha256, np.concatenate(keys), np.concatenate(lines), kinds, notes)


def _changed(file: DataFile) -> DataError:
    return DataError(f"{file.source.path} was changed while it was read. Start again once nothing writes to it.")


@cache
def code_fingerprint(parts: tuple[str, ...]) -> str:
    """SHA-256 of files and folders of this program, and of the versions of the libraries that decide a file's token ids.

    Once a process: what it has loaded stays what it was when somebody installs another version.
    """
    digest = hashlib.sha256()
    for name in parts:
        path = PACKAGE_ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(str(file.relative_to(PACKAGE_ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    versions: dict[str, Any] = {name: version(name) for name in LIBRARIES}
    digest.update(json.dumps([platform.python_version(), versions]).encode())
    return digest.hexdigest()
