"""What a worker on this machine has, found without torch."""

from typing import Any

from luthier.cli._machine import GIB, gpu_memory, read_memory, read_processor
from luthier.errors import GradingError
from luthier.graders.sandbox import found
from luthier.jobs.request import KINDS
from luthier.spec.schema import stored


def offers(memory_gib: float | None = None) -> dict[str, Any]:
    """As `needs` of jobs name it.

    Args:
        memory_gib: that jobs may take together; by default that of the smallest graphics card of NVIDIA, else of the machine or container.
    """
    cards, memory, processor = gpu_memory(), read_memory(), read_processor()
    whole = min(cards) if cards else min(memory.total_gib, memory.limit_gib or memory.total_gib)
    return {
        "kind": list(KINDS),
        "method": sorted(stored()["methods"]),
        "memory_bytes": int((memory_gib or whole) * GIB),
        "devices": len(cards) or processor.cores,
        "cores": processor.cores,
        "sandbox": _grades_python(),
    }


def _grades_python() -> bool:
    try:
        found()
    except GradingError:
        return False
    return True
