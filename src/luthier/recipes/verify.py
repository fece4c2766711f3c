"""A run's record, derived again: hashes, figures, and the last steps computed once more, bit for bit."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from luthier.data import files
from luthier.engine import checkpoint
from luthier.engine.folder import RunFolder, read_lines
from luthier.errors import RunError, UserError
from luthier.recipes.assistant import checked_base, checked_renderer
from luthier.recipes.check_outcome import Check
from luthier.recipes.measured_again import tables_of, trust_of, verdict_of
from luthier.recipes.replay import differences, evaluate_again, machine_now, replay, replayable
from luthier.recipes.train import artefact_hashes
from luthier.spec.load import load_run
from luthier.spec.run import RunSpec

__all__ = ["Check", "verify"]


def verify(path: str | Path, compute: bool = True) -> Iterator[Check]:
    """Compare what a run's record says with what is there, cheapest first.

    Args:
        compute: compute the last steps again, too, and measure again what was measured; each takes as long as it took.
    Raises:
        RunError: no run there, or one without a record.
    """
    folder = RunFolder(Path(path))
    if not folder.is_run:
        raise RunError(f"{path} holds no run (there is no run.yaml). Give a folder that `luthier train` made.")
    if not folder.record_file.is_file():
        state = "is training now: wait until it is done" if folder.is_locked else f"did not come to its end: luthier resume {path}"
        raise RunError(f"{path} has no record.json to verify. It {state}.")
    record = folder.read_record()
    inputs = [_settings(folder, record)]
    yield inputs[0]
    spec = load_run(str(folder.run_file))
    for check in (*_data(spec, record), _model(folder, spec, record), _template(folder, spec, record)):
        inputs.append(check)
        yield check
    yield _artefact(folder, record)
    yield from _checkpoints(folder)
    yield _figures(folder, record)
    yield _certificate(record)
    if verdict := verdict_of(spec, record):
        yield verdict
    if not compute:
        yield Check("replay", "not checked", "it was left out, as asked")
        return
    obstacle = _obstacle(folder, record, inputs)
    yield obstacle or _computed_again(folder, record)
    if trust := trust_of(folder, record, obstacle):
        yield trust
    yield from tables_of(folder, record)


def _settings(folder: RunFolder, record: dict[str, Any]) -> Check:
    if "run_file" not in record:
        return Check("settings", "not checked", "the record has no hash of run.yaml")
    same = checkpoint.sha256(folder.run_file) == record["run_file"]
    return Check("settings", "same" if same else "differs", "run.yaml" if same else "run.yaml was changed after the run")


def _data(spec: RunSpec, record: dict[str, Any]) -> Iterator[Check]:
    for part in ("train", "validation"):
        for said in record["data"][part]:
            path = Path(said["path"])
            if not path.is_file():
                yield Check("data", "not checked", f"{path} is not here any more")
            elif files.fingerprint(said["path"]) != said["sha256"]:
                yield Check("data", "differs", f"{path} was changed after the run")
            else:
                yield Check("data", "same", f"{path}, {said['rows']:,} rows")


def _model(folder: RunFolder, spec: RunSpec, record: dict[str, Any]) -> Check:
    return _refusing("base model", spec.model.path, lambda: checked_base(folder.path, spec, record))


def _template(folder: RunFolder, spec: RunSpec, record: dict[str, Any]) -> Check:
    def look() -> None:
        checked_renderer(folder.path, spec, record, checked_base(folder.path, spec, record), saved=False)

    return _refusing("template", "chat template and tokenizer", look)


def _refusing(what: str, detail: str, look: Callable[[], object]) -> Check:
    """A check that is made by opening something: a refusal is a difference, something that is gone is not."""
    try:
        look()
    except RunError as error:
        return Check(what, "differs", str(error))
    except UserError as error:
        return Check(what, "not checked", str(error))
    return Check(what, "same", detail)


def _artefact(folder: RunFolder, record: dict[str, Any]) -> Check:
    said, found = record["artefact"]["files"], artefact_hashes(folder)
    if not said:
        return Check("result", "not checked", f"the run is {record['status']}, so it has none")
    wrong = sorted(name for name in said.keys() | found.keys() if said.get(name) != found.get(name))
    if wrong:
        how = "missing" if wrong[0] not in found else "not in the record" if wrong[0] not in said else "changed after the run"
        return Check("result", "differs", f"{folder.path / wrong[0]} is {how}" + (f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""))
    return Check("result", "same", f"{len(said)} files in {folder.path / next(iter(said)).split('/')[0]}")


def _checkpoints(folder: RunFolder) -> Iterator[Check]:
    steps = checkpoint.steps_kept(folder)
    damaged = [(step, damage) for step in steps if (damage := checkpoint.find_damage(checkpoint.path_of(folder, step)))]
    for step, damage in damaged:
        yield Check("checkpoint", "differs", f"{checkpoint.path_of(folder, step) / damage} is missing or was changed")
    if not steps:
        yield Check("checkpoints", "not checked", "there are none")
    elif not damaged:
        yield Check("checkpoints", "same", f"of {_steps(steps)}, each file whole")


def _figures(folder: RunFolder, record: dict[str, Any]) -> Check:
    """What the record says of the way, against the lines written on the way."""
    lines = read_lines(folder.metrics_file)
    training = [line for line in lines if line["kind"] == "train"]
    validations = [line for line in lines if line["kind"] == "validation"]
    derived = {
        "steps": training[-1]["step"] if training else 0,
        "tokens": sum(line["tokens"] for line in training),
        "evaluation.before": validations[0] if validations else None,
    }
    said = {"steps": record["steps"], "tokens": record["tokens"], "evaluation.before": record["evaluation"]["before"]}
    after = record["evaluation"]["after"]
    if after is not None:
        derived["evaluation.after"] = next((line for line in validations if line["step"] == after["step"]), None)
        said["evaluation.after"] = after
    if [line["step"] for line in training] != list(range(1, len(training) + 1)):
        return Check("figures", "differs", f"{folder.metrics_file} does not hold every step once")
    wrong = [name for name in said if said[name] != derived[name]]
    if wrong:
        return Check("figures", "differs", f"`{wrong[0]}` is {said[wrong[0]]} in record.json, but {derived[wrong[0]]} by metrics.jsonl")
    return Check("figures", "same", f"{record['steps']:,} steps, {record['tokens']:,} tokens and the evaluation, from metrics.jsonl")


def _certificate(record: dict[str, Any]) -> Check:
    found = record["certificate"]
    if not found:
        return Check("certificate", "not checked", "the run ended before its first")
    failed = [finding["step"] for finding in found if not finding["passed"]]
    if failed:
        return Check("certificate", "differs", f"the gradient was not exact at {_steps(failed)}")
    worst = max((finding["fp32"] for finding in found if finding["fp32"] is not None), default=None)
    exact = f", exact to {worst:.1e} in fp32" if worst is not None else ""
    return Check("certificate", "same", f"passed at {_steps([finding['step'] for finding in found])}{exact}")


def _obstacle(folder: RunFolder, record: dict[str, Any], inputs: list[Check]) -> Check | None:
    """Why nothing can be computed again, if nothing can."""
    missing = [check.what for check in inputs if check.outcome != "same" and check.what != "settings"]
    changed = [check.what for check in inputs if check.outcome == "differs"]
    if record["status"] == "failed":
        return Check("replay", "not checked", "the run failed, so there is nothing to arrive at")
    if changed or missing:
        return Check("replay", "not checked", f"it needs the same {(changed or missing)[0]}")
    if not record["bit_exact"]:
        return Check("replay", "not checked", f"the run was not bit-exact: {record['not_bit_exact_because'][0]}")
    if other := machine_now(record):
        return Check("replay", "not checked", f"only the machine of the run gives the same bits; here differs {'; '.join(other)}")
    return None


def _computed_again(folder: RunFolder, record: dict[str, Any]) -> Check:
    stretch = replayable(folder)
    if stretch is None:
        return evaluate(folder, record)
    first, last = stretch
    done = replay(folder, record, first, last)
    if done.wrong:
        return Check("replay", "differs", f"from step {first} to {last}: {done.wrong[0]}")
    what = ["weights", "optimizer", *(["result"] if done.has_result else []), "losses"]
    return Check("replay", "same", f"steps {first + 1} to {last} computed again: {', '.join(what)} are the same, bit for bit")


def evaluate(folder: RunFolder, record: dict[str, Any]) -> Check:
    """Without two full states no step can be computed again; the validation can."""
    why = "there are no two full states to compute a step between (`checkpoints.keep_states` keeps more)"
    said = [line for line in read_lines(folder.metrics_file) if line["kind"] == "validation" and line["step"] == record["steps"]]
    if not said or record["steps"] not in checkpoint.steps_kept(folder):
        return Check("replay", "not checked", f"{why}, and no validation to measure again")
    wrong = differences(said, [evaluate_again(folder, record)])
    if wrong:
        return Check("evaluation", "differs", wrong[0])
    return Check("evaluation", "same", f"measured again, exactly the same; {why}")


def _steps(steps: list[int]) -> str:
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {', '.join(map(str, steps[:-1]))} and {steps[-1]}"
