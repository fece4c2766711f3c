"""`Drawing`: the one thread that computes. It draws a token for everybody, then looks who has come, who has gone, and draws on."""

import logging
import threading
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from typing import TypeVar

from luthier.errors import UserError
from luthier.models.device import is_out_of_memory, return_freed_memory
from luthier.serve.base import Base
from luthier.serve.figures import Figures
from luthier.serve.line import Pace
from luthier.serve.said import Asked
from luthier.serve.seats import Seats
from luthier.spec.serving import Piece

log = logging.getLogger(__name__)

FAULTS = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError)
"""What a model can raise while it computes. Those under way are told; anything else ends the process, and another one is started."""

Result = TypeVar("Result")


class Drawing:
    """Everything but `enter`, `cancel`, `compute` and the counts is for its own thread.

    Args:
        loop: whose thread clients are told in. ended: called there should the thread end by an error of this program.
    """

    def __init__(self, loop: AbstractEventLoop, figures: Figures, ended: Callable[[], None]) -> None:
        self._loop, self.figures, self._ended = loop, figures, ended
        self.pace = Pace()
        self.seats: dict[int, Seats] = {}
        """By base."""
        self._wanted: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._stopped = False
        self._said: list[tuple[Callable[[Piece], None], Piece]] = []
        self._thread = threading.Thread(target=self._run, name="drawing", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        return sum(len(seats.line) for seats in list(self.seats.values()))

    @property
    def num_running(self) -> int:
        return sum(len(seats.running) for seats in list(self.seats.values()))

    def enter(self, asked: Asked) -> None:
        """It waits for its places from now on. What it is told comes in the loop's thread."""
        put = asked.tell
        asked.tell = lambda piece: self._said.append((put, piece))
        self._want(lambda: self._seats_of(asked.base).enter(asked))

    def cancel(self, asked: Asked) -> None:
        """Nobody waits for it any more."""
        self._want(lambda: self._seats_of(asked.base).cancel(asked))

    def let_go(self, base: Base) -> None:
        """Forget a base that nobody uses; its memory is free then."""

        def forget() -> None:
            self.seats.pop(id(base), None)
            return_freed_memory()

        self._want(forget)

    def compute(self, what: Callable[[], Result]) -> "Future[Result]":
        """Do something with a model, between two tokens of all others."""
        result: Future[Result] = self._loop.create_future()

        def done(value: Result | None, error: Exception | None) -> None:
            if not result.done():
                if error is None:
                    result.set_result(value)  # type: ignore[arg-type]
                else:
                    result.set_exception(error)

        def do() -> None:
            try:
                value, fault = what(), None
            except (UserError, *FAULTS) as error:
                value, fault = None, error
            self._loop.call_soon_threadsafe(done, value, fault)

        self._want(do)
        return result

    def adapters_in_use(self, base: Base) -> set[str]:
        """For its own thread."""
        return self._seats_of(base).adapters_in_use

    def stop(self) -> None:
        """End the thread; what is under way is lost."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _want(self, what: Callable[[], None]) -> None:
        with self._changed:
            self._wanted.append(what)
            self._changed.notify()

    def _seats_of(self, base: Base) -> Seats:
        if id(base) not in self.seats:
            self.seats[id(base)] = Seats(base, self.figures, self.pace)
        return self.seats[id(base)]

    def _run(self) -> None:
        try:
            while not self._stopped:
                with self._changed:
                    while not (self._wanted or self._stopped or any(seats.busy for seats in self.seats.values())):
                        self._changed.wait()
                    wanted, self._wanted = self._wanted, []
                for what in wanted:
                    what()
                for seats in list(self.seats.values()):
                    self._round(seats)
                self._deliver()
        finally:
            if not self._stopped:
                self._loop.call_soon_threadsafe(self._ended)

    def _round(self, seats: Seats) -> None:
        if not seats.busy:
            return
        try:
            seats.let_in()
            seats.step()
        except FAULTS as error:
            log.exception("%s: drawing failed", seats.base.folder)
            room = isinstance(error, RuntimeError) and is_out_of_memory(error)
            what = "out of memory; ask for less at once" if room else f"{type(error).__name__}: {error}"
            seats.fail_all(f"The model could not go on ({what}).")

    def _deliver(self) -> None:
        """In one go, so that the loop wakes up once for all."""
        if self._said:
            said, self._said = self._said, []
            self._loop.call_soon_threadsafe(_tell, said)


def _tell(said: list[tuple[Callable[[Piece], None], Piece]]) -> None:
    for put, piece in said:
        put(piece)
