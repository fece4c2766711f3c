"""TRL's side of supervised tuning with PEFT's LoRA: see `peer_trainer`."""

import math
from typing import Any

from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

from benchmarks.peer_trainer import Counting, Diary, Given, common, loaded, lora, main


class CountingTrainer(Counting, SFTTrainer):  # type: ignore[misc]
    pass


def config_of(given: Given, lengths: list[int]) -> SFTConfig:
    """The settings under test. `lengths`: of the rows, in tokens; packed sequences are as long as `rows_at_once` rows on average."""
    packed = given["layout"] == "packed"
    length = max(*lengths, math.ceil(sum(lengths) / len(lengths) * given["rows_at_once"])) if packed else None
    asked = common(given) | ({"per_device_train_batch_size": 1} if packed else {})
    return SFTConfig(packing=packed, padding_free=given["layout"] == "padding_free", max_length=length, assistant_only_loss=True, **asked)


def make(given: Given, diary: Diary, processing_class: Any, rows: list[Any], **more: Any) -> CountingTrainer:
    lengths = [len(processing_class.apply_chat_template(row["messages"], return_dict=True)["input_ids"]) for row in rows]
    config = config_of(given, lengths)
    return CountingTrainer(args=config, processing_class=processing_class, peft_config=lora(given, task_type="CAUSAL_LM"), **more)


if __name__ == "__main__":
    main(lambda given: loaded(AutoModelForCausalLM, given), make)
