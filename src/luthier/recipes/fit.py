"""What to change so that a run fits: settings tried one after the other, those first that change nothing about the result."""

from collections.abc import Iterator
from dataclasses import dataclass

from luthier.engine.setup import AdapterChoice
from luthier.errors import SettingsError
from luthier.recipes.components import resolve
from luthier.recipes.plan import Plan, Surveyed, estimate
from luthier.recipes.workload import Workload
from luthier.spec.load import load_run
from luthier.spec.run import RunSpec

LEAST_BUDGET, LEAST_RANK, LEAST_LENGTH = 64, 4, 128

WORTH = 0.98
"""A change is kept where it leaves at most this share of the peak."""

UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "g": 2**30, "m": 2**20}


@dataclass(frozen=True)
class Fitted:
    """`settings`: `key=value`s over the run's own; `plan`: with them; it may still not fit."""

    settings: tuple[str, ...]
    plan: Plan


def fit(spec: RunSpec, known: Surveyed, price: float | None, room: int | None) -> Fitted:
    """Change as little as brings the peak under `room`, in an order of growing harm."""
    settings: list[str] = []
    plan = estimate(spec, known, price, room)
    for change in _changes(spec, plan, known.workload):
        if plan.fits:
            break
        tried = estimate(changed(spec, [*settings, *change]), known, price, room)
        if tried.peak.bytes <= WORTH * plan.peak.bytes:
            keys = {setting.partition("=")[0] for setting in change}
            settings = [*(s for s in settings if s.partition("=")[0] not in keys), *change]
            plan = tried
    return Fitted(tuple(settings), plan)


def changed(spec: RunSpec, settings: list[str]) -> RunSpec:
    """The same run with `key=value`s over it."""
    return load_run(None, settings, **spec.model_dump(mode="json", exclude_unset=True))


def _changes(spec: RunSpec, plan: Plan, workload: Workload) -> Iterator[list[str]]:
    """Less at once, compute again, coarser numbers, fewer weights that learn, shorter rows."""
    adapter: AdapterChoice = resolve(spec).adapter
    budget = plan.token_budget
    while (budget := budget // 2) >= max(LEAST_BUDGET, workload.longest):
        yield [f"train.token_budget={budget}"]
    if not spec.train.gradient_checkpointing:
        yield ["train.gradient_checkpointing=true"]
    if plan.dtype == "float32":
        yield ["train.dtype=bfloat16"]
    if adapter.module.WHOLE_MODEL:
        yield ["adapter=lora"]
    rank = getattr(adapter.config, "rank", 16)
    while (rank := rank // 2) >= LEAST_RANK:
        yield [f"adapter.rank={rank}"]
    length = workload.longest
    while (length := length // 2) >= LEAST_LENGTH:
        yield [f"data.max_length={length}", "data.too_long=cut", f"train.token_budget={min(length, plan.token_budget)}"]


def bytes_of(text: str) -> int:
    """`24GB` as 24 · 10⁹, `24GiB` and `24G` as 24 · 2³⁰.

    Raises:
        SettingsError: not a size.
    """
    number = text.strip().rstrip("abgikmtABGIKMT ")
    unit = text.strip()[len(number) :].strip().lower()
    try:
        size = float(number) * UNITS[unit]
    except (ValueError, KeyError):
        raise SettingsError(f"`--fit {text}` is no size. Write a number and a unit, such as 24GB or 512MiB.") from None
    if size <= 0:
        raise SettingsError(f"`--fit {text}`: give a size above 0, such as 24GB.")
    return round(size)
