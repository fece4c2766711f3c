"""One item of a run: its answer, what each criterion says of it, and whether it has passed."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.to_thread import run_sync

from luthier.api.auth import Caller
from luthier.api.evals_asking import Answer, NoAnswer, drawn, given
from luthier.api.evals_grading import Criterion, Verdict
from luthier.api.evals_request import Sampled
from luthier.api.evals_wire import sample_wire
from luthier.api.platform import Platform
from luthier.graders.base import Outside
from luthier.graders.case import Case
from luthier.store.database import DatabaseError
from luthier.store.eval_work import Graded
from luthier.store.evals import Item, added
from luthier.store.models import Model

log = logging.getLogger("luthier.api")

TRIES, WAIT_S = 3, 1.0
"""Of a grading at which a judge's server fails."""


@dataclass(frozen=True)
class Drawing:
    """From whom answers are drawn, for whom, and how."""

    caller: Caller
    model: Model
    asked: Sampled


class ItemGrading:
    """Grades the items of one run. `drawing`: None where the answers come with the items. `threads`: in which graders run."""

    def __init__(self, here: Platform, drawing: Drawing | None, criteria: Sequence[Criterion], threads: anyio.CapacityLimiter) -> None:
        self.here, self.drawing, self.criteria, self.threads = here, drawing, criteria, threads
        self._turns = [anyio.Lock() if one.one_at_a_time else None for one in criteria]  # waited for here, not in a thread others need

    async def graded(self, item: Item) -> Graded:
        """What came of it. Nothing that is wrong with one item is raised; only that the database fails."""
        try:
            answer = await self._answer(item)
            verdicts = [await self._verdict(number, Case(answer.sample, item.item)) for number in range(len(self.criteria))]
        except NoAnswer as none:
            return self._errored(none.wire)
        except DatabaseError:
            raise
        except Exception as error:
            log.error("item %s of eval run %s", item.id, item.run, exc_info=error)
            message = f"The server failed at this item. Its log says why, at {item.id}."
            return self._errored(sample_wire(error={"code": "internal_error", "message": message}))
        passed = [verdict.passed for verdict in verdicts]
        status = "error" if None in passed else "pass" if all(passed) else "fail"
        usage = added([*answer.usage, *(one for verdict in verdicts for one in verdict.usage)])
        return Graded(status, [verdict.result for verdict in verdicts], answer.wire, passed, usage)

    async def _answer(self, item: Item) -> Answer:
        if self.drawing is None:
            return given(item.given)
        return await drawn(self.here, self.drawing.caller, self.drawing.model, self.drawing.asked, item.item)

    async def _verdict(self, number: int, case: Case) -> Verdict:
        for failures in range(TRIES):
            async with self._turns[number] or nullcontext():
                verdict = await run_sync(self.criteria[number].grade, case, limiter=self.threads, abandon_on_cancel=True)
            if not verdict.may_go_well_later:
                break
            if failures + 1 < TRIES:
                await anyio.sleep(WAIT_S * 2**failures)
        return verdict

    def _errored(self, wire: Mapping[str, Any]) -> Graded:
        return Graded("error", [], wire, [None] * len(self.criteria))


def criteria_of(testing_criteria: Iterable[Mapping[str, Any]], outside: Outside) -> list[Criterion]:
    """Raises UserError: one needs something that is not there, such as a sandbox."""
    made: list[Criterion] = []
    try:
        for number, one in enumerate(testing_criteria):
            made.append(Criterion(one, outside, f"testing_criteria[{number}]"))
    except BaseException:
        for criterion in made:
            criterion.close()
        raise
    return made
