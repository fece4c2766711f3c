"""Who runs evals: a task of the gateway. It holds a run under a lease, asks and grades its items, many at once, and keeps each."""

import logging
from functools import partial

import anyio
from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError

from luthier.api.auth import Caller
from luthier.api.errors import ApiError
from luthier.api.evals_items import Drawing, ItemGrading, criteria_of
from luthier.api.evals_request import JsonlRun, data_source_of
from luthier.api.evals_rows import rows
from luthier.api.judging import outside
from luthier.api.models import found
from luthier.api.platform import Platform
from luthier.errors import DataError, UserError
from luthier.store.database import DatabaseError
from luthier.store.eval_work import LEASE_S, EvalWork, Held, LeaseLost
from luthier.store.evals import Item
from luthier.store.files import FileNotFound

log = logging.getLogger("luthier.api")

DATABASE = (DatabaseError, SQLAlchemyError)
"""What is worth another try, later."""

RUNS_AT_ONCE = 4
ITEMS_AT_ONCE = 32
"""Of all runs together: enough to fill a sampler, not so many that others wait long."""
THREADS = 16
"""In which graders run, which may block."""
PERIOD_S = 0.5
"""How often it is looked whether there is a run to take up."""
LOOK_S = 0.3
"""How often it is looked whether a run was canceled."""
LONGEST_WAIT_S = 10.0
"""After a failure of the database."""


class EvalRunner:
    """Takes up runs that nobody works on, also those that a gateway which died has left."""

    def __init__(self, platform: Platform, period_s: float = PERIOD_S, lease_s: float = LEASE_S) -> None:
        self.platform, self.work = platform, EvalWork(platform.database, lease_s)
        self.period_s = period_s
        self._places, self._threads = anyio.Semaphore(ITEMS_AT_ONCE), anyio.CapacityLimiter(THREADS)

    async def run(self) -> None:
        """Until it is cancelled. Runs under way are then left to whoever comes next."""
        async with anyio.create_task_group() as group:
            for _ in range(RUNS_AT_ONCE):
                group.start_soon(self._serve)

    async def _serve(self) -> None:
        while True:
            try:
                held = await run_sync(self.work.take)
            except DATABASE as error:
                log.error("evals wait: %s", error)
                await anyio.sleep(LONGEST_WAIT_S)
                continue
            if held is None:
                await anyio.sleep(self.period_s)
                continue
            try:
                await self._hold(held)
            finally:
                with anyio.CancelScope(shield=True):
                    await run_sync(self._let_go, held)

    def _let_go(self, held: Held) -> None:
        try:
            self.work.let_go(held)
        except DATABASE as error:  # the lease ends by itself
            log.error("%s waits: %s", held.id, error)

    async def _hold(self, held: Held) -> None:
        """Work on it as long as it is ours."""
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                await self._watch(held)
                group.cancel_scope.cancel()

            group.start_soon(watch)
            await self._worked(held)
            group.cancel_scope.cancel()

    async def _watch(self, held: Held) -> None:
        """Returns once the run is not ours any more."""
        renewed = anyio.current_time()
        while True:
            await anyio.sleep(LOOK_S)
            try:
                if not await run_sync(self.work.is_held, held):
                    return
                if anyio.current_time() - renewed > self.work.lease_s / 3:
                    await run_sync(self.work.renew, held)
                    renewed = anyio.current_time()
            except LeaseLost:
                return
            except DATABASE as error:
                log.warning("%s: %s", held.id, error)

    async def _worked(self, held: Held) -> None:
        """Bring a run to its end, and say how it ended. A failure of the database leaves it to another try."""
        try:
            error = await self._ended(held)
            await run_sync(partial(self.work.end, held, "completed" if error is None else "failed", error))
        except LeaseLost:
            log.info("%s was canceled or deleted, or is another gateway's", held.id)
        except DATABASE as error:
            log.error("%s waits: %s", held.id, error)
            await anyio.sleep(LONGEST_WAIT_S)

    async def _ended(self, held: Held) -> dict[str, str] | None:
        """Why it failed; None where it has completed. Raises `LeaseLost`, or `DatabaseError`."""
        try:
            await self._grade_all(held)
        except DATABASE:
            raise
        except ApiError as error:
            return {"code": error.code or error.type, "message": error.message}
        except UserError as error:
            return {"code": "invalid_data_source" if isinstance(error, DataError | FileNotFound) else "server_error", "message": str(error)}
        except LeaseLost:
            raise
        except Exception as error:
            log.error("eval run %s", held.id, exc_info=error)
            return {"code": "internal_error", "message": f"The server failed at this run. Its log says why, at {held.id}."}
        return None

    async def _grade_all(self, held: Held) -> None:
        run, of = held.run, await run_sync(self.work.eval_of, held)
        source, caller = data_source_of(run.data_source), Caller(run.project, run.key, run.role)
        model = await run_sync(found, self.platform, run.model, caller) if run.model is not None else None
        if run.num_items is None:
            await run_sync(lambda: self.work.fill(held, rows(self.platform, of, source.source)), abandon_on_cancel=True)
        criteria = await run_sync(criteria_of, of.testing_criteria, outside(self.platform, caller))
        try:
            drawing = Drawing(caller, model, source) if model is not None and not isinstance(source, JsonlRun) else None
            await self._each(held, ItemGrading(self.platform, drawing, criteria, self._threads))
        finally:
            for one in criteria:
                one.close()

    async def _each(self, held: Held, grading: ItemGrading) -> None:
        """Every item that is still to be graded, many at once; the first failure ends all."""
        failures: list[Exception] = []
        async with anyio.create_task_group() as group:

            async def one(item: Item) -> None:
                try:
                    await run_sync(self.work.keep, held, item, await grading.graded(item))
                except (LeaseLost, *DATABASE) as error:
                    failures.append(error)
                    group.cancel_scope.cancel()
                finally:
                    self._places.release()

            last = -1
            while items := await run_sync(self.work.ungraded, held, last, ITEMS_AT_ONCE):
                for item in items:
                    await self._places.acquire()
                    group.start_soon(one, item)
                last = items[-1].number
        if failures:
            raise failures[0]
