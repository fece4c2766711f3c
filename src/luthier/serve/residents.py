"""`Residents`: the bases in memory. They come when somebody asks for them, and leave when nobody uses them, the longest unused first."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from luthier.errors import ModelError, UserError
from luthier.serve.base import Base, load_base, size_up
from luthier.serve.limits import GIB, Limits
from luthier.serve.refused import Refused
from luthier.spec.run import ModelSpec
from luthier.text.folder import local_folder

WAIT_S = 5.0
"""Until somebody may ask again for a base that all memory is in use for others of."""


@dataclass(eq=False)
class Entry:
    """A base, or one that is being loaded, or could not be. `users`: requests that need it."""

    folder: Path
    task: "asyncio.Task[Base] | None" = None
    base: Base | None = None
    num_bytes: int = 0
    users: int = 0
    last_used: float = field(default_factory=time.monotonic)
    fault: str | None = None


class Residents:
    """For the event loop's thread alone; models are loaded in one of its own, one after the other.

    Args:
        let_go: told of a base that leaves.
    """

    def __init__(self, limits: Limits, let_go: Callable[[Base], None]) -> None:
        self.limits, self._let_go = limits, let_go
        self.entries: dict[Path, Entry] = {}
        self._loading = ThreadPoolExecutor(1, "loading")
        self._in_turn = asyncio.Lock()

    @asynccontextmanager
    async def using(self, name: str) -> AsyncIterator[Base]:
        """The base called `name`, which stays as long as this lasts.

        Raises:
            Refused: there is no such model, or no room for it. UserError: it cannot be loaded.
        """
        entry = self._entry_of(name)
        entry.users += 1
        try:
            assert entry.task is not None
            yield await asyncio.shield(entry.task)
        finally:
            entry.users -= 1
            entry.last_used = time.monotonic()

    def find(self, name: str) -> Base | None:
        """The base called `name`, if it is in memory."""
        entry = self.entries.get(_folder_of(name))
        return None if entry is None else entry.base

    def unload(self, name: str) -> bool:
        """Let go of a base. False: it is in use."""
        entry = self.entries.get(_folder_of(name))
        if entry is None:
            return True
        if entry.users or (entry.base is None and entry.fault is None):
            return False
        self._remove(entry)
        return True

    def close(self) -> None:
        self._loading.shutdown(wait=False, cancel_futures=True)

    def _entry_of(self, name: str) -> Entry:
        folder = _folder_of(name)
        entry = self.entries.get(folder)
        if entry is None or entry.fault is not None:
            entry = self.entries[folder] = Entry(folder)
            entry.task = asyncio.get_running_loop().create_task(self._load(entry))
            entry.task.add_done_callback(_seen)
        return entry

    async def _load(self, entry: Entry) -> Base:
        loop = asyncio.get_running_loop()
        try:
            async with self._in_turn:
                dtype, num_bytes = await loop.run_in_executor(self._loading, size_up, entry.folder)
                self._make_room(num_bytes)
                entry.num_bytes = num_bytes
                entry.base = await loop.run_in_executor(self._loading, load_base, entry.folder, dtype, self.limits)
                entry.num_bytes = entry.base.num_bytes
                return entry.base
        except Exception as error:  # whatever a model's code raises: whoever waits for it is told
            entry.num_bytes, entry.fault = 0, str(error)
            if isinstance(error, UserError):
                raise
            raise ModelError(f"{entry.folder} could not be loaded: {type(error).__name__}: {error}") from error

    def _make_room(self, needed: int) -> None:
        """Raises `Refused` where it cannot be had, now or ever."""
        budget = self.limits.base_bytes
        if needed > budget:
            raise Refused(
                "internal",
                f"Its weights take {needed / GIB:.1f} GiB; all that the sampler may hold is {budget / GIB:.1f} GiB. Give it more memory.",
            )
        idle = sorted((e for e in self.entries.values() if e.base is not None and not e.users), key=lambda e: e.last_used)
        while sum(e.num_bytes for e in self.entries.values()) + needed > budget:
            if not idle:
                raise Refused(
                    "overloaded", "All models that fit into memory are in use. Try again in a moment.", "model_busy", retry_after=WAIT_S
                )
            self._remove(idle.pop(0))

    def _remove(self, entry: Entry) -> None:
        del self.entries[entry.folder]
        if entry.base is not None:
            self._let_go(entry.base)


def _folder_of(name: str) -> Path:
    try:
        return local_folder(ModelSpec(path=name)).resolve()
    except ModelError as error:
        raise Refused("not_found", str(error), "model_not_found", "model") from error


def _seen(task: "asyncio.Task[Base]") -> None:
    """Its error is told to whoever waits; should nobody, that is no fault."""
    if not task.cancelled():
        task.exception()
