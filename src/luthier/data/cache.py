"""Arrays kept on disk by what they were made of: written whole or not at all, checked when opened, bounded in size.

An entry is written in a folder of its own and renamed; whoever reads it sees all of it or nothing. Removing an entry that is in use is
safe: its files stay mapped.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from luthier.data.entry import GIB, LOCK, DamagedEntry, Entry, NoRoom, Writer, read_entry, said
from luthier.errors import SettingsError

TOKENS = "tokens"
"""The folder of token ids in the user's cache."""

SURVEYS = "surveys"
"""The folder of what was found in large data files."""

PARTIAL = ".partial"

DEFAULT_GIB = 20.0
ABANDONED_S = 3600.0
"""A partial entry without a lock that is older was left by a process that died between two system calls."""


@dataclass(frozen=True)
class Cache:
    """Entries below one folder, at most `limit_bytes` of them together: beyond that those that were used least recently go."""

    folder: Path
    limit_bytes: int

    @classmethod
    def of_user(cls, name: str, environment: Mapping[str, str]) -> "Cache":
        """`LUTHIER_CACHE`/name, else `XDG_CACHE_HOME`/luthier/name, else ~/.cache/luthier/name. `LUTHIER_CACHE_GIB` bounds it; 0: none.

        Raises:
            SettingsError: a bound that is no number.
        """
        own, general = environment.get("LUTHIER_CACHE"), environment.get("XDG_CACHE_HOME")
        base = Path(own).expanduser() if own else (Path(general) if general else Path.home() / ".cache") / "luthier"
        bound = environment.get("LUTHIER_CACHE_GIB") or str(DEFAULT_GIB)
        try:
            limit = float(bound)
            if not 0 <= limit < 2**30:
                raise ValueError
        except ValueError:
            raise SettingsError(f"LUTHIER_CACHE_GIB is {bound!r}; it must be a number of GiB, such as 20, or 0 to keep nothing.") from None
        return cls(base / name, int(limit * GIB))

    def open(self, key: str, unread: frozenset[str] = frozenset()) -> Entry | None:
        """The entry for `key`, and from now on the most recently used; None where there is none.

        Args:
            unread: arrays too large to be read through now; their lengths are checked, their content is the caller's to check.
        Raises:
            DamagedEntry: it is there, but not as it was written.
        """
        path = self.folder / key
        if not path.is_dir() or self._is_open_to_others():
            return None
        try:
            entry = read_entry(path, unread)
            os.utime(path)
        except FileNotFoundError as error:
            if not path.is_dir():  # another process removed it just now
                return None
            raise DamagedEntry(f"{path} is damaged: {Path(error.filename).name} is missing.") from None
        except OSError as error:
            raise DamagedEntry(f"{path} is damaged: it cannot be read ({error.strerror}).") from None
        return entry

    @contextmanager
    def making(self, key: str) -> Iterator["Writer"]:
        """A writer for the entry of `key`, which is there for all once the block ends without an error.

        Where another process was faster its entry stays, and this one is dropped.

        Raises:
            NoRoom: the folder cannot be written to, or has no room.
        """
        if not self.limit_bytes:
            raise NoRoom("LUTHIER_CACHE_GIB is 0")
        try:
            self._prepare()
            partial = Path(tempfile.mkdtemp(PARTIAL, f"{key}.", self.folder))  # with access for its owner alone
        except OSError as error:
            raise NoRoom(f"{self.folder} cannot be written to ({error.strerror})") from error
        try:
            with _locked(partial), Writer(partial, self.limit_bytes) as writer:
                yield writer
                writer.close()
                with suppress(OSError):  # another process made the same entry meanwhile; what this one wrote stays mapped
                    partial.rename(self.folder / key)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._trim()

    def remove(self, key: str) -> None:
        """Take an entry away, whole: nobody sees half of it."""
        with suppress(OSError):  # a folder that cannot be written to: there it stays
            gone = Path(tempfile.mkdtemp(PARTIAL, "removed.", self.folder))
            with suppress(OSError):  # another process was faster
                (self.folder / key).rename(gone / "entry")
            shutil.rmtree(gone, ignore_errors=True)

    @property
    def size_bytes(self) -> int:
        return sum(size for _, size, _ in self._entries())

    @property
    def num_entries(self) -> int:
        return len(self._entries())

    def clear(self) -> int:
        """Remove every entry, and what dead processes left. Returns how many bytes that freed."""
        entries = self._entries()
        for key, _, _ in entries:
            self.remove(key)
        if self.folder.is_dir():
            self._remove_abandoned()
        return sum(size for _, size, _ in entries)

    def _prepare(self) -> None:
        """The folder, for its owner alone.

        Raises:
            NoRoom: others may write into it, and so could change what is learned.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._is_open_to_others():
            raise NoRoom(f"{self.folder} can be written to by others, so what lies there cannot be trusted")
        self._remove_abandoned()

    def _is_open_to_others(self) -> bool:
        stat = self.folder.stat()
        return stat.st_uid != os.getuid() or bool(stat.st_mode & 0o022)

    def _entries(self) -> list[tuple[str, int, float]]:
        """(key, bytes, when it was last used) of each entry."""
        found = []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            with suppress(OSError):  # another process just removed it
                if path.is_dir() and not path.name.endswith(PARTIAL):
                    found.append((path.name, sum(file.stat().st_size for file in path.iterdir()), path.stat().st_mtime))
        return found

    def _trim(self) -> None:
        entries = sorted(self._entries(), key=lambda entry: entry[2])
        total = sum(size for _, size, _ in entries)
        for key, size, _ in entries:
            if total <= self.limit_bytes:
                return
            self.remove(key)
            total -= size

    def _remove_abandoned(self) -> None:
        for partial in self.folder.glob(f"*{PARTIAL}"):
            with suppress(OSError):  # another process does the same
                if _is_abandoned(partial):
                    shutil.rmtree(partial)


@contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """While a process writes into a partial entry it holds this lock, which ends with the process, however it ends."""
    with said(partial):
        opened = (partial / LOCK).open("w")
    with opened as lock:
        with suppress(OSError):  # a file system without locks: age alone tells
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _is_abandoned(partial: Path) -> bool:
    try:
        with (partial / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return time.time() - partial.stat().st_mtime > ABANDONED_S
