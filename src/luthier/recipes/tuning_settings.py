"""The settings of the run that a fine-tuning job becomes."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier.adapters import lora
from luthier.errors import SettingsError
from luthier.models import load as models
from luthier.recipes.tuning_files import OF_METHOD
from luthier.spec.load import Places, Values, load_part, put
from luthier.spec.run import ModelSpec, RunSpec
from luthier.spec.serving import ANY_OBJECT
from luthier.spec.tuning import USUAL_MULTIPLIER, Tuning, auto_batch_size, auto_epochs, learning_rate
from luthier.spec.tuning_request import OWN
from luthier.text.folder import DEFAULT_CONTEXT, context_length
from luthier.text.renderer import Renderer

KEPT_EPOCHS = KEPT_BEST = 3
"""Checkpoints that are kept: the ends of the last epochs, of `reinforcement` those with the best reward in validation."""

GLANCES = 50
"""Looks at a validation batch in a run, about."""

DRAWN_PROMPTS, DRAWN_ANSWERS, LONGEST_ANSWER, MOST_ANSWERS = 8, 8, 256, 64
"""Of `reinforcement`: prompts a step, answers to each at `compute_multiplier` 1, tokens of an answer, and answers to each at most."""

RATES = {"dpo": 0.25, "orpo": 0.5, "kto": 0.25, "ppo": 0.25}
"""The usual rate of other methods, in parts of that for supervised tuning, which is `grpo`'s, too: at a quarter of it 12 steps of 64
answers of the starter model raised the reward from 0.34 to 0.38, at the whole of it to 0.60."""

DRAWING = ("grpo", "ppo")
"""Methods that draw their own answers."""

SET_ASIDE = 0.1
"""Share of the rows that `reinforcement` measures on where no validation file is given."""


def run_of(tuning: Tuning, examples: int) -> RunSpec:
    """The run that does what a job asks for. `examples`: rows of its training file.

    Raises:
        SettingsError: a setting under `luthier` that is unknown, out of range, or does not go with the rest. ModelError: no such model.
    """
    values: Values = {}
    places: Places = {}
    for key, value in _settings(tuning, examples):
        put(values, places, key, value, "")
    for key, value in tuning.luthier.items():
        if value is not None and key != OWN:
            put(values, places, key, value, "luthier: ")
    spec = load_part(values, {})
    if tuning.start is not None and spec.adapter.settings.get("start") != tuning.start:
        raise SettingsError(
            "The job goes on from a tuned model, whose adapter it keeps: leave `luthier.adapter` out, or start from the base."
        )
    return spec


def resolved(tuning: Tuning, spec: RunSpec) -> dict[str, Any]:
    """The job's hyperparameters as numbers, under OpenAI's names: what the run will do."""
    multiplier = tuning.asked("learning_rate_multiplier")
    found: dict[str, Any] = {
        "n_epochs": spec.train.epochs,
        "batch_size": spec.train.batch_size,
        "learning_rate_multiplier": USUAL_MULTIPLIER if multiplier is None else multiplier,
    }
    settings = spec.method.settings
    if spec.method.name == "dpo":
        found["beta"] = settings.get("beta", 0.1)
    if spec.method.name == "grpo":
        found |= {
            "batch_size": settings["rollout"]["prompts"],
            "compute_multiplier": tuning.asked("compute_multiplier") or 1.0,
            "eval_interval": spec.evaluation.every,
            "eval_samples": settings["validation_answers"],
            "reasoning_effort": "default",
        }
    return found


def _settings(tuning: Tuning, examples: int) -> Iterator[tuple[str, Any]]:
    """What the job says and what is usual, by dotted key."""
    method = tuning.own_method
    folder = models.model_folder(ModelSpec(path=tuning.model))
    drawing = method in DRAWING
    yield "model.path", tuning.model
    if not Renderer.load(folder).template_sources:
        yield "model.chat_template", "plain"
    yield from _data(tuning, drawing)
    yield "method.name", method
    yield "adapter", _adapter(tuning)
    width = models.load_config(folder).get_text_config().hidden_size
    rate = learning_rate(width, float(tuning.asked("learning_rate_multiplier") or USUAL_MULTIPLIER)) * RATES.get(method, 1.0)
    yield "optimizer.learning_rate", float(f"{rate:.3g}")
    epochs = int(tuning.asked("n_epochs") or auto_epochs(examples))
    yield "train.epochs", epochs
    yield "train.seed", tuning.seed
    yield "evaluation.prompts", []
    yield "checkpoints.keep_weights", 1
    if drawing:
        yield from _drawn(tuning, examples, epochs, context_length(folder) or DEFAULT_CONTEXT)
        return
    batch = int(tuning.asked("batch_size") or auto_batch_size(examples))
    yield "train.batch_size", batch
    yield "checkpoints.keep_epochs", KEPT_EPOCHS
    if tuning.validation_file is not None:
        yield "evaluation.every", "epoch"
        yield "evaluation.glance_every", max(1, math.ceil(examples / batch) * epochs // GLANCES)
        yield "evaluation.glance_rows", max(8, batch)
    if method == "sft":
        yield "method.token_accuracy", True
    elif method == "dpo" and tuning.asked("beta") is not None:
        yield "method.beta", tuning.asked("beta")


def _data(tuning: Tuning, drawing: bool) -> Iterator[tuple[str, Any]]:
    openai = tuning.own_method in OF_METHOD
    yield "data.train", [{"path": tuning.training_file.path}]
    if tuning.validation_file is not None:
        yield "data.validation", [{"path": tuning.validation_file.path}]
        yield "preflight.accept", ["shared-rows"]  # OpenAI lets them pass; an event says so
    elif drawing or tuning.own_method == "reward_model":
        yield "data.validation_share", SET_ASIDE
    yield "data.too_long", "drop" if drawing else "cut" if openai else "refuse"


def _adapter(tuning: Tuning) -> dict[str, Any]:
    """LoRA on every linear layer, or the adapter that the job goes on from."""
    if tuning.start is None:
        return {"name": "lora"}
    known = lora.read_config(Path(tuning.start))
    return {"name": "lora", **known.model_dump(mode="json", exclude={"start"}), "start": tuning.start}


def _drawn(tuning: Tuning, examples: int, epochs: int, context: int) -> Iterator[tuple[str, Any]]:
    """Of methods that draw their own answers: one optimizer step a lot of prompts, as OpenAI counts steps."""
    prompts = int(tuning.asked("batch_size") or min(DRAWN_PROMPTS, examples))
    answers = max(2, min(MOST_ANSWERS, round(DRAWN_ANSWERS * float(tuning.asked("compute_multiplier") or 1.0))))
    steps = math.ceil(examples / prompts) * epochs
    interval = int(tuning.asked("eval_interval") or max(1, round(steps / 10)))
    rollout: dict[str, Any] = {"prompts": prompts, "max_new_tokens": min(LONGEST_ANSWER, context // 2)}
    if (schema := _answer_schema(tuning)) is not None:
        rollout["json_schema"] = schema
    yield "method.rollout", rollout
    yield "train.batch_size", prompts * answers
    if tuning.own_method == "grpo":
        yield "method.group", answers
        yield "method.validation_answers", int(tuning.asked("eval_samples") or 1)
    if tuning.grader is not None:
        yield "reward", [{"name": "grader", "grader": tuning.grader}]
    elif tuning.reward_model is not None:
        yield "reward", [{"name": "reward_model", "path": tuning.reward_model}]
    yield "evaluation.every", interval
    yield "checkpoints.every", interval
    yield "checkpoints.keep_best", KEPT_BEST


def _answer_schema(tuning: Tuning) -> dict[str, Any] | None:
    """What answers are held to by the job's `response_format`."""
    form = tuning.response_format or {}
    if form.get("type") == "json_object":
        return dict(ANY_OBJECT)
    return dict(form["json_schema"]["schema"]) if form.get("type") == "json_schema" else None
