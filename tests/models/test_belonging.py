"""Tensors that the config does not know: refused where they change what the model computes, named where they are a part of their own."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from luthier.errors import ModelError
from luthier.models.load import load_model
from luthier.testing import build_model

CPU = torch.device("cpu")


@pytest.fixture
def add(toy_folder: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A toy model's folder whose weights hold one more tensor."""

    def with_tensor(name: str) -> Path:
        folder = Path(shutil.copytree(toy_folder, tmp_path / "toy"))
        weights = load_file(folder / "model.safetensors")
        save_file({**weights, name: torch.ones(4)}, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return with_tensor


@pytest.mark.parametrize(
    "name", ["model.layers.9.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias", "model.norm.bias", "model.layers.0.extra.weight"]
)
def test_a_weight_of_a_layer_that_the_config_does_not_know_is_refused(name: str, add: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError, match=f"the weights hold {name}, for which config.json has no place"):
        load_model(add(name), torch.float32, CPU)


@pytest.mark.parametrize("name, part", [("model.vision_tower.patch.weight", "model.vision_tower"), ("score.weight", "score")])
def test_a_part_of_its_own_is_named(name: str, part: str, add: Callable[[str], Path]) -> None:
    notes: list[str] = []
    load_model(add(name), torch.float32, CPU, note=notes.append)
    assert notes == [f"`{part}` in the model's files (1 tensor) is no part of the language model: it is left out."]


@pytest.mark.parametrize("name", ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"])
def test_what_older_versions_saved_and_newer_ones_compute_is_no_news(name: str, add: Callable[[str], Path]) -> None:
    notes: list[str] = []
    load_model(add(name), torch.float32, CPU, note=notes.append)
    assert notes == []


def test_a_head_saved_beside_the_embeddings_that_it_is_tied_to_is_no_news(tmp_path: Path) -> None:
    build_model("llama", tie_word_embeddings=True).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    notes: list[str] = []
    load_model(tmp_path, torch.float32, CPU, note=notes.append)
    assert notes == []


def test_a_router_that_draws_at_random_does_not_and_it_is_said(tmp_path: Path) -> None:
    """Mixtral multiplies what it routes by noise in training: two forwards of one row would differ."""
    build_model("mixtral", num_local_experts=4, router_jitter_noise=0.5).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["router_jitter_noise"] == 0.5
    ids = torch.arange(3, 15)[None]
    noisy = AutoModelForCausalLM.from_pretrained(tmp_path).train()
    assert not torch.equal(noisy(ids).logits, noisy(ids).logits)
    notes: list[str] = []
    model = load_model(tmp_path, torch.float32, CPU, note=notes.append).train()
    assert torch.equal(model(ids).logits, model(ids).logits)
    assert notes == [
        "`router_jitter_noise` is 0.5 in config.json and 0 here: a router that draws at random is another model in each forward."
    ]
