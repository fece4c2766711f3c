"""What an HTTP call that creates a fine-tuning job may say, in OpenAI's words where it says something else. Needs no torch.

Whether model and files are there the gateway knows; what is in the files the job finds out.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.errors import SettingsError
from luthier.spec.load import load_run
from luthier.spec.nearest import did_you_mean
from luthier.spec.paths import PLACES
from luthier.spec.schema import stored
from luthier.spec.tuning import METHODS

Refusal = tuple[str, str | None]
"""Message and `param` of the error."""

KEYS = (
    "model",
    "training_file",
    "validation_file",
    "method",
    "hyperparameters",
    "suffix",
    "seed",
    "metadata",
    "integrations",
    "luthier",
)
LONGEST_SUFFIX, LARGEST_SEED, MOST_PAIRS, LONGEST_KEY, LONGEST_VALUE, MOST_INTEGRATIONS = 64, 2**31 - 1, 16, 64, 512, 5
EFFORTS = ("default", "low", "medium", "high")
RESPONSE_FORMATS = ("json_schema", "json_object", "text")
INTEGRATION_KEYS = ("project", "name", "entity", "tags")

OURS_ALONE = ("model.path", "model.revision", "model.chat_template", "data.train", "data.validation", "out", "train.seed")
WHOLE = ("model", "data")
"""Settings of a run that a job has otherwise, or that name a place on this machine; and groups that stand for such a one."""
COMPONENTS = ("name", "format", "method", "adapter", "reward", "check")
"""Settings that may name a file of one's own."""
OWN = "reward_model"
"""The name of a tuned reward model, which is no setting of a run."""
OUTGOING = ("judge_url",)
"""Settings that would make this machine ask another one."""


@dataclass(frozen=True)
class Range:
    """What a hyperparameter may be, besides "auto". `above`: the minimum itself is too little."""

    low: float
    high: float = math.inf
    whole: bool = False
    above: bool = False


COMMON = {"n_epochs": Range(1, 50, whole=True), "batch_size": Range(1, 256, whole=True), "learning_rate_multiplier": Range(0, above=True)}
RANGES: dict[str, dict[str, Range]] = {
    "supervised": COMMON,
    "dpo": {**COMMON, "beta": Range(0, 2, above=True)},
    "reinforcement": {
        **COMMON,
        "compute_multiplier": Range(0.00001, 10, above=True),
        "eval_interval": Range(1, whole=True),
        "eval_samples": Range(1, whole=True),
    },
}
WORDS = {"reinforcement": {"reasoning_effort": EFFORTS}}


def refused(request: Mapping[str, Any], grader_fault: Callable[[Any], str | None] = lambda _: None) -> Refusal | None:
    """Why a body cannot become a job; None where it can.

    Args:
        request: the body, a JSON object. grader_fault: what is wrong with a grader, as a sentence.
    """
    return next(_faults(request, grader_fault), None)


def method_of(request: Mapping[str, Any]) -> str:
    """`supervised`, `dpo` or `reinforcement`."""
    method = request.get("method")
    return str(method["type"]) if method else "supervised"


