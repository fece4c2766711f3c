"""What a run will need, as our own interface is asked for it and tells it: what `luthier plan` says."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from luthier.spec.base import Spec
from luthier.spec.wire import Wire


class NewPlan(Spec):
    """A run that is thought of: said as a fine-tuning job says it."""

    model: str = Field(max_length=300)
    """What it would start from: the name of a base, of a tuned model, or an alias."""
    training_file: str | None = Field(None, max_length=64)
    """The id of a file. Without one, full rows are assumed."""
    validation_file: str | None = Field(None, max_length=64)
    """The id of a file."""
    luthier: dict[str, Any] = {}
    """Settings of a run, nested or by dotted key, as in a job: any, but no Python and no place on the server."""
    fit: Annotated[str, StringConstraints(pattern=r"^\d{1,6}(\.\d{1,3})? ?([KMGT]i?B|B)$")] | None = None
    """Fit into so much memory, such as `24GB`, instead of what the gateway's machine has left."""
    price: float | None = Field(None, ge=0, le=1e6)
    """What an hour of the machine costs, in any currency."""


class PlanPhase(Wire):
    """A phase of the run: the most that is held in it."""

    name: str
    bytes: int
    parts: dict[str, int]
    """Which parts that is made of."""


class PlanDisk(Wire):
    """Bytes that stay, and what is free."""

    checkpoints: int
    artefact: int
    free: int


class PlanEffort(Wire):
    """Time and energy: estimates."""

    flops: float
    seconds: float | None
    tokens_per_second: float | None
    source: str
    """How the speed is known: estimated, measured or unknown."""
    watts: float
    energy_wh: float | None
    price_an_hour: float | None
    cost: float | None


class PlanFacts(Wire):
    """What a run will need, on the gateway's own machine."""

    model: str
    method: str
    adapter: str
    dtype: str
    token_budget: int
    parameters: int
    trainable: int
    workload: dict[str, Any]
    """Rows, tokens and steps."""
    phases: list[PlanPhase]
    peak: str
    """The phase that holds most."""
    peak_bytes: int
    room: int
    """What there is."""
    fits: bool
    disk: PlanDisk
    effort: PlanEffort
    certified_layers: str
    assumed: list[str]
    """What was not known and taken to be so, as sentences."""
    error: dict[str, Any] | None
    """How far the estimate of memory was off where it was measured."""


class Proposed(Wire):
    """Settings with which it would fit, or come nearest."""

    settings: list[str]
    """Each as `key=value`."""
    plan: PlanFacts


class Plan(PlanFacts):
    """The plan, and what to change where it does not fit."""

    object: Literal["plan"] = "plan"
    proposed: Proposed | None
