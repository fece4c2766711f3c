"""What a fine-tuning job needs of a worker, as far as it is known before its files were looked at."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.spec.folder import is_path
from luthier.spec.tuning import METHODS

WEIGHTS = "*.safetensors"


def needs_of(base: str, method: Mapping[str, Any], luthier: Mapping[str, Any] | None) -> dict[str, Any]:
    """Its method, a sandbox where Python grades, and memory for the weights of its base alone; what it takes in all, validation finds out.

    Args:
        base: the model's folder. method, luthier: as of `Wanted`.
    """
    asked = (luthier or {}).get("method.name", (luthier or {}).get("method"))
    named = asked.get("name") if isinstance(asked, dict) else asked
    needs: dict[str, Any] = {} if named and is_path(str(named)) else {"method": str(named or METHODS[method["type"]])}
    if runs_python((method.get(method["type"]) or {}).get("grader")):
        needs["sandbox"] = True
    weights = weights_of(base)
    return {**needs, "memory_bytes": weights} if weights else needs


def weights_of(base: str) -> int:
    """Bytes of the weights in a model's folder."""
    return sum(file.stat().st_size for file in Path(base).glob(WEIGHTS))


def runs_python(grader: Any) -> bool:
    """Whether a grader, or one within it, runs Python."""
    if not isinstance(grader, dict):
        return False
    inner = grader.get("graders")
    return grader.get("type") == "python" or (isinstance(inner, dict) and any(map(runs_python, inner.values())))
