"""Evals: what answers are tested by. OpenAI's own ends; scripts that use it go on here."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request

from luthier.accounts.audit import note
from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.evals_grading import settings_of
from luthier.api.evals_request import ChangedEval, CustomConfig, NewEval, told
from luthier.api.evals_schema import schema_fault
from luthier.api.evals_wire import eval_wire, name_of
from luthier.api.pages import After, Order, page
from luthier.api.platform import Here
from luthier.errors import SettingsError
from luthier.store.evals import EvalNotFound, Evals

router = APIRouter(prefix="/evals", tags=["Evals"])

Reads = Annotated[Caller, Depends(may("evals.read"))]
Writes = Annotated[Caller, Depends(may("evals.write"))]
Limit = Annotated[int, Query(ge=1, le=100)]


def evals_of(here: Here) -> Evals:
    return Evals(here.database)


Kept = Annotated[Evals, Depends(evals_of)]


@router.post("")
def create(asked: NewEval, caller: Writes, here: Here, kept: Kept, request: Request) -> dict[str, Any]:
    """Say how answers are to be tested: what the items look like, and by which graders."""
    _check(asked)
    name = asked.name or name_of(asked.testing_criteria[0])
    made = kept.create(caller.project, name, told(asked.data_source_config), asked.testing_criteria, asked.metadata)
    note(here.database, caller, "evals.create", made.id, {"name": name}, request.state.request_id)
    return eval_wire(made)


@router.get("")
def list_evals(
    caller: Reads,
    kept: Kept,
    limit: Limit = 20,
    after: After = None,
    order: Order = "asc",
    order_by: Literal["created_at", "updated_at"] = "created_at",
) -> dict[str, Any]:
    """Evals of the project, the oldest first."""
    try:
        found = kept.list(caller.project, limit + 1, after, order, order_by)
    except EvalNotFound as error:
        raise ApiError(400, str(error), "after") from error
    return page([eval_wire(one) for one in found], limit, ends=True)


@router.get("/{eval_id}")
def retrieve(eval_id: str, caller: Reads, kept: Kept) -> dict[str, Any]:
    try:
        return eval_wire(kept.get(caller.project, eval_id))
    except EvalNotFound as error:
        raise missing(error) from error


@router.post("/{eval_id}")
def change(eval_id: str, changed: ChangedEval, caller: Writes, here: Here, kept: Kept, request: Request) -> dict[str, Any]:
    """Set its name or metadata."""
    values = {name: value for name, value in told(changed).items() if name != "name" or value is not None}
    try:
        made = kept.change(caller.project, eval_id, **values)
    except EvalNotFound as error:
        raise missing(error) from error
    note(here.database, caller, "evals.update", eval_id, values, request.state.request_id)
    return eval_wire(made)


@router.delete("/{eval_id}")
def delete(eval_id: str, caller: Writes, here: Here, kept: Kept, request: Request) -> dict[str, Any]:
    """Delete it with all of its runs; one that goes on ends."""
    try:
        kept.remove(caller.project, eval_id)
    except EvalNotFound as error:
        raise missing(error) from error
    note(here.database, caller, "evals.delete", eval_id, {}, request.state.request_id)
    return {"object": "eval.deleted", "deleted": True, "eval_id": eval_id}


def missing(error: EvalNotFound) -> ApiError:
    param = {"Eval": "eval_id", "Run": "run_id", "Output item": "output_item_id"}[error.what]
    return ApiError(404, str(error), param, "not_found")


def _check(asked: NewEval) -> None:
    """Raises `ApiError` for a schema or a grader that is none."""
    config = asked.data_source_config
    if isinstance(config, CustomConfig) and (why := schema_fault(config.item_schema)):
        param = "data_source_config.item_schema"
        raise ApiError(400, f"The schema of the items is not a JSON schema: {why} - '{param}'", param, "invalid_schema")
    for number, criterion in enumerate(asked.testing_criteria):
        where = f"testing_criteria[{number}]"
        try:
            settings_of(criterion, where)
        except SettingsError as error:
            raise ApiError(400, str(error), where, "invalid_grader") from error
