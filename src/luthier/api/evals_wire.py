"""Evals, runs and their items in the shapes that OpenAI's clients read."""

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.store.evals import Eval, Item, Run

OF_CHOICES = {
    "type": "array",
    "items": {"type": "object", "properties": {"message": {"type": "object"}, "finish_reason": {"type": "string"}}},
}
SAMPLE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "choices": OF_CHOICES,
        "output_text": {"type": "string"},
        "output_json": {"type": "object"},
        "output_tools": {"type": "array", "items": {"type": "object"}},
        "input_tools": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["model", "choices"],
}
"""What templates can read of an answer."""
KEPT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "created_at": {"type": "integer"},
        "model": {"type": "string"},
        "input": {"type": "array", "items": {"type": "object"}},
        "output": {"type": "array", "items": {"type": "object"}},
        "instructions": {"type": ["string", "null"]},
        "tools": {"type": "array", "items": {"type": "object"}},
        "metadata": {"type": "object"},
    },
    "required": ["id", "input", "output"],
}
"""The item that an answer which was kept makes."""


def eval_wire(kept: Eval) -> dict[str, Any]:
    return {
        "object": "eval",
        "id": kept.id,
        "name": kept.name,
        "created_at": int(kept.created_at),
        "data_source_config": config_wire(kept.data_source_config),
        "testing_criteria": kept.testing_criteria,
        "metadata": kept.metadata or {},
    }


def config_wire(config: Mapping[str, Any]) -> dict[str, Any]:
    """With the schema of what templates can name."""
    custom = config["type"] == "custom"
    with_sample = not custom or bool(config.get("include_sample_schema"))
    properties = {"item": config["item_schema"] if custom else KEPT_SCHEMA, **({"sample": SAMPLE_SCHEMA} if with_sample else {})}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": config["type"], "schema": schema, **({} if custom else {"metadata": config.get("metadata") or {}})}


def run_wire(run: Run, tally: Mapping[str, Any], criteria: Sequence[Mapping[str, Any]], url: str) -> dict[str, Any]:
    """`tally`: as `counted` of store/evals.py makes it. `url`: of the run."""
    counts = tally["counts"]
    passed_failed = [*tally["criteria"], *([0, 0] for _ in criteria)]
    return {
        "object": "eval.run",
        "id": run.id,
        "eval_id": run.eval,
        "report_url": url,
        "status": run.status,
        "model": run.model or "",
        "name": run.name,
        "created_at": int(run.created_at),
        "result_counts": {
            "total": run.num_items or 0,
            "errored": counts.get("error", 0),
            "failed": counts.get("fail", 0),
            "passed": counts.get("pass", 0),
        },
        "per_model_usage": tally["usage"],
        "per_testing_criteria_results": [
            {"testing_criteria": name_of(criterion), "passed": passed, "failed": failed}
            for criterion, (passed, failed) in zip(criteria, passed_failed, strict=False)
        ],
        "data_source": run.data_source,
        "error": run.error,
        "metadata": run.metadata or {},
    }


def item_wire(item: Item, run: Run) -> dict[str, Any]:
    """One that was graded."""
    return {
        "object": "eval.run.output_item",
        "id": item.id,
        "created_at": int(item.created_at),
        "run_id": run.id,
        "eval_id": run.eval,
        "status": item.status,
        "datasource_item_id": item.number,
        "datasource_item": item.item,
        "results": item.results,
        "sample": item.sample,
    }


def sample_wire(
    input: Sequence[Mapping[str, Any]] = (),
    output: Sequence[Mapping[str, Any]] = (),
    finish_reason: str = "",
    model: str = "",
    usage: Mapping[str, int] | None = None,
    error: Mapping[str, str] | None = None,
    **drawn: Any,
) -> dict[str, Any]:
    """An answer, and how it was drawn; `drawn`: temperature, top_p, seed, max_completion_tokens, as far as they are known."""
    used = {name: count for name, count in (usage or {}).items() if isinstance(count, int)}
    return {
        "input": [dict(turn) for turn in input],
        "output": [dict(turn) for turn in output],
        "finish_reason": finish_reason,
        "model": model,
        "usage": {name: used.get(name, 0) for name in ("total_tokens", "completion_tokens", "prompt_tokens", "cached_tokens")},
        "error": None if error is None else dict(error),
        "temperature": drawn.get("temperature"),
        "max_completion_tokens": drawn.get("max_completion_tokens"),
        "top_p": drawn.get("top_p"),
        "seed": drawn.get("seed"),
    }


def name_of(criterion: Mapping[str, Any]) -> str:
    """What a criterion is called in results."""
    return str(criterion.get("name") or criterion["type"])


def usage_counts(usage: Mapping[str, Any], read: str = "prompt_tokens", written: str = "completion_tokens") -> dict[str, int]:
    """The tokens of an answer, from the `usage` of a completion, or by other names of a response."""
    details = usage.get(f"{read}_details") or {}
    return {
        "prompt_tokens": usage.get(read) or 0,
        "completion_tokens": usage.get(written) or 0,
        "total_tokens": usage.get("total_tokens") or 0,
        "cached_tokens": details.get("cached_tokens") or 0,
    }
