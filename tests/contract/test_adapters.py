"""Every file in `adapters/` goes through the same cases: a new adapter's tests come free."""

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.models.families import family
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from luthier.adapters.routing import Routing, routed
from luthier.errors import SettingsError
from luthier.recipes.train import train
from luthier.spec import folder as registry
from luthier.spec.component import configure
from luthier.spec.run import Component, RunSpec

NAMES = registry.names("luthier.adapters")
ADAPTER = "default"
IDS = torch.arange(3, 40)[None]

BAD: dict[str, list[tuple[dict[str, Any], str]]] = {
    "lora": [
        ({"rank": 0}, r"`adapter\.rank`"),
        ({"alpha": 0}, r"`adapter\.alpha`"),
        ({"dropout": 1}, r"`adapter\.dropout`"),
        (
            {"targets": ["q_proj", "k_prj"]},
            r"`adapter\.targets`: 'k_prj' matches no layer of this model\. Its linear layers are named .*k_proj",
        ),
    ],
    "freeze": [
        ({"last_layers": -1}, r"`adapter\.last_layers`"),
        ({"last_layers": 3}, r"`adapter\.last_layers`: 3 of 2 layers"),
        ({"last_layers": 0}, r"nothing would learn"),
        ({"patterns": ["layers.9"]}, r"`adapter\.patterns`: 'layers\.9' matches no weight"),
    ],
}
"""Settings of each that are refused, and what is said."""


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def module(name: str) -> ModuleType:
    return registry.load("luthier.adapters", name)


def attach(module: ModuleType, model: PreTrainedModel, config: Any = None, seed: int = 0) -> dict[str, nn.Parameter]:
    """What learns, once the adapter is there."""
    generator = torch.Generator().manual_seed(seed)
    module.attach(model, config or module.Config(), ADAPTER, generator, model.get_output_embeddings())
    learning: dict[str, nn.Parameter] = module.trainable(model, ADAPTER)
    return learning


@torch.no_grad()
def logits(model: PreTrainedModel) -> Tensor:
    with routed(Routing(ADAPTER)):
        found: Tensor = model(input_ids=IDS, use_cache=False).logits
    return found


def test_there_are_adapters():
    assert {"lora", "full", "freeze"} <= set(NAMES)


def test_it_says_what_the_engine_asks_for(module: ModuleType):
    assert 0 < module.LEARNING_RATE < 1e-2
    assert module.WEIGHTS.endswith(".safetensors")
    assert module.WHOLE_MODEL in (True, False)
    assert inspect.getdoc(module)
    assert inspect.getdoc(module.Config)


def test_every_setting_is_documented_and_has_a_default(module: ModuleType):
    for setting, field in module.Config.model_fields.items():
        assert field.description, setting
        assert not field.is_required(), setting


def test_at_first_it_changes_nothing(module: ModuleType):
    model = family("Llama")
    before = logits(model)
    attach(module, model)
    assert torch.equal(logits(model), before)


def test_what_learns_is_what_it_names_and_nothing_else(module: ModuleType):
    model = family("Llama")
    learning = attach(module, model)
    assert learning
    assert {id(p) for p in learning.values()} == {id(p) for p in model.parameters() if p.requires_grad}


def test_all_that_learns_gets_a_gradient(module: ModuleType):
    """Away from the start: LoRA's B = 0 makes the gradient of A zero."""
    model = family("Llama")
    learning = attach(module, model)
    _move(learning)
    with routed(Routing(ADAPTER)):
        loss = model(input_ids=IDS, use_cache=False).logits.log_softmax(-1)[0, :-1].gather(1, IDS[0, 1:, None]).sum()
    loss.backward()
    assert [key for key, p in learning.items() if p.grad is None or not float(p.grad.abs().sum())] == []


def test_the_head_is_never_adapted(module: ModuleType):
    """It stays the plain layer it was, and learns only where the whole model does."""
    model = family("Llama")
    head = model.get_output_embeddings()
    learning = attach(module, model)
    assert model.get_output_embeddings() is head
    assert type(head) is nn.Linear
    everything = len(learning) == len(list(model.parameters()))
    assert head.weight.requires_grad is everything


def _move(learning: dict[str, nn.Parameter]) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in learning.values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


def test_what_is_saved_gives_the_same_logits_elsewhere(module: ModuleType, tmp_path: Path):
    model = family("Llama")
    learning = attach(module, model)
    before = logits(model)
    _move(learning)
    config, head = module.Config(), model.get_output_embeddings()
    module.save(model, config, ADAPTER, {key: p.detach() for key, p in learning.items()}, "somewhere/base", head, tmp_path)
    saved = load_file(tmp_path / module.WEIGHTS)
    assert saved.keys() == learning.keys()
    other = family("Llama")
    if module.WHOLE_MODEL:
        again = attach(module, other, seed=5)
        with torch.no_grad():
            for key, parameter in again.items():
                parameter.copy_(saved[key])
    else:
        module.load(other, ADAPTER, tmp_path, other.get_output_embeddings())
    assert torch.equal(logits(other), logits(model))
    assert not torch.allclose(logits(other), before)


def test_it_learns_in_a_run_and_what_the_run_leaves_is_what_it_learned(
    name: str, module: ModuleType, toy_folder: Path, toy_rows: Path, tmp_path: Path
):
    settings: dict[str, Any] = {
        "model": str(toy_folder),
        "data": {"train": str(toy_rows)},
        "adapter": name,
        "optimizer": {"learning_rate": 0.01},
        "train": {"epochs": 6, "batch_size": 4, "dtype": "float32"},
        "evaluation": {"prompts": ()},
        "out": str(tmp_path / "run"),
    }
    run = train(RunSpec.model_validate(settings))
    losses = [line["loss"] for line in run.metrics if line["kind"] == "train"]
    assert losses[-1] < losses[0]
    assert run.record["artefact"]["reload_difference"] < 1e-5
    if module.WHOLE_MODEL:
        assert logits(AutoModelForCausalLM.from_pretrained(run.path / "model")).isfinite().all()
    else:
        assert load_file(run.path / "adapter" / module.WEIGHTS).keys() == load_file(_newest(run.path) / module.WEIGHTS).keys()


def _newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*"))


def test_an_unknown_setting_is_refused(name: str, module: ModuleType):
    with pytest.raises(SettingsError, match=r"`adapter\.rnk` is not a setting"):
        configure(module.Config, Component.model_validate({"name": name, "rnk": 1}), "adapter")


@pytest.mark.parametrize("name, settings, said", [(name, *case) for name, cases in BAD.items() for case in cases])
def test_bad_settings_are_refused(name: str, settings: dict[str, Any], said: str):
    module = registry.load("luthier.adapters", name)
    with pytest.raises(SettingsError, match=said):
        attach(module, family("Llama"), configure(module.Config, Component.model_validate({"name": name, **settings}), "adapter"))
