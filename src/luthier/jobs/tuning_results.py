"""What a fine-tuning job leaves: weights that can be served, what was measured of them, and the results file."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.jobs.tuning_events import measured
from luthier.jobs.tuning_steps import METRICS, Step, plan_of, record_of, steps_after

STATE_FILES = {"state.json", "state.safetensors", "hashes.json"}
"""Of a checkpoint: what only going on needs."""

ADAPTER_FILE = "adapter_config.json"

KEPT_BEST = 3
"""Checkpoints of a job that draws answers: those with the best reward in validation."""

COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
"""Of the results file, as OpenAI's has them. Further ones follow where there is more to say."""


@dataclass(frozen=True)
class Snapshot:
    """Weights of a job. `files`: what is needed to serve them. `metrics`: as OpenAI's checkpoints hold them."""

    step: int
    files: tuple[Path, ...]
    metrics: dict[str, Any]


def snapshots(run: Path) -> list[Snapshot]:
    """The checkpoints that stay, the oldest first, without the last step's weights, which are the tuned model.

    Of a job that draws answers they are known when it has succeeded; of any other, each is there for good as soon as it is told.
    """
    plan, record = plan_of(run), record_of(run)
    if plan is None or (record is None and not any(_files(_checkpoint(run, step)) for step in plan.epochs_kept)):
        return []
    steps = {step.step: step for step in steps_after(run, ended=True)[0]}
    wanted = [step for step in plan.epochs_kept if step in steps]
    last = record["steps"] if record is not None else plan.total_steps
    if record is not None and record["status"] == "succeeded" and _draws(steps.values()):
        validated = [step for step in steps.values() if step.full is not None and _files(_checkpoint(run, step.step))]
        best = sorted(validated, key=lambda step: -step.full["reward"] if step.full else 0.0)[:KEPT_BEST]
        wanted = sorted(step.step for step in best)
    found = ((step, _files(_checkpoint(run, step))) for step in wanted if step != last)
    return [Snapshot(step, files, metrics_of(steps[step])) for step, files in found if files]


def tuned(run: Path) -> Snapshot | None:
    """The weights of a job that has succeeded, and their step."""
    record = record_of(run)
    if record is None or record["status"] != "succeeded":
        return None
    files = _files(run / "adapter") or tuple(sorted(path for path in (run / "model").rglob("*") if path.is_file()))
    steps = {step.step: step for step in steps_after(run, ended=True)[0]}
    number = record["evaluation"]["best_step"] if record["stopped_early"] else record["steps"]
    return Snapshot(number, files, metrics_of(steps[number])) if number in steps else None


def newest(run: Path) -> Snapshot | None:
    """The newest weights that were saved, for a job that is paused; None where nothing has been trained yet."""
    steps = {step.step: step for step in steps_after(run, ended=True)[0]}
    for number in sorted(steps, reverse=True):
        if files := _files(_checkpoint(run, number)):
            return Snapshot(number, files, metrics_of(steps[number]))
    return None


def metrics_of(step: Step) -> dict[str, Any]:
    """Of a checkpoint."""
    numbers = {name: value for name, value in measured(step).items() if isinstance(value, int | float)}
    kind = "reinforcement" if step.lot is not None else "dpo" if "train_reward_accuracy" in numbers else "supervised"
    return {"step": step.step, **numbers, "type": kind}


def results_csv(run: Path) -> bytes:
    """One row a step, numbers or nothing in each cell; only the head where nothing was trained."""
    steps = steps_after(run, ended=True)[0] if (run / METRICS).is_file() else []
    extra = tuple(name for name in ("valid_accuracy", "train_mean_reward", "valid_mean_reward") if any(name in _cells(s) for s in steps))
    lines = [",".join(COLUMNS + extra)]
    for step in steps:
        cells = _cells(step)
        lines.append(",".join(_number(cells.get(name)) for name in COLUMNS + extra))
    return ("\n".join(lines) + "\n").encode()


def _cells(step: Step) -> dict[str, float]:
    found = measured(step)
    names = {
        "train_loss": ("train_loss",),
        "train_accuracy": ("train_mean_token_accuracy", "train_reward_accuracy"),
        "valid_loss": ("valid_loss", "full_valid_loss"),
        "valid_mean_token_accuracy": ("valid_mean_token_accuracy", "full_valid_mean_token_accuracy"),
        "valid_accuracy": ("valid_reward_accuracy", "full_valid_reward_accuracy"),
        "train_mean_reward": ("train_mean_reward",),
        "valid_mean_reward": ("full_valid_mean_reward",),
    }
    cells = {name: next((found[key] for key in keys if key in found), None) for name, keys in names.items()}
    return {"step": step.step, **{name: value for name, value in cells.items() if value is not None}}


def _number(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"


def _draws(steps: Iterable[Step]) -> bool:
    return any(step.lot is not None for step in steps)


def _checkpoint(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:08d}"


def _files(folder: Path) -> tuple[Path, ...]:
    """What is needed to serve an adapter; nothing where none is there, or whole weights, which cannot be served beside others."""
    if not (folder / ADAPTER_FILE).is_file():
        return ()
    return tuple(sorted(path for path in folder.iterdir() if path.name not in STATE_FILES))
