"""LoRA: a trained low-rank product beside each frozen linear layer. Hu et al., 2021, https://arxiv.org/abs/2106.09685

y = x Wᵀ + b + s · (x Aᵀ) Bᵀ,  A (r, in), B (out, r),  s = alpha / r, or alpha / √r when rank-stabilized (https://arxiv.org/abs/2312.03732)

Saved in PEFT's file format.
"""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from luthier.adapters.low_rank import LoraLayer, LowRank, is_linear, is_transposed, layers
from luthier.errors import ModelError, SettingsError
from luthier.spec.base import Spec

LEARNING_RATE = 2e-4
"""Default peak rate, about ten times that of full tuning."""

WEIGHTS = "adapter_model.safetensors"

WHOLE_MODEL = False
"""The base stays as it is; the adapter is saved beside it."""


class Config(Spec):
    """Low-rank adapters on linear layers."""

    rank: int = Field(16, ge=1)
    """Width of the two matrices. 4 to 64 is usual; more learns more and costs more."""
    alpha: float = Field(32.0, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the inputs to A that is zeroed in training."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Names of the layers to adapt (`q_proj`, or a regular expression that matches a whole path), or every linear layer but the head."""
    rank_stabilized: bool = False
    """Scale by alpha / √rank, so that a large rank keeps its effect."""
    start: str | None = None
    """The folder of an adapter on the same base that learning goes on from; rank, scaling and targets must be its own. What a method holds
    the policy to is then that adapter as it was. Default: an adapter that changes nothing."""

    @property
    def scaling(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank)


def attach(model: nn.Module, config: Config, name: str, generator: torch.Generator, head: nn.Module | None) -> None:
    """Freeze `model` and put an adapter called `name` beside each target layer. `head` is never adapted.

    Adapters that are there already stay, and go on learning if they did.

    Raises:
        SettingsError: a target that matches no layer.
    """
    others = {id(p) for layer in layers(model).values() for p in (*layer.lora_A.values(), *layer.lora_B.values())}
    for parameter in model.parameters():
        if id(parameter) not in others:
            parameter.requires_grad_(False)
    shape = LowRank(config.rank, config.scaling, config.dropout)
    for path in target_paths(model, config.targets, head):
        parent_path, _, child = path.rpartition(".")
        parent = model.get_submodule(parent_path)
        layer = parent.get_submodule(child)
        if not isinstance(layer, LoraLayer):
            layer = LoraLayer(layer)
            setattr(parent, child, layer)
        layer.add(name, shape, generator)


def trainable(model: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """What learns, under the names it is saved by."""
    found: dict[str, nn.Parameter] = {}
    for path, layer in layers(model, name).items():
        found[f"base_model.model.{path}.lora_A.weight"] = layer.lora_A[name]
        found[f"base_model.model.{path}.lora_B.weight"] = layer.lora_B[name]
    return found


def target_paths(model: nn.Module, targets: str | tuple[str, ...], head: nn.Module | None) -> list[str]:
    """Paths of the layers to adapt, in the model's order.

    Raises:
        SettingsError: a target that matches nothing, with the names there are.
    """
    linear = _linear_paths(model, head)
    if targets == "all-linear":
        return linear
    matched: set[str] = set()
    for target in targets:
        found = [path for path in linear if path.rsplit(".", 1)[-1] == target or re.fullmatch(target, path)]
        if not found:
            names = ", ".join(sorted({path.rsplit(".", 1)[-1] for path in linear}))
            raise SettingsError(f"`adapter.targets`: {target!r} matches no layer of this model. Its linear layers are named {names}.")
        matched.update(found)
    return [path for path in linear if path in matched]


def _linear_paths(model: nn.Module, head: nn.Module | None) -> list[str]:
    found = [path for path, m in model.named_modules() if m is not head and (is_linear(m) or isinstance(m, LoraLayer))]
    return [path for path in found if not path.endswith(".base_layer")]


def save(model: nn.Module, config: Config, name: str, weights: dict[str, Tensor], base: str, head: nn.Module | None, folder: Path) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json` as PEFT does. `weights`: as named by `trainable`."""
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / WEIGHTS, metadata={"format": "pt"})
    text = json.dumps(_peft_config(model, config, name, base, head), indent=2, sort_keys=True)
    (folder / "adapter_config.json").write_text(text + "\n", encoding="utf-8")


def _peft_config(model: nn.Module, config: Config, name: str, base: str, head: nn.Module | None) -> dict[str, Any]:
    paths = list(layers(model, name))
    leaves = sorted({path.rsplit(".", 1)[-1] for path in paths})
    same_leaf = [path for path in _linear_paths(model, head) if path.rsplit(".", 1)[-1] in leaves]
    head_leaf = next((path.rsplit(".", 1)[-1] for path, m in model.named_modules() if m is head), None)
    short = set(same_leaf) == set(paths) and head_leaf not in leaves
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.rank_stabilized,
        "target_modules": leaves if short else paths,
        "fan_in_fan_out": any(is_transposed(layer.base_layer) for layer in layers(model, name).values()),
        "bias": "none",
        "modules_to_save": None,
    }


def load(model: nn.Module, name: str, folder: Path, head: nn.Module | None) -> Config:
    """Attach the adapter saved in `folder`, by this project or by PEFT.

    Raises:
        ModelError: files that are missing, or of another kind, or do not fit this model.
    """
    config = read_config(folder)
    attach(model, config, name, torch.Generator(), head)
    _fill(model, name, folder)
    return config


def begin(model: nn.Module, config: Config, name: str) -> None:
    """Give an adapter that was just attached the weights that it goes on from, where `config` names them.

    Raises:
        SettingsError: those are of another shape. ModelError: as `load`.
    """
    if config.start is None:
        return
    folder = Path(config.start)
    known = read_config(folder)
    if (known.rank, known.scaling) != (config.rank, config.scaling):
        raise SettingsError(
            f"`adapter.start`: {folder} has rank {known.rank} and scaling {known.scaling:g}, this run rank {config.rank} and scaling "
            f"{config.scaling:g}. Set `adapter.rank={known.rank}` and `adapter.alpha={known.alpha:g}`"
            + (", with `adapter.rank_stabilized=true`." if known.rank_stabilized else ".")
        )
    _fill(model, name, folder)


def _fill(model: nn.Module, name: str, folder: Path) -> None:
    """Weights from a folder. Raises `ModelError`: they do not fit."""
    weights = load_file(folder / WEIGHTS)
    expected = trainable(model, name)
    if set(weights) != set(expected):
        odd = sorted(set(weights) ^ set(expected))[0]
        raise ModelError(f"{folder}: this adapter does not fit the model: {odd} is on one side only. Was it trained on another base?")
    for key, parameter in expected.items():
        if weights[key].shape != parameter.shape:
            raise ModelError(f"{folder}: {key} is {tuple(weights[key].shape)}, the model wants {tuple(parameter.shape)}. Another base?")
        parameter.data.copy_(weights[key])


def remove(model: nn.Module, name: str) -> None:
    """Take the adapter `name` off its layers; nothing where there is none. Others stay."""
    for layer in layers(model, name).values():
        layer.take_off(name)


def merge(model: nn.Module, name: str) -> int:
    """Add the products of the adapter `name` to their layers' weights, W + s B A, and put the plain layers back.

    The sum is made in fp32, then cast to the weight's type. Other adapters are lost.

    Returns:
        the number of layers changed.
    Raises:
        ModelError: a layer shares its weight with another part of the model, which would be changed along.
    """
    shared = Counter(parameter.data_ptr() for _, parameter in model.named_parameters(remove_duplicate=False))
    found = layers(model)
    for path, layer in found.items():
        if name in layer.shapes:
            if shared[layer.base_layer.weight.data_ptr()] > 1:  # type: ignore[operator]
                raise ModelError(f"{path} shares its weight with another layer, so an adapter on it cannot be merged. Serve it unmerged.")
            layer.weight.data.copy_(layer.weight.float() + layer.delta(name))
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.base_layer)
    return sum(name in layer.shapes for layer in found.values())


def read_config(folder: Path) -> Config:
    """`Config` from PEFT's `adapter_config.json`."""
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise ModelError(f"{folder}: no adapter_config.json here. Give the folder of an adapter, or of a run.")
    saved = json.loads(path.read_text(encoding="utf-8"))
    unsupported = [key for key in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "target_parameters") if saved.get(key)]
    if saved.get("peft_type") != "LORA" or saved.get("bias", "none") != "none" or unsupported:
        what = ", ".join([str(saved.get("peft_type")), *unsupported])
        raise ModelError(f"{path}: adapters of this kind ({what}) cannot be loaded; plain LoRA can.")
    targets = saved["target_modules"]
    return Config(
        rank=saved["r"],
        alpha=saved["lora_alpha"],
        dropout=saved.get("lora_dropout", 0.0),
        targets=tuple(targets) if isinstance(targets, list) else targets if targets == "all-linear" else (targets,),
        rank_stabilized=saved.get("use_rslora", False),
    )
