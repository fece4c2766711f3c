"""Runs: facts, figures, events and files of the project's trainings."""

from collections.abc import Sequence

from luthier.client.asking import Asking
from luthier.spec.runs import Run, RunDetails, RunEvents, RunFileName, RunKind, RunMetrics, RunStatus
from luthier.spec.wire import Page


class Runs:
    """A run has the id of its job."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def list(
        self,
        status: RunStatus | None = None,
        kind: RunKind | None = None,
        model: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> Page[Run]:
        """The newest first."""
        query = {"status": status, "kind": kind, "model": model, "limit": limit, "after": after}
        return self._asking.ask(Page[Run], "GET", "/api/runs", query=query)

    def get(self, job: str) -> RunDetails:
        """With its settings, its record and the names of its files."""
        return self._asking.ask(RunDetails, "GET", "/api/runs/{job}", {"job": job})

    def metrics(self, job: str, kind: str | None = None, name: Sequence[str] = (), after_step: int = 0, points: int = 1000) -> RunMetrics:
        """Figures as columns. `name`: only these; `points`: thinned out to so many steps of each kind."""
        query = {"kind": kind, "name": [*name], "after_step": after_step, "points": points}
        return self._asking.ask(RunMetrics, "GET", "/api/runs/{job}/metrics", {"job": job}, query)

    def events(self, job: str, after_number: int = 0, limit: int = 100) -> RunEvents:
        """The oldest first."""
        query = {"after_number": after_number, "limit": limit}
        return self._asking.ask(RunEvents, "GET", "/api/runs/{job}/events", {"job": job}, query)

    def file(self, job: str, name: RunFileName) -> str:
        """The text of one of its files."""
        return self._asking.send("GET", "/api/runs/{job}/files/{name}", {"job": job, "name": name}).text
