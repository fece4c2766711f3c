"""Runs of evals: over which items, answered by whom; how they stand, and what came of each item."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request

from luthier.accounts.audit import note
from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.evals import Kept, Limit, missing
from luthier.api.evals_grading import judges_of
from luthier.api.evals_request import FileContent, FileId, JsonlRun, NewRun, Sampled, told
from luthier.api.evals_wire import item_wire, run_wire
from luthier.api.pages import After, Order, page
from luthier.api.platform import Here, Platform
from luthier.store.evals import Eval, EvalNotFound, Evals, Run, RunEnded, WantedRun
from luthier.store.models import ModelNotFound

router = APIRouter(prefix="/evals/{eval_id}/runs", tags=["Evals"])

Reads = Annotated[Caller, Depends(may("evals.read"))]
Writes = Annotated[Caller, Depends(may("evals.write"))]
RunStatus = Literal["queued", "in_progress", "completed", "canceled", "failed"]
ItemStatus = Literal["pass", "fail", "error", "passed", "failed", "errored"]
"""OpenAI's are `pass` and `fail`, and its description says `failed`, too."""
KEPT = {"passed": "pass", "failed": "fail", "errored": "error"}


@router.post("")
def create(eval_id: str, asked: NewRun, caller: Writes, here: Here, kept: Kept, request: Request) -> dict[str, Any]:
    """Begin a run. Its items are looked at after this returns; what is wrong with one is told by that one."""
    with telling():
        of = kept.get(caller.project, eval_id)
        source = asked.data_source
        _check(here, caller, of, source)
        model = None if isinstance(source, JsonlRun) else source.model
        name = asked.name or model or source.type
        run = kept.start(WantedRun(of, caller.key, caller.role, name, model, told(source), asked.metadata))
    note(here.database, caller, "evals.runs.create", run.id, {"eval": eval_id, "model": model}, request.state.request_id)
    return _wire(kept, of, run, request)


@router.get("")
def list_runs(
    eval_id: str,
    caller: Reads,
    kept: Kept,
    request: Request,
    limit: Limit = 20,
    after: After = None,
    order: Order = "asc",
    status: RunStatus | None = None,
) -> dict[str, Any]:
    """Runs of an eval, the oldest first."""
    with telling(after=after):
        of = kept.get(caller.project, eval_id)
        found = kept.runs(caller.project, eval_id, limit + 1, after, order, status)
    return page([_wire(kept, of, run, request) for run in found], limit, ends=True)


@router.get("/{run_id}")
def retrieve(eval_id: str, run_id: str, caller: Reads, kept: Kept, request: Request) -> dict[str, Any]:
    with telling():
        return _wire(kept, kept.get(caller.project, eval_id), kept.run(caller.project, eval_id, run_id), request)


@router.post("/{run_id}")
@router.post("/{run_id}/cancel")
def cancel(eval_id: str, run_id: str, caller: Writes, here: Here, kept: Kept, request: Request) -> dict[str, Any]:
    """End a run. What was graded until then is kept."""
    with telling():
        of, run = kept.get(caller.project, eval_id), kept.cancel(caller.project, eval_id, run_id)
    note(here.database, caller, "evals.runs.cancel", run_id, {"eval": eval_id}, request.state.request_id)
    return _wire(kept, of, run, request)


@router.delete("/{run_id}")
def delete(eval_id: str, run_id: str, caller: Writes, here: Here, kept: Kept, request: Request) -> dict[str, Any]:
    """Delete it with its items; one that goes on ends."""
    with telling():
        kept.remove_run(caller.project, eval_id, run_id)
    note(here.database, caller, "evals.runs.delete", run_id, {"eval": eval_id}, request.state.request_id)
    return {"object": "eval.run.deleted", "deleted": True, "run_id": run_id}


@router.get("/{run_id}/output_items")
def list_items(
    eval_id: str,
    run_id: str,
    caller: Reads,
    kept: Kept,
    limit: Limit = 20,
    after: After = None,
    order: Order = "asc",
    status: Annotated[ItemStatus | None, Query(description="Only what has passed, failed, or could not be graded.")] = None,
) -> dict[str, Any]:
    """What came of the items that were graded until now, in the order of the source."""
    with telling(after=after):
        run = kept.run(caller.project, eval_id, run_id)
        found = kept.items(run, limit + 1, after, order, KEPT.get(status, status) if status is not None else None)
    return page([item_wire(item, run) for item in found], limit, ends=True)


@router.get("/{run_id}/output_items/{output_item_id}")
def retrieve_item(eval_id: str, run_id: str, output_item_id: str, caller: Reads, kept: Kept) -> dict[str, Any]:
    with telling():
        run = kept.run(caller.project, eval_id, run_id)
        return item_wire(kept.item(run, output_item_id), run)


@contextmanager
def telling(after: str | None = None) -> Iterator[None]:
    """Within it, what the store of evals refuses is an `ApiError`. `after`: a cursor, which is no thing that a request is about."""
    try:
        yield
    except EvalNotFound as error:
        if after is not None and str(error).endswith(f" {after} not found"):
            raise ApiError(400, str(error), "after") from error
        raise missing(error) from error
    except RunEnded as error:
        raise ApiError(400, str(error), code="invalid_run_status") from error


def _wire(kept: Evals, of: Eval, run: Run, request: Request) -> dict[str, Any]:
    url = f"{str(request.base_url).rstrip('/')}/v1/evals/{run.eval}/runs/{run.id}"
    return run_wire(run, kept.tally(run), of.testing_criteria, url)


def _check(here: Platform, caller: Caller, of: Eval, source: JsonlRun | Sampled) -> None:
    """Raises `ApiError` for what would let every item fail."""
    rows = source.source
    if isinstance(rows, FileId) and here.files.get(caller.project, rows.id) is None:
        raise ApiError(400, f"No such File object: {rows.id}", "data_source.source.id")
    for judge in judges_of(of.testing_criteria):
        _check_model(here, caller, judge, "testing_criteria")
    if isinstance(source, JsonlRun):
        return
    if source.model is not None:
        _check_model(here, caller, source.model, "data_source.model")
        if source.input_messages is None and isinstance(rows, FileContent | FileId):
            raise ApiError(400, "Missing required parameter: 'data_source.input_messages'", "data_source.input_messages")
    elif source.input_messages is not None:
        raise ApiError(400, "Missing required parameter: 'data_source.model'", "data_source.model")


def _check_model(here: Platform, caller: Caller, name: str, param: str) -> None:
    try:
        here.models.find(name, caller.project)
    except ModelNotFound as error:
        message = (
            f"The model '{name}' does not exist. (On this server:  luthier models alias {name} starter  lets another model stand for it.)"
        )
        raise ApiError(404, message, param, "model_not_found") from error
