"""The run folder: the truth about a run. Paths, the lock, atomic files, and JSON lines that survive a torn end."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from luthier.errors import RunError

BEFORE_A_RUN = {".lock", "start.json", ".start.json.partial", ".run.yaml.partial"}
"""What a run that was killed before its first line leaves behind."""


LOCK_WAIT_S = 2.0
"""What a killed process had just started (libraries ask the system about its processor) may hold its lock for a moment longer."""


class RunFolder:
    """Paths of a run and the only writers into them. `writes`: whether this process is the one that tells what happens."""

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self.run_file = path / "run.yaml"
        self.record_file = path / "record.json"
        self.metrics_file = path / "metrics.jsonl"
        self.events_file = path / "events.jsonl"
        self.samples_file = path / "samples.jsonl"
        self.checkpoints = path / "checkpoints"
        self.lots = path / "lots"
        self.adapter = path / "adapter"
        self.model = path / "model"

    @property
    def is_run(self) -> bool:
        return self.run_file.is_file()

    @property
    def is_locked(self) -> bool:
        """Whether a process is training into it now."""
        try:
            with (self.path / ".lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; the lock ends with the process, however it ends.

        Raises:
            RunError: another process trains into this folder, or it cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("a")
        except OSError as error:
            raise RunError(f"{self.path} cannot be written to ({error.strerror}). Choose another folder with `out=…`.") from error
        with lock:
            if not _taken_within(lock, LOCK_WAIT_S):
                raise RunError(f"Another process is training into {self.path}. Wait for it, or choose another folder with `out=…`.")
            yield

    def refuse_taken(self) -> None:
        """A new run only goes into an empty folder, or into none yet.

        Raises:
            RunError: naming what is there.
        """
        if self.is_run:
            raise RunError(f"{self.path} already holds a run. Choose another folder, or go on with `luthier resume {self.path}`.")
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file. Choose a folder with `out=…`; nothing was written over.")
        foreign = sorted(p.name for p in self.path.iterdir() if p.name not in BEFORE_A_RUN) if self.path.is_dir() else []
        if foreign:
            raise RunError(
                f"{self.path} is not empty (it holds {foreign[0]}). Choose another folder with `out=…`; nothing was written over."
            )

    def remove_empty(self) -> None:
        """Remove the folder where it holds nothing but the lock."""
        if [p.name for p in self.path.iterdir()] == [".lock"]:
            (self.path / ".lock").unlink()
            self.path.rmdir()

    def event(self, kind: str, message: str, **details: Any) -> None:
        """Add a line to `events.jsonl`."""
        self.add_line(self.events_file, {"time": round(time.time(), 3), "kind": kind, "message": message, **details})

    def add_line(self, path: Path, value: dict[str, Any]) -> None:
        """Add a line to one of the run's files, where this process writes.

        Raises:
            RunError: the disk is full or read-only.
        """
        if self.writes:
            append_line(path, value)

    def read_record(self) -> dict[str, Any]:
        """`record.json`.

        Raises:
            RunError: there is none, or it is damaged.
        """
        record: dict[str, Any] = read_json(self.record_file)
        return record


def _taken_within(lock: IO[str], seconds: float) -> bool:
    """Whether the lock could be had."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def fsync(path: Path) -> None:
    """Wait until what was written to a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, text: str) -> None:
    """Whole or not at all, also after a power cut: beside it, synced, renamed.

    Raises:
        RunError: the disk is full or read-only; what was there stays.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync(path.parent)
    except OSError as error:
        with suppress(OSError):  # on a read-only disk nothing was made that could be removed
            temporary.unlink(missing_ok=True)
        raise RunError(
            f"{path} could not be written ({error.strerror}). Make room or choose another folder; nothing was overwritten."
        ) from error


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        RunError: missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path.parent} holds no {path.name}, so it is not a finished part of a run.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is damaged ({error}).") from error


def append_line(path: Path, value: dict[str, Any]) -> None:
    """One JSON object as one line.

    Raises:
        RunError: the disk is full or read-only.
    """
    before = path.stat().st_size if path.is_file() else 0
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value, ensure_ascii=False) + "\n")
    except OSError as error:
        with suppress(OSError):  # half a line may stand there; where even this fails, the next reader leaves it out
            os.truncate(path, before)
        raise RunError(f"{path} could not be written ({error.strerror}). Make room, then continue with `luthier resume`.") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL file; a torn last line is left out. Empty where there is no file.

    Raises:
        RunError: a line that is not JSON.
    """
    if not path.is_file():
        return []
    whole = path.read_bytes().split(b"\n")[:-1]
    try:
        return [json.loads(line) for line in whole if line]
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(
            f"{path} is damaged ({error}). Repair or remove it: it says how the run went, nothing is computed from it."
        ) from error


def mend(path: Path) -> None:
    """Cut a torn last line off a JSONL file, so that the next line begins where a line begins."""
    if path.is_file() and not (content := path.read_bytes()).endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def keep_lines(path: Path, last_step: int) -> None:
    """Drop a torn last line, and the lines of steps after `last_step`: those steps will be made again."""
    if path.is_file():
        kept = [line for line in read_lines(path) if line.get("step", 0) <= last_step]
        write_atomic(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
