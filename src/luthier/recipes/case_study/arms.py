"""How each arm of the case study learns: the settings of its runs, the same for the demo and for the study."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.recipes.case_study import check
from luthier.recipes.case_study.inputs import MOST_NEW_TOKENS, TEMPERATURE

Settings = Mapping[str, Any]


def supervised(model: str, rows: Path) -> Settings:
    """Chat rows, by LoRA."""
    return {
        "model": model,
        "data": {"train": str(rows)},
        "method": "sft",
        "adapter": {"name": "lora", "rank": 16},
        "optimizer": {"learning_rate": 3e-3},
        "train": {"epochs": 6, "batch_size": 16},
    }


def reward_model(model: str, rankings: Path) -> Settings:
    """Rankings of some answers to each prompt."""
    return {
        "model": model,
        "data": {"train": str(rankings), "validation_share": 0.15},
        "method": "reward_model",
        "optimizer": {"learning_rate": 1e-3},
        "train": {"epochs": 1, "batch_size": 16},
    }


def dpo(model: str, rankings: Path) -> Settings:
    """The same rankings, without a reward model."""
    return {
        "model": model,
        "data": {"train": str(rankings)},
        "method": "dpo",
        "optimizer": {"learning_rate": 3e-4},
        "train": {"epochs": 2, "batch_size": 16},
    }


def ppo(model: str, prompts: Path, reward: Path) -> Settings:
    """Prompts, answered by the policy and scored by a reward model; watched by the guidelines, which it never learns from."""
    rollout = {"prompts": 64, "max_new_tokens": MOST_NEW_TOKENS, "temperature": TEMPERATURE, "passes": 2}
    return {
        "model": model,
        "data": {"train": str(prompts)},
        "method": {"name": "ppo", "rollout": rollout, "kl": {"coefficient": 0.05}},
        "reward": {"name": "reward_model", "path": str(reward)},
        "check": f"{check.__file__}:score",
        "optimizer": {"learning_rate": 5e-4},
        "train": {"epochs": 2, "batch_size": 32},
    }
