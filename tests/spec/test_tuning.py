"""What may be asked of a fine-tuning job, OpenAI's words for what may not, and the rules behind "auto"."""

from typing import Any

import pytest

from luthier.spec.tuning import Tuning, TuningFile, auto_batch_size, auto_epochs, learning_rate, normalised_suffix
from luthier.spec.tuning_request import details_of, hyperparameters_of, method_of, refused

PLAIN = {"model": "starter", "training_file": "file-abc"}
GRADER = {"type": "string_check", "name": "g", "input": "{{sample.output_text}}", "reference": "{{item.n}}", "operation": "eq"}


def method(kind: str, **details: Any) -> dict[str, Any]:
    return {"method": {"type": kind, kind: details}}


ACCEPTED = [
    {},
    {"hyperparameters": {}},
    {"hyperparameters": {"n_epochs": "auto", "batch_size": 256, "learning_rate_multiplier": 0.05}},
    {
        "seed": None,
        "suffix": None,
        "metadata": None,
        "validation_file": None,
        "integrations": None,
        "method": None,
        "hyperparameters": None,
    },
    {"method": {"type": "supervised"}},
    {"method": {"type": "supervised", "supervised": None}},
    method("dpo", hyperparameters={"beta": 2, "n_epochs": 50}),
    method("reinforcement", grader=GRADER, response_format={"type": "json_object"}, hyperparameters={"reasoning_effort": "medium"}),
    method("reinforcement", grader=GRADER, hyperparameters={"compute_multiplier": 10, "eval_interval": 1, "eval_samples": "auto"}),
    {"suffix": "x" * 64, "seed": 2147483647, "metadata": {f"k{i}": "v" * 512 for i in range(16)}},
    {"integrations": [{"type": "wandb", "wandb": {"project": "p", "name": None, "tags": ["a"]}}]},
    {"luthier": {"method": "kto", "train.dtype": "float32", "adapter": {"rank": 8}}},
    {"luthier": {"model": {"chat_template": "plain"}, "data": {"max_length": 128}}},
    {"luthier": {"method": {"name": "ppo"}, "reward_model": "ft:starter:me::abcd1234"}},
]

REFUSED = [
    ({"hyperparameters": {"n_epochs": 0}}, "0 is less than the minimum of 1 - 'n_epochs'", "hyperparameters.n_epochs"),
    ({"hyperparameters": {"n_epochs": 51}}, "51 is greater than the maximum of 50 - 'n_epochs'", "hyperparameters.n_epochs"),
    ({"hyperparameters": {"n_epochs": True}}, "True is not of type 'integer' - 'n_epochs'", "hyperparameters.n_epochs"),
    ({"hyperparameters": {"n_epochs": 1.5}}, "1.5 is not of type 'integer' - 'n_epochs'", "hyperparameters.n_epochs"),
    ({"hyperparameters": {"n_epochs": "many"}}, "'many' is not of type 'integer' - 'n_epochs'", "hyperparameters.n_epochs"),
    (
        method("supervised", hyperparameters={"batch_size": 300}),
        "300 is greater than the maximum of 256 - 'batch_size'",
        "method.supervised.hyperparameters.batch_size",
    ),
    (
        method("supervised", hyperparameters={"learning_rate_multiplier": 0}),
        "0 is less than or equal to the minimum of 0 - 'learning_rate_multiplier'",
        "method.supervised.hyperparameters.learning_rate_multiplier",
    ),
    (method("dpo", hyperparameters={"beta": 3}), "3 is greater than the maximum of 2 - 'beta'", "method.dpo.hyperparameters.beta"),
    (
        method("supervised", hyperparameters={"beta": 1}),
        "Additional properties are not allowed ('beta' was unexpected) - 'method.supervised.hyperparameters'",
        "method.supervised.hyperparameters.beta",
    ),
    ({"method": {"type": "foo"}}, "'foo' is not one of ['supervised', 'dpo', 'reinforcement'] - 'method.type'", "method.type"),
    ({"method": {}}, "'type' is a required property - 'method'", "method.type"),
    ({"method": "dpo"}, "'dpo' is not of type 'object' - 'method'", "method"),
    (method("reinforcement"), "'grader' is a required property - 'method.reinforcement'", "method.reinforcement.grader"),
    (
        method("reinforcement", grader=GRADER, hyperparameters={"reasoning_effort": "huge"}),
        "'huge' is not one of ['default', 'low', 'medium', 'high'] - 'reasoning_effort'",
        "method.reinforcement.hyperparameters.reasoning_effort",
    ),
    ({"suffix": "x" * 65}, f"'{'x' * 65}' is too long - 'suffix'", "suffix"),
    ({"seed": -1}, "-1 is less than the minimum of 0 - 'seed'", "seed"),
    ({"metadata": {f"k{i}": "v" for i in range(17)}}, "17 properties are more than the maximum of 16 - 'metadata'", "metadata"),
    ({"metadata": {"team": 3}}, "3 is not of type 'string' - 'metadata.team'", "metadata.team"),
    ({"integrations": [{"type": "mlflow"}]}, "'mlflow' is not one of ['wandb'] - 'integrations[0].type'", "integrations[0].type"),
    ({"training_file": None}, "'training_file' is a required property", "training_file"),
    ({"training_file": 7}, "invalid training_file: 7", "training_file"),
    ({"validation_file": ["a"]}, "invalid validation_file: ['a']", "validation_file"),
    ({"modle": "x"}, "Unrecognized request argument supplied: modle", None),
]