def details_of(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """What stands under the method's own name: hyperparameters, grader, response_format; empty where nothing does."""
    return (request.get("method") or {}).get(method_of(request)) or {}


def hyperparameters_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the method, over the deprecated ones beside it; what is null was not said."""
    given = {**(request.get("hyperparameters") or {}), **(details_of(request).get("hyperparameters") or {})}
    return {name: value for name, value in given.items() if value is not None}


def _faults(request: Mapping[str, Any], grader_fault: Callable[[Any], str | None]) -> Iterator[Refusal]:
    for key in request:
        if key not in KEYS:
            yield f"Unrecognized request argument supplied: {key}", None
    for key in ("training_file", "model"):
        if request.get(key) is None:
            yield f"'{key}' is a required property", key
    if not isinstance(request.get("model"), str):
        yield _of_type(request["model"], "string", "model")
    for key in ("training_file", "validation_file"):
        value = request.get(key)
        if value is not None and not isinstance(value, str):
            yield f"invalid {key}: {value}", key
    yield from _of_method(request.get("method"), grader_fault)
    deprecated = request.get("hyperparameters")
    if deprecated is not None:
        yield from _of_hyperparameters(deprecated, method_of(request), "hyperparameters")
    yield from _of_suffix(request.get("suffix"))
    yield from _of_number(request.get("seed"), Range(0, LARGEST_SEED, whole=True), "seed", "seed")
    yield from _of_metadata(request.get("metadata"))
    yield from _of_integrations(request.get("integrations"))
    yield from _of_settings(request.get("luthier"))


def _of_method(method: Any, grader_fault: Callable[[Any], str | None]) -> Iterator[Refusal]:
    if method is None:
        return
    if not isinstance(method, Mapping):
        yield _of_type(method, "object", "method")
        return
    kind = method.get("type")
    if "type" not in method:
        yield "'type' is a required property - 'method'", "method.type"
    elif kind not in METHODS:
        yield _not_one_of(kind, tuple(METHODS), "method.type")
    for key in method:
        if key not in ("type", *METHODS):
            yield _unexpected(key, "method")
    details = method.get(kind) or {}
    where = f"method.{kind}"
    if not isinstance(details, Mapping):
        yield _of_type(details, "object", where)
        return
    allowed = ("hyperparameters", "grader", "response_format") if kind == "reinforcement" else ("hyperparameters",)
    for key in details:
        if key not in allowed:
            yield _unexpected(key, where)
    if details.get("hyperparameters") is not None:
        yield from _of_hyperparameters(details["hyperparameters"], str(kind), f"{where}.hyperparameters")
    if kind == "reinforcement":
        yield from _of_reinforcement(details, where, grader_fault)


def _of_reinforcement(details: Mapping[str, Any], where: str, grader_fault: Callable[[Any], str | None]) -> Iterator[Refusal]:
    grader, form = details.get("grader"), details.get("response_format")
    if grader is None:
        yield f"'grader' is a required property - '{where}'", f"{where}.grader"
    elif not isinstance(grader, Mapping):
        yield _of_type(grader, "object", f"{where}.grader")
    elif why := grader_fault(grader):
        yield why, f"{where}.grader"
    if form is None:
        return
    if not isinstance(form, Mapping):
        yield _of_type(form, "object", f"{where}.response_format")
    elif form.get("type") not in RESPONSE_FORMATS:
        yield _not_one_of(form.get("type"), RESPONSE_FORMATS, f"{where}.response_format.type")
    elif form["type"] == "json_schema":
        named = form.get("json_schema")
        if not isinstance(named, Mapping) or not isinstance(named.get("schema"), Mapping):
            schema = named.get("schema") if isinstance(named, Mapping) else None
            yield _of_type(schema, "object", f"{where}.response_format.json_schema.schema")


def _of_hyperparameters(given: Any, method: str, where: str) -> Iterator[Refusal]:
    if not isinstance(given, Mapping):
        yield _of_type(given, "object", where)
        return
    words = WORDS.get(method, {})
    for name, value in given.items():
        param = f"{where}.{name}"
        if name in words:
            if value not in (None, "auto", *words[name]):
                yield _not_one_of(value, words[name], param, name)
        elif name not in RANGES[method]:
            yield _unexpected(name, where)
        elif value != "auto":
            yield from _of_number(value, RANGES[method][name], name, param)


def _of_number(value: Any, allowed: Range, name: str, param: str) -> Iterator[Refusal]:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        yield _of_type(value, "integer" if allowed.whole else "number", param, name)
    elif allowed.whole and not float(value).is_integer():
        yield _of_type(value, "integer", param, name)
    elif allowed.above and value <= allowed.low:
        yield f"{value} is less than or equal to the minimum of {_plain(allowed.low)} - '{name}'", param
    elif value < allowed.low:
        yield f"{value} is less than the minimum of {_plain(allowed.low)} - '{name}'", param
    elif value > allowed.high:
        yield f"{value} is greater than the maximum of {_plain(allowed.high)} - '{name}'", param


def _of_suffix(suffix: Any) -> Iterator[Refusal]:
    if suffix is None:
        return
    if not isinstance(suffix, str):
        yield _of_type(suffix, "string", "suffix")
    elif not suffix:
        yield "'' is too short - 'suffix'", "suffix"
    elif len(suffix) > LONGEST_SUFFIX:
        yield f"'{suffix}' is too long - 'suffix'", "suffix"


def _of_metadata(metadata: Any) -> Iterator[Refusal]:
    if metadata is None:
        return
    if not isinstance(metadata, Mapping):
        yield _of_type(metadata, "object", "metadata")
        return
    if len(metadata) > MOST_PAIRS:
        yield f"{len(metadata)} properties are more than the maximum of {MOST_PAIRS} - 'metadata'", "metadata"
    for key, value in metadata.items():
        if len(key) > LONGEST_KEY:
            yield f"'{key}' is too long - 'metadata'", "metadata"
        if not isinstance(value, str):
            yield _of_type(value, "string", f"metadata.{key}")
        elif len(value) > LONGEST_VALUE:
            yield f"'{value[:32]}…' is too long - 'metadata.{key}'", f"metadata.{key}"


def _of_integrations(integrations: Any) -> Iterator[Refusal]:
    if integrations is None:
        return
    if not isinstance(integrations, list):
        yield _of_type(integrations, "array", "integrations")
        return
    if len(integrations) > MOST_INTEGRATIONS:
        yield f"{len(integrations)} items are more than the maximum of {MOST_INTEGRATIONS} - 'integrations'", "integrations"
    for number, one in enumerate(integrations):
        where = f"integrations[{number}]"
        if not isinstance(one, Mapping):
            yield _of_type(one, "object", where)
        elif one.get("type") != "wandb":
            yield _not_one_of(one.get("type"), ("wandb",), f"{where}.type")
        elif not isinstance(one.get("wandb"), Mapping) or not isinstance(one["wandb"].get("project"), str):
            yield f"'project' is a required property - '{where}.wandb'", f"{where}.wandb.project"
        else:
            yield from (_unexpected(key, f"{where}.wandb") for key in one["wandb"] if key not in INTEGRATION_KEYS)


def _of_settings(settings: Any) -> Iterator[Refusal]:
    """The settings of a run under `luthier`: any, but no Python, no place on this machine, and nothing that a job says otherwise."""
    if settings is None:
        return
    if not isinstance(settings, Mapping):
        yield _of_type(settings, "object", "luthier")
        return
    methods = tuple(stored()["methods"])
    for key, value in _leaves(settings, ""):
        param = f"luthier.{key}"
        name, leaf = key.removesuffix(".name"), key.rpartition(".")[2].partition("[")[0]
        if isinstance(value, str) and (value.endswith(".py") or ".py:" in value):
            yield f"'{value}' is Python, which no request may name - '{param}'", param
        elif any(f".{part}." in f".{key}." for part in OUTGOING):
            yield f"'{key}' would make the server ask another one; name a model that it serves - '{param}'", param
        elif key in WHOLE or any(key == other or key.startswith((f"{other}.", f"{other}[")) for other in OURS_ALONE):
            if (key, value) != ("model.chat_template", "plain"):
                yield f"'{key}' cannot be set in a job - '{param}'", param
        elif leaf in PLACES or (leaf in COMPONENTS and isinstance(value, str) and "/" in value):
            yield f"'{key}' names a place on the server, which no request may - '{param}'", param
        elif name == "method" and value not in methods:
            yield f"'{value}' is not one of {list(methods)} - 'luthier.method'{did_you_mean(str(value), methods)}", "luthier.method"
    try:
        load_run(None, **{key: value for key, value in settings.items() if value is not None and key != OWN})
    except SettingsError as error:
        yield str(error), "luthier"


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every setting by its dotted key, however deep it was nested."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _leaves(item, f"{key}[{number}]")
    else:
        yield key, value


def _of_type(value: Any, kind: str, param: str, name: str | None = None) -> Refusal:
    return f"{_quoted(value)} is not of type '{kind}' - '{name or param}'", param


def _not_one_of(value: Any, choices: tuple[str, ...], param: str, name: str | None = None) -> Refusal:
    return f"{_quoted(value)} is not one of {list(choices)} - '{name or param}'", param


def _unexpected(key: str, where: str) -> Refusal:
    return f"Additional properties are not allowed ('{key}' was unexpected) - '{where}'", f"{where}.{key}"


def _quoted(value: Any, longest: int = 100) -> str:
    """A value as Python shows it, as OpenAI's own messages do."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _plain(number: float) -> str:
    return f"{number:g}" if number != 0.00001 else "0.00001"
