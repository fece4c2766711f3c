"""How long a run on checked rows would take here, at the default settings: the plan's arithmetic over the tokens that were counted."""

import math
from dataclasses import replace

from luthier.data.survey.report import Report
from luthier.errors import UserError
from luthier.recipes.plan import estimate, survey
from luthier.spec.base import Component
from luthier.spec.run import ModelSpec, RunSpec

METHODS = {"conversations": "sft", "labeled texts": "sft", "documents": "pretrain"}
"""What learns from which rows."""


def predicted_seconds(model: ModelSpec, report: Report) -> float | None:
    """Of all epochs; None where no method learns from these rows, or the model is here without its config."""
    tokens = report.tokens
    methods = {METHODS.get(file.kind) for file in report.files if file.rows}
    if tokens is None or tokens.lengths is None or len(methods) != 1 or None in methods:
        return None
    spec = RunSpec(model=model, method=Component(name=str(methods.pop())))
    try:
        known = survey(spec)
    except UserError:
        return None  # a folder with a tokenizer alone can be checked against, too
    workload = replace(
        known.workload,
        num_rows=report.rows,
        num_tokens=tokens.total,
        num_scored=tokens.learned,
        num_steps=math.ceil(report.rows / spec.train.batch_size) * spec.train.epochs,
        longest=min(tokens.lengths.quantiles[100], known.workload.longest),
    )
    return estimate(spec, replace(known, workload=workload)).effort.seconds
