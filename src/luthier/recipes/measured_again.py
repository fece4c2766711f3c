"""What was measured of a finished run, measured again: the tables of its evaluations, and how far its reward model is to be trusted."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from luthier.data import files
from luthier.engine import checkpoint
from luthier.engine.folder import RunFolder
from luthier.errors import UserError
from luthier.evaluate.trust import Trust, verdict
from luthier.recipes.check_outcome import Check, unlike
from luthier.recipes.components import resolve
from luthier.recipes.evaluate import table_of
from luthier.recipes.examination import Examination, question_of
from luthier.recipes.replay import judged_again, machine_now
from luthier.spec.run import RunSpec

ANOTHER_EACH_TIME = ("measured", "seconds", "notes", "question")
"""Of an evaluation's table: when, how long, what was said on the way, and what was asked, which is taken from there."""


def verdict_of(spec: RunSpec, record: dict[str, Any]) -> Check | None:
    """Whether a reward model's verdict follows from the figures beside it. None where there are none."""
    if not record.get("trust"):
        return None
    try:
        trust = msgspec.convert(record["trust"], Trust)
    except msgspec.ValidationError as error:
        return Check("verdict", "not checked", f"its figures are of another version ({error})")
    config: Any = resolve(spec).method_config
    found = asdict(verdict(trust, config.least_accuracy))
    if wrong := next(unlike(record["verdict"], found, "verdict"), None):
        return Check("verdict", "differs", f"by the figures beside it {wrong}")
    return Check("verdict", "same", f"{'good' if found['good'] else 'bad'}, as the figures beside it say")


def trust_of(folder: RunFolder, record: dict[str, Any], obstacle: Check | None) -> Check | None:
    """A reward model's report, found again with the weights that the run left. None where there is none.

    Args:
        obstacle: why nothing of this run can be computed again.
    """
    if not record.get("trust"):
        return None
    if obstacle is not None:
        return Check("trust", "not checked", obstacle.detail)
    best = record["evaluation"]["best_step"] if record["stopped_early"] else None
    step = record["steps"] if best is None else best
    if step not in checkpoint.steps_kept(folder):
        return Check("trust", "not checked", f"the weights of step {step} are not kept")
    found = _as_json(judged_again(folder, record, step))
    if wrong := next(unlike(record["trust"], found["trust"], "trust"), None):
        return Check("trust", "differs", wrong)
    return Check("trust", "same", f"measured again on {record['trust']['accuracy']['number']:,} held-out comparisons")


def tables_of(folder: RunFolder, record: dict[str, Any]) -> Iterator[Check]:
    """Every table that `luthier evaluate` wrote into the record, measured again."""
    for entry in record.get("evaluations", ()):
        yield _table(folder, record, entry)


def _table(folder: RunFolder, record: dict[str, Any], entry: dict[str, Any]) -> Check:
    name = entry["data"]["path"]
    if "question" not in entry:
        return Check(
            "table", "not checked", f"{name}: what was asked was not kept. Ask again: luthier evaluate {folder.path} --data {name}"
        )
    question = question_of(entry["question"], str(folder.path))
    named = [source.path for source in (*question.data, *question.train, *question.calibration)]
    if gone := next((path for path in named if not Path(path).is_file()), None):
        return Check("table", "not checked", f"{gone} is not here any more")
    if files.fingerprint(question.data[0].path) != entry["data"]["sha256"]:
        return Check("table", "differs", f"{question.data[0].path} was changed after it was evaluated on")
    try:
        found = _as_json(table_of(Examination(question, lambda _: None, lambda *_: None)))
    except UserError as error:
        return Check("table", "not checked", f"{name}: {error}")
    said = {key: value for key, value in entry.items() if key not in ANOTHER_EACH_TIME}
    now = {key: value for key, value in found.items() if key not in ANOTHER_EACH_TIME}
    now["data"] = {**now["data"], "path": name}
    if wrong := next(unlike(said, now), None):
        if other := machine_now(record):
            return Check("table", "not checked", f"{name}: {wrong}; but this is another machine ({other[0]})")
        return Check("table", "differs", f"{name}: {wrong}")
    return Check("table", "same", f"{name}: {entry['kind']} of {entry['data']['rows']:,} rows, measured again")


def _as_json(value: Any) -> Any:
    """As it is when it was written down and read."""
    return json.loads(json.dumps(value))
