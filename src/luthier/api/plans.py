"""Plans: what a run will need, before anything is trained."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from luthier.api.auth import Caller, may
from luthier.api.errors import ApiError
from luthier.api.files import telling
from luthier.api.planning import Planner
from luthier.api.platform import Here, Platform
from luthier.spec.load import load_run, to_yaml
from luthier.spec.plans import NewPlan, Plan
from luthier.spec.tuning_request import OWN, refused
from luthier.store.models import ModelNotFound

router = APIRouter(prefix="/plans", tags=["Plans"])

Plans = Annotated[Caller, Depends(may("jobs.read"))]
"""Nothing is kept, so that whoever may look at jobs may ask."""

NONE_YET = "file-none"


@router.post("")
async def create(asked: NewPlan, caller: Plans, here: Here, request: Request) -> Plan:
    """What a job with these settings will need: memory by phase, disk, time, energy, and settings with which it fits."""
    run_file, shown = await run_in_threadpool(_run_file, asked, caller, here)
    options = [*(["--fit", asked.fit] if asked.fit else []), *(["--price", str(asked.price)] if asked.price is not None else [])]
    planner: Planner = request.app.state.planner
    return Plan.model_validate(await planner.plan(run_file, options, shown))


def _run_file(asked: NewPlan, caller: Caller, here: Platform) -> tuple[str, dict[str, str]]:
    """The run file, and what stands for the places on the server that are in it. Raises `ApiError`."""
    job = {"model": asked.model, "training_file": asked.training_file or NONE_YET, "luthier": asked.luthier}
    if refusal := refused(job):
        raise ApiError(400, refusal[0], refusal[1])
    if OWN in asked.luthier:
        raise ApiError(400, f"A plan does not count `luthier.{OWN}`. Leave it out.", f"luthier.{OWN}")
    folder = _model(here, caller, asked.model)
    shown = {folder: asked.model, f"{here.home.folder}/": ""}
    data: dict[str, Any] = {}
    for group, number in (("train", asked.training_file), ("validation", asked.validation_file)):
        if number is not None:
            path = _file(here, caller, number, "training_file" if group == "train" else "validation_file")
            data[group] = [{"path": path}]
            shown = {path: number, **shown}
    settings = {name: value for name, value in asked.luthier.items() if value is not None}
    spec = load_run(None, **{"model.path": folder, **({"data": data} if data else {}), **settings})
    return to_yaml(spec), {place: name for place, name in shown.items() if place.startswith("/")}


def _model(here: Platform, caller: Caller, name: str) -> str:
    """The folder of the weights that it would start from; of an adapter, of its base."""
    try:
        found = here.models.find(name, caller.project)
    except ModelNotFound as error:
        raise ApiError(400, f"{error}.", "model", "model_not_available") from error
    whole = here.models.laid_out(found) if found.kind == "model" else None
    return str(whole) if whole is not None else found.base


def _file(here: Platform, caller: Caller, number: str, param: str) -> str:
    with telling(param):
        file = here.files.find(caller.project, number)
        return str(here.blobs.path(file.sha256).absolute())
