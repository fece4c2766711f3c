"""`Room`: an empty folder that a sandbox mounts its own over. Those that killed processes left behind are removed by the next."""

import contextlib
import fcntl
import os
import tempfile
import time
from pathlib import Path

PREFIX = "luthier-room-"
GRACE_S = 60.0
"""A younger room may be one that its owner has just made and not yet locked."""


class Room:
    """Locked as long as its owner lives, however that ends: the kernel lets go of a lock when a process is gone."""

    def __init__(self, parent: Path | None = None) -> None:
        """`parent`: where rooms lie; None: the machine's folder for temporary files."""
        place = parent or Path(tempfile.gettempdir())
        clear(place)
        self.path = tempfile.mkdtemp(prefix=PREFIX, dir=place)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Remove it. What was mounted over it is gone with the process that did so."""
        with contextlib.suppress(OSError):  # somebody else's broom was quicker
            os.rmdir(self.path)
        os.close(self._lock)


def clear(place: Path, grace_s: float = GRACE_S) -> list[Path]:
    """Remove the rooms whose owner is gone, and only if they are empty; which these were."""
    return [path for path in sorted(place.glob(f"{PREFIX}*")) if _is_left(path, grace_s)]


def _is_left(path: Path, grace_s: float) -> bool:
    """Removed, because nobody holds it. A lock says so across containers that share the folder, where process numbers do not."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone by now, or another user's
        return False
    try:
        if time.time() - os.fstat(folder).st_mtime < grace_s:
            return False
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rmdir(path)
        return True
    except OSError:  # held, not empty, or another user's
        return False
    finally:
        os.close(folder)
