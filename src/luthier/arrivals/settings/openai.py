"""OpenAI: a fine-tuning job as its API returns it, or a list of one."""

from typing import Any

from luthier.arrivals.documents import Document
from luthier.arrivals.sheet import Sheet
from luthier.spec.tuning import METHODS, USUAL_MULTIPLIER, auto_batch_size, auto_epochs

NAME = "OpenAI"

JOB = "fine_tuning.job"
USUAL_RATE = 2e-4
RATES = {"sft": 1.0, "dpo": 0.25, "grpo": 0.25}
"""The usual rate, in parts of that for supervised tuning."""
DRAWN = 8
"""Answers to a prompt at a `compute_multiplier` of 1."""
TYPICAL_EXAMPLES = 100

OF_THE_JOB = {
    "object": "it is a job",
    "created_at": "of the job there",
    "finished_at": "of the job there",
    "fine_tuned_model": "the name lives on as an alias: `luthier models alias NAME MODEL`",
    "organization_id": "of the account there",
    "result_files": "`luthier migrate openai` takes them along",
    "status": "of the job there",
    "trained_tokens": "counted anew",
    "error": "of the job there",
    "user_provided_suffix": "names of runs are their folders",
    "suffix": "names of runs are their folders",
    "estimated_finish": "`luthier plan` says how long it takes",
    "metadata": "keep it beside the run",
    "usage_metrics": "of the job there",
    "shared_with_openai": "nothing leaves the machine",
    "eval_id": "of the job there",
    "checkpoints": "of the job there",
    "events": "of the job there",
    "integrations": "`report.wandb: true` writes an offline run",
}
MISSED = {
    "method.reinforcement.response_format": "hold answers to it with `method.rollout.json_schema`",
    "method.reinforcement.hyperparameters.reasoning_effort": "how long a model thinks is its template's",
}


def recognizes(document: Document) -> int:
    values = document.values
    if values.get("object") == JOB:
        return 20
    return (
        8
        if "training_file" in values and "model" in values and ("hyperparameters" in values or "method" in values or "suffix" in values)
        else 0
    )


def translate(sheet: Sheet) -> None:
    """Everything of it."""
    kind = str(sheet.get("method.type", "supervised"))
    method = sheet.method or METHODS.get(kind, "sft")
    if sheet.get("method.type") is not None:
        sheet.put("method.name", method, "method.type", text=f"OpenAI's {kind}")
    else:
        sheet.default("method.type", "method.name", method, "supervised, where nothing is said")
    sheet.put("model.path", "starter", "model", text="OpenAI's weights are not handed out: name an open model")
    sheet.ask("model", "OpenAI does not hand its weights out: set `model.path` to an open model; docs/choose.md helps")
    _files(sheet)
    _numbers(sheet, kind, method)
    if sheet.get("seed") is not None:
        sheet.put("train.seed", sheet.get("seed"), "seed", same=True)
    if sheet.get("id") is not None:
        sheet.put("out", f"runs/{sheet.get('id')}", "id")
    if method == "grpo":
        _grader(sheet)
    sheet.values.setdefault("adapter.name", "lora")
    sheet.notes.setdefault("adapter.name", "what OpenAI tunes is not known; LoRA on every linear layer behaves much like it")
    sheet.miss(MISSED)
    sheet.leave(
        {
            **OF_THE_JOB,
            "hyperparameters": "the same as under `method`",
            "method": "chosen there by itself, or without meaning for this method",
        }
    )


def _files(sheet: Sheet) -> None:
    for key, to in (("training_file", "data.train"), ("validation_file", "data.validation")):
        name = sheet.get(key)
        if name is not None:
            sheet.put(to, f"{name}.jsonl", key, text="the file's content")
            sheet.ask(key, f"fetch it while OpenAI still answers: `luthier migrate openai --out FOLDER`, then put its path into `{to}`")
    sheet.default(
        "truncation",
        "data.too_long",
        "drop" if sheet.values["method.name"] == "grpo" else "cut",
        "longer rows are cut at their end, as there",
    )


def _numbers(sheet: Sheet, kind: str, method: str) -> None:
    def asked(name: str) -> tuple[Any, list[str]]:
        keys = [key for key in (f"method.{kind}.hyperparameters.{name}", f"hyperparameters.{name}") if sheet.get(key) is not None]
        values = [sheet.get(key) for key in keys if sheet.get(key) != "auto"]
        return (values[0] if values else None), keys[:1]

    epochs, sources = asked("n_epochs")
    text = "" if epochs else f"OpenAI's published rule for {TYPICAL_EXAMPLES} examples or more; fewer get more"
    _said(sheet, "train.epochs", epochs or auto_epochs(TYPICAL_EXAMPLES), sources, "n_epochs", text)
    size, sources = asked("batch_size")
    _said(
        sheet,
        "train.batch_size",
        size or auto_batch_size(TYPICAL_EXAMPLES),
        sources,
        "batch_size",
        "" if size else "as small sets got it: about 0.2 % of the rows",
    )
    multiplier, sources = asked("learning_rate_multiplier")
    rate = (
        float(f"{USUAL_RATE * RATES[method] * float(multiplier or USUAL_MULTIPLIER) / USUAL_MULTIPLIER:.3g}")
        if method in RATES
        else USUAL_RATE
    )
    _said(
        sheet,
        "optimizer.learning_rate",
        rate,
        sources,
        "learning_rate_multiplier",
        f"{multiplier or USUAL_MULTIPLIER:g} × half of the usual rate; its own is not known",
    )
    beta, sources = asked("beta")
    if method == "dpo":
        _said(sheet, "method.beta", beta or 0.1, sources, "beta", "")
    for name in ("compute_multiplier", "eval_interval", "eval_samples"):
        value, sources = asked(name)
        if method != "grpo" or value is None:
            continue
        to = {"compute_multiplier": "method.group", "eval_interval": "evaluation.every", "eval_samples": "method.validation_answers"}[name]
        sheet.put(
            to, max(2, round(DRAWN * float(value))) if name == "compute_multiplier" else value, *sources, same=name != "compute_multiplier"
        )
    if method == "grpo":
        prompts, group = sheet.values.pop("train.batch_size"), sheet.values.setdefault("method.group", DRAWN)
        sheet.notes.setdefault("method.group", "answers to each prompt")
        sheet.values["method.rollout.prompts"], sheet.values["train.batch_size"] = prompts, prompts * group
        sheet.notes |= {
            "method.rollout.prompts": sheet.notes.get("train.batch_size", ""),
            "train.batch_size": "one step a lot, as OpenAI counts steps",
        }


def _said(sheet: Sheet, to: str, value: Any, sources: list[str], name: str, text: str) -> None:
    if sources:
        sheet.put(to, value, *sources, text=text, same=not text)
    else:
        sheet.default(name, to, value, text)


def _grader(sheet: Sheet) -> None:
    """OpenAI's graders work here as they are."""
    method = sheet.document.values.get("method")
    inner = method.get("reinforcement") if isinstance(method, dict) else None
    grader = inner.get("grader") if isinstance(inner, dict) else None
    if not isinstance(grader, dict):
        sheet.ask("method.reinforcement.grader", "a reward is needed: put the grader's JSON under `reward: {name: grader, grader: …}`")
        return
    keys = [key for key in sheet.document.flat if key.startswith("method.reinforcement.grader")]
    sheet.put("reward", [{"name": "grader", "grader": grader}], text="OpenAI's grader, as it is")
    sheet.leave(dict.fromkeys(keys, "a part of the grader, which is taken over as it is"))
