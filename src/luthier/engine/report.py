"""Who is told what happens: the console, tests, and writers for other tools, all through one interface."""

from typing import Protocol


class Reporter(Protocol):
    """Called by the loop; each value is a plain number or string."""

    def started(self, description: dict[str, str], total_steps: int, first_step: int) -> None: ...
    def step(self, metrics: dict[str, float], seconds_left: float) -> None: ...
    def validated(self, step: int, metrics: dict[str, float], best: bool) -> None: ...
    def event(self, message: str) -> None: ...
    def ended(self, status: str) -> None: ...


class Silent:
    """Tells nobody."""

    def started(self, description: dict[str, str], total_steps: int, first_step: int) -> None: ...
    def step(self, metrics: dict[str, float], seconds_left: float) -> None: ...
    def validated(self, step: int, metrics: dict[str, float], best: bool) -> None: ...
    def event(self, message: str) -> None: ...
    def ended(self, status: str) -> None: ...


class Several:
    """Tells several, in order."""

    def __init__(self, *reporters: Reporter) -> None:
        self.reporters = reporters

    def started(self, description: dict[str, str], total_steps: int, first_step: int) -> None:
        for r in self.reporters:
            r.started(description, total_steps, first_step)

    def step(self, metrics: dict[str, float], seconds_left: float) -> None:
        for r in self.reporters:
            r.step(metrics, seconds_left)

    def validated(self, step: int, metrics: dict[str, float], best: bool) -> None:
        for r in self.reporters:
            r.validated(step, metrics, best)

    def event(self, message: str) -> None:
        for r in self.reporters:
            r.event(message)

    def ended(self, status: str) -> None:
        for r in self.reporters:
            r.ended(status)
