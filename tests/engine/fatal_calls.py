"""Dying at the n-th call that touches the file system: before it, or halfway through what it writes."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luthier.adapters import full, lora
from luthier.engine import checkpoint

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}
"""What Python itself announces before it does it."""


class FatalCall:
    """Counts calls inside `folder`; at number `at` the process kills itself. `at` 0 only counts. For a process that is thrown away."""

    def __init__(self, folder: Path, at: int) -> None:
        self.folder, self.at, self.count = str(folder), at, 0
        self.armed = True
        sys.addaudithook(self._heard)
        self._patch_writers()

    def happened(self) -> bool:
        """Count one call; whether it is the last."""
        self.count += self.armed
        return self.armed and self.count == self.at

    def _die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and self._inside(event, arguments) and self._writes(event, arguments) and self.happened():
            self._die()

    def _inside(self, event: str, arguments: tuple[Any, ...]) -> bool:
        """In the folder; names relative to an open folder come from removing a tree."""
        relative = event in ("os.remove", "os.rmdir") and arguments[1] != -1
        return relative or str(arguments[0]).startswith(self.folder)

    @staticmethod
    def _writes(event: str, arguments: tuple[Any, ...]) -> bool:
        """Opening to read changes nothing."""
        if event != "open":
            return True
        mode, flags = arguments[1], arguments[2]
        return (isinstance(mode, str) and any(c in mode for c in "wax+")) or bool(flags & (os.O_WRONLY | os.O_RDWR))

    def _patch_writers(self) -> None:
        """Half of a text, half of a tensor file, and before a sync."""
        write_text, fsync = Path.write_text, os.fsync

        def half_text(path: Path, text: str, **options: Any) -> int:
            if self.happened():
                write_text(path, text[: len(text) // 2], **options)
                self._die()
            return write_text(path, text, **options)

        def before_sync(descriptor: int) -> None:
            if self.happened():
                self._die()
            fsync(descriptor)

        Path.write_text, os.fsync = half_text, before_sync  # type: ignore[method-assign]
        for module in (checkpoint, lora, full):
            module.save_file = self._half_file(module.save_file)  # type: ignore[attr-defined]

    def _half_file(self, save_file: Callable[..., None]) -> Callable[..., None]:
        def save(tensors: Any, path: Path, **options: Any) -> None:
            save_file(tensors, path, **options)
            if self.happened():
                whole = path.read_bytes()
                path.write_bytes(whole[: len(whole) // 2])
                self._die()

        return save

    @contextmanager
    def spared(self):
        """Calls in here are not counted."""
        self.armed = False
        try:
            yield
        finally:
            self.armed = True
