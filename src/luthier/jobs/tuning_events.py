"""What happens in a fine-tuning job, as OpenAI's events. Each has a key: told twice, it is one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.jobs.tuning_steps import Cursor, Line, Step, plan_of, steps_after


@dataclass(frozen=True)
class Told:
    """An event. `type`: `message`, or `metrics` with `data`. `level`: info, warn, error."""

    key: str
    message: str
    type: str = "message"
    level: str = "info"
    data: Mapping[str, Any] = field(default_factory=dict)


def step_events(run: Path, cursor: Cursor = Cursor(), ended: bool = False) -> tuple[list[Told], Cursor]:
    """An event for each step that is whole by now and was not told, and how far that is.

    Args:
        cursor: what the last call returned; without it, everything is told again, under the same keys. ended: nothing more
        will come of this job (not where its process was killed and it goes on).
    """
    plan = plan_of(run)
    if plan is None:
        return [], cursor
    steps, cursor = steps_after(run, cursor, ended)
    return [step_event(step, plan.total_steps) for step in steps], cursor


def step_event(step: Step, total_steps: int) -> Told:
    data = {"step": step.step, "total_steps": total_steps, **measured(step)}
    return Told(f"step-{step.step}", _message(step, total_steps, data), "metrics", data=data)


def checkpoint_event(step: int, model: str) -> Told:
    """`model`: the name under which it can be asked."""
    return Told(f"checkpoint-{step}", f"Checkpoint created at step {step} with Snapshot ID: {model}")


def note_events(notes: list[dict[str, str]]) -> list[Told]:
    """What validation had to say besides: `details["notes"]` of its outcome."""
    return [Told(f"note-{number}", note["message"], level=note["level"]) for number, note in enumerate(notes, start=1)]


def measured(step: Step) -> dict[str, float]:
    """What OpenAI calls what was measured; only what there is."""
    return dict(_of_answers(step) if step.lot is not None else _of_rows(step))


ERRORS = "grader_error/"
PARSE_ERROR = f"{ERRORS}sample_parse_error"

ROWS = (
    ("loss", "loss"),
    ("token_accuracy", "mean_token_accuracy"),
    ("rewards/accuracy", "reward_accuracy"),
    ("rewards/margin", "reward_margin"),
)
"""Our names and OpenAI's; those of preferences are our own, because none of OpenAI's are known."""


def _of_rows(step: Step) -> Iterator[tuple[str, float]]:
    for prefix, line in (("train", step.train), ("valid", step.glance), ("full_valid", step.full)):
        yield from ((f"{prefix}_{theirs}", line[ours]) for ours, theirs in ROWS if line is not None and ours in line)


def _of_answers(step: Step) -> Iterator[tuple[str, Any]]:
    """Of a job that draws answers."""
    assert step.lot is not None
    yield "train_loss", step.train["loss"]
    yield "train_mean_reward", step.lot["reward"]
    scores = {"train_reward_mean": step.lot["reward"]}
    if step.full is not None:
        yield "full_valid_mean_reward", step.full["reward"]
        scores["valid_reward_mean"] = step.full["reward"]
        if PARSE_ERROR in step.full:
            yield "full_valid_mean_parse_error", step.full[PARSE_ERROR]
    yield "completion_tokens_mean", step.lot["answer_tokens"]
    yield "mean_unresponsive_rewards", step.lot["unfinished"]
    yield "scores", {**scores, "graders": list(_graders(step.lot, step.full or {}))}
    if errors := _errors(step.lot, step.full or {}):
        yield "errors", {"graders": [errors]}
    yield "timing", {"step": {"sampling": step.lot.get("seconds"), "training": step.train.get("seconds")}}


def _graders(lot: Line, full: Line) -> Iterator[dict[str, Any]]:
    """What each grader gave, and, where a run has several rewards, each of these."""
    for name, value in lot.items():
        kind, _, own = name.partition("/")
        if own and kind in ("reward", "grader"):
            yield {"name": own, "train_reward_mean": value, **({"valid_reward_mean": full[name]} if name in full else {})}


def _errors(lot: Line, full: Line) -> dict[str, float]:
    """The share of answers at which grading went wrong, and of those in training their number, by what it was."""
    found: dict[str, float] = {}
    for name, value in lot.items():
        if name.startswith(ERRORS):
            flag = name.removeprefix(ERRORS)
            found |= {f"train_{flag}_mean": value, f"train_{flag}_count": round(value * lot["answers"])}
            found |= {f"valid_{flag}_mean": full[name]} if name in full else {}
    return found


def _message(step: Step, total_steps: int, data: Mapping[str, Any]) -> str:
    if step.lot is not None:
        valid = f", full validation mean reward={data['full_valid_mean_reward']:.2f}" if step.full is not None else ""
        if "full_valid_mean_parse_error" in data:
            valid += f", full validation mean parse error={data['full_valid_mean_parse_error']:.2f}"
        return f"Step {step.step}/{total_steps} , train mean reward={data['train_mean_reward']:.2f}{valid}"
    valid = "".join(
        f", {words} loss={data[f'{name}_loss']:.2f}"
        for name, words in (("valid", "validation"), ("full_valid", "full validation"))
        if f"{name}_loss" in data
    )
    return f"Step {step.step}/{total_steps}: training loss={data['train_loss']:.2f}{valid}"
