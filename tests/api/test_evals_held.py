"""How gateways hold runs: one at a time, under a lease; what one that died has graded is kept, and the rest is done by another."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
from sqlalchemy import update
from tests.api.talker import Talker
from tests.api.test_evals import CHECK

from luthier.api.evals_running import EvalRunner
from luthier.api.platform import Platform, open_platform
from luthier.store.database import Database
from luthier.store.eval_work import EvalWork, Graded, Held, LeaseLost, NewItem
from luthier.store.evals import EvalNotFound, Evals, Run, RunEnded, WantedRun
from luthier.store.home import Home
from luthier.store.tables import eval_holds

CONFIG = {"type": "custom", "item_schema": {"type": "object"}}
PASS = Graded("pass", [{"name": "g"}], {"input": []}, [True], [{"model_name": "m", "invocation_count": 1, "total_tokens": 5}])
FAIL = Graded("fail", [{"name": "g"}], {"input": []}, [False])
ERROR = Graded("error", [], {"input": []}, [None])


def started(database: Database, num_rows: int = 3) -> Run:
    evals = Evals(database)
    made = evals.create("default", "e", CONFIG, [CHECK])
    rows = [{"item": {"question": f"q{i}", "answer": f"Q{i}"}} for i in range(num_rows)]
    template = [{"role": "user", "content": "{{ item.question }}"}]
    source = {"type": "file_content", "content": rows}
    asked = {"type": "completions", "model": "starter", "source": source, "input_messages": {"type": "template", "template": template}}
    return evals.start(WantedRun(made, "key_1", "member", "r", "starter", asked))


def silent(database: Database, run: Held) -> None:
    """Its gateway has not been heard of for too long."""
    with database.write() as connection:
        connection.execute(update(eval_holds).where(eval_holds.c.run == run.id).values(lease_until=1.0))


def taken(work: EvalWork) -> Held:
    run = work.take()
    assert run is not None
    return run


def test_one_gateway_holds_a_run_until_it_lets_go_or_dies(database: Database):
    one, other = EvalWork(database), EvalWork(database)
    run = started(database)
    held = taken(one)
    assert (held.id, held.run.status, other.take()) == (run.id, "in_progress", None)
    one.renew(held)
    one.let_go(held)
    again = taken(other)
    silent(database, again)
    last = taken(one)
    assert one.is_held(last) and not other.is_held(again)
    other.let_go(again)
    assert one.is_held(last), "who has lost a lease lets go of nothing"


def test_whoever_has_lost_a_run_changes_nothing_of_it(database: Database):
    work, evals = EvalWork(database), Evals(database)
    started(database)
    held = taken(work)
    assert work.fill(held, [NewItem({"n": i}) for i in range(3)]) == 3
    first, *_ = work.ungraded(held, -1, 10)
    silent(database, held)
    now = taken(work)
    attempts: list[Callable[[], object]] = [
        lambda: work.renew(held),
        lambda: work.keep(held, first, PASS),
        lambda: work.end(held, "completed"),
        lambda: work.fill(held, [NewItem({})]),
    ]
    for attempt in attempts:
        with pytest.raises(LeaseLost):
            attempt()
    work.keep(now, first, FAIL)
    assert evals.tally(now.run)["counts"] == {"fail": 1} and len(work.ungraded(now, -1, 10)) == 2


def test_a_source_that_was_read_in_part_is_read_again_and_no_row_is_there_twice(database: Database):
    work = EvalWork(database)
    started(database)
    held = taken(work)

    def dies() -> Iterator[NewItem]:
        yield from (NewItem({"n": i}) for i in range(700))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work.fill(held, dies())
    assert held.run.num_items is None and len(work.ungraded(held, -1, 1000)) == 500, "rows are written by the 500"
    assert work.fill(held, (NewItem({"n": i}) for i in range(700))) == 700
    assert [item.number for item in work.ungraded(held, -1, 1000)] == list(range(700))


def test_what_came_of_the_items_is_counted_and_stays_when_the_run_has_ended(database: Database):
    work, evals = EvalWork(database), Evals(database)
    run = started(database)
    held = taken(work)
    work.fill(held, [NewItem({"n": 0}), NewItem({"n": 1}, {"output_text": "x"}), NewItem({}, None, ERROR)])
    for item, graded in zip(work.ungraded(held, -1, 10), [PASS, PASS], strict=True):
        work.keep(held, item, graded)
    work.end(held, "completed")
    found = evals.run("default", run.eval, run.id)
    assert found.status == "completed" and found.num_items == 3
    assert found.tally == evals.tally(found)
    assert found.tally == {
        "counts": {"pass": 2, "error": 1},
        "criteria": [[2, 0]],
        "usage": [{"model_name": "m", "invocation_count": 2, "total_tokens": 10}],
    }
    with pytest.raises(RunEnded, match="has already completed"):
        evals.cancel("default", run.eval, run.id)
    assert work.take() is None


def test_another_project_sees_none_of_it(database: Database):
    evals, run = Evals(database), started(database)
    attempts: list[Callable[[], object]] = [
        lambda: evals.get("other", run.eval),
        lambda: evals.run("other", run.eval, run.id),
        lambda: evals.runs("other", run.eval, 10),
        lambda: evals.cancel("other", run.eval, run.id),
        lambda: evals.remove_run("other", run.eval, run.id),
        lambda: evals.remove("other", run.eval),
        lambda: evals.get("default", "eval_'\x00"),
    ]
    for attempt in attempts:
        with pytest.raises(EvalNotFound):
            attempt()
    assert evals.list("other", 10) == [] and evals.run("default", run.eval, run.id).status == "queued"


def test_with_an_eval_go_its_runs_and_their_items(database: Database):
    evals, work = Evals(database), EvalWork(database)
    run = started(database)
    held = taken(work)
    work.fill(held, [NewItem({})])
    evals.remove("default", run.eval)
    assert not work.is_held(held) and work.ungraded(held, -1, 10) == []


@pytest.fixture
def platforms(tmp_path: Path) -> Iterator[list[Platform]]:
    """Two gateways on one database."""
    opened = [open_platform(Home(str(tmp_path / "home")), Talker(delay_s=0.05)) for _ in range(2)]
    yield opened
    for one in opened:
        one.database.close()


def talker(platform: Platform) -> Talker:
    assert isinstance(platform.backend, Talker)
    return platform.backend


async def until_ended(platform: Platform, run: Run, seconds: float = 20.0) -> Run:
    with anyio.fail_after(seconds):
        while (found := Evals(platform.database).run("default", run.eval, run.id)).status in ("queued", "in_progress"):
            await anyio.sleep(0.05)
    return found


def test_two_gateways_share_the_runs_and_ask_nothing_twice(platforms: list[Platform]):
    runs = [started(platforms[0].database, 20) for _ in range(8)]

    async def work() -> list[Run]:
        async with anyio.create_task_group() as group:
            for one in platforms:
                group.start_soon(EvalRunner(one, period_s=0.02).run)
            found = [await until_ended(platforms[0], run) for run in runs]
            group.cancel_scope.cancel()
        return found

    for run in anyio.run(work):
        assert run.status == "completed" and run.tally is not None and run.tally["counts"] == {"pass": 20}
    asked = [len(talker(one).asked) for one in platforms]
    assert sum(asked) == 8 * 20 and min(asked) > 0


def test_a_gateway_that_leaves_hands_its_run_over_at_once_and_what_it_graded_is_not_asked_again(platforms: list[Platform]):
    run, (first, second) = started(platforms[0].database, 200), platforms

    async def work() -> tuple[Run, float]:
        async with anyio.create_task_group() as group:
            group.start_soon(EvalRunner(first, period_s=0.02).run)
            with anyio.fail_after(20):
                while not Evals(first.database).tally(run)["counts"].get("pass", 0) > 40:
                    await anyio.sleep(0.02)
            group.cancel_scope.cancel()
        began = time.monotonic()
        async with anyio.create_task_group() as group:
            group.start_soon(EvalRunner(second, period_s=0.02).run)
            found = await until_ended(second, run)
            group.cancel_scope.cancel()
        return found, time.monotonic() - began

    found, seconds = anyio.run(work)
    assert found.tally is not None and found.tally["counts"] == {"pass": 200}
    kept = len(talker(first).asked) - talker(first).hung_up
    assert len(talker(second).asked) <= 200 - 40 and len(talker(second).asked) >= 200 - kept
    assert seconds < 10, "it did not wait for a lease to end"
