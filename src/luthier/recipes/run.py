"""`Run`: a run folder as Python sees it."""

from functools import cached_property
from pathlib import Path
from typing import Any

from luthier.engine.folder import RunFolder, read_lines


class Run:
    """A finished, paused or failed run. `run.chat()`, `run.plot()`, `run.record`, `run.metrics`."""

    def __init__(self, path: str | Path) -> None:
        self.folder = RunFolder(Path(path))
        self.path = self.folder.path

    @cached_property
    def record(self) -> dict[str, Any]:
        """What `record.json` says.

        Raises:
            RunError: there is none yet.
        """
        return self.folder.read_record()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Each line of `metrics.jsonl`."""
        return read_lines(self.folder.metrics_file)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"
