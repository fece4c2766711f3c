"""What a run needs of the machine that does it, for the queue: what the plan says."""

from typing import Any

from luthier.models.device import default_device
from luthier.recipes.components import resolve
from luthier.recipes.plan import plan
from luthier.spec.run import RunSpec

UNPLANNED = (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError, AssertionError)
"""What a model's code may raise on shapes alone, although it computes with values."""


def planned_needs(spec: RunSpec, processes: int = 1) -> tuple[dict[str, Any], str | None]:
    """`memory_bytes` at the peak of the plan, on a device like this machine's; or nothing, and why it cannot be planned.

    Several processes on a CPU share its memory: each holds the whole base under an adapter, a part of the weights where all of them learn.

    Raises:
        UserError: settings, data or model that cannot be used.
    """
    try:
        peak = plan(spec).peak.bytes
    except UNPLANNED as error:
        return {}, f"How much memory it needs cannot be planned ({type(error).__name__}: {error}), so any worker may take it."
    together = processes if default_device().type == "cpu" and not resolve(spec).adapter.module.WHOLE_MODEL else 1
    return {"memory_bytes": peak * together}, None
