"""TRL's side of reward models with PEFT's LoRA: see `peer_trainer`. The scalar head learns, too, and begins as Luthier's does."""

from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer  # type: ignore[import-not-found]

from benchmarks.peer_trainer import Counting, Diary, Given, common, loaded, lora, main


class CountingTrainer(Counting, RewardTrainer):  # type: ignore[misc]
    pass


def load(given: Given) -> Any:
    model = loaded(AutoModelForSequenceClassification, given, num_labels=1)
    if given["head"] is not None:
        with torch.no_grad():
            model.score.weight.copy_(load_file(given["head"])["weight"])
    return model


def make(given: Given, diary: Diary, rows: list[Any], **more: Any) -> CountingTrainer:
    adapter = lora(given, task_type="SEQ_CLS", modules_to_save=["score"])
    return CountingTrainer(args=RewardConfig(max_length=None, **common(given)), peft_config=adapter, **more)


if __name__ == "__main__":
    main(load, make)