DANGEROUS = [
    {"reward": "./mine.py:score"},
    {"method": "/tmp/mine.py"},
    {"method": {"name": "../x"}},
    {"model": {"path": "/etc"}},
    {"model": "/etc"},
    {"model.chat_template": "/etc/passwd"},
    {"data": {"train": "/etc/passwd"}},
    {"data": "/etc/passwd"},
    {"data.validation[0].path": "/etc/passwd"},
    {"out": "/tmp/x"},
    {"adapter": {"start": "/tmp/x"}},
    {"adapter": "some/where"},
    {"reward": [{"name": "reward_model", "path": "/tmp/x"}]},
    {"reward": {"name": "grader", "judge_url": {"url": "http://10.0.0.1"}}},
]


@pytest.mark.parametrize("more", ACCEPTED, ids=str)
def test_what_openai_takes_is_taken(more: dict[str, Any]):
    assert refused({**PLAIN, **more}) is None


@pytest.mark.parametrize(("more", "message", "param"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_openai_refuses_is_refused_in_its_words(more: dict[str, Any], message: str, param: str | None):
    assert refused({**PLAIN, **more}) == (message, param)


@pytest.mark.parametrize("settings", DANGEROUS, ids=str)
def test_no_request_names_python_or_a_place_on_the_server(settings: dict[str, Any]):
    found = refused({**PLAIN, "luthier": settings})
    assert found is not None
    assert found[1] is not None
    assert found[1].startswith("luthier.")


def test_an_unknown_setting_under_luthier_is_named():
    found = refused({**PLAIN, "luthier": {"train.epoch": 3}})
    assert found is not None
    assert "train.epochs" in found[0]


def test_a_grader_is_refused_with_the_sentence_that_is_found():
    body = {**PLAIN, **method("reinforcement", grader={"type": "x"})}
    assert refused(body, lambda grader: f"no {grader['type']}") == ("no x", "method.reinforcement.grader")


def test_the_deprecated_hyperparameters_work_as_the_methods_own():
    body = {**PLAIN, "hyperparameters": {"n_epochs": 4, "batch_size": None}, **method("supervised", hyperparameters={"n_epochs": 2})}
    assert hyperparameters_of(body) == {"n_epochs": 2}
    assert hyperparameters_of({**PLAIN, "hyperparameters": {"n_epochs": 4}}) == {"n_epochs": 4}
    assert method_of(PLAIN) == "supervised"
    assert details_of(PLAIN) == {}


@pytest.mark.parametrize(("examples", "epochs"), [(10, 10), (12, 8), (33, 3), (34, 3), (100, 3), (8334, 2), (50_000, 1), (3, 25)])
def test_epochs_by_the_published_rule(examples: int, epochs: int):
    assert auto_epochs(examples) == epochs


@pytest.mark.parametrize(("examples", "size"), [(10, 1), (700, 1), (1_000, 2), (10_000, 20), (1_000_000, 256)])
def test_a_batch_is_a_share_of_the_rows(examples: int, size: int):
    assert auto_batch_size(examples) == size


def test_the_usual_multiplier_gives_the_measured_rate_and_wide_models_take_lower_ones():
    """At a width of 2,000 and the multiplier 2 it is 5e-4; four times as wide, 4 ** -0.78 of it."""
    assert learning_rate(2000, 2.0) == pytest.approx(5e-4)
    assert learning_rate(2000, 1.0) == pytest.approx(2.5e-4)
    assert learning_rate(8000, 2.0) == pytest.approx(5e-4 * 4**-0.78)


def test_a_suffix_is_written_as_in_a_models_name():
    assert normalised_suffix("initial_tuning") == "initial-tuning"
    assert normalised_suffix("My Model, v2!") == "my-model-v2"
    assert normalised_suffix(None) == ""


def test_our_own_method_stands_over_openais():
    file = TuningFile(id="file-a", path="a")
    made = Tuning(job="ftjob-1", model="starter", training_file=file)
    assert made.own_method == "sft"
    assert made.model_copy(update={"luthier": {"method": {"name": "kto"}}}).own_method == "kto"
    assert made.model_copy(update={"luthier": {"method.name": "ppo"}}).own_method == "ppo"
