"""TRL's side of DPO with PEFT's LoRA, the base without its adapter as the reference: see `peer_trainer`."""

import time
from typing import Any

from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer  # type: ignore[import-not-found]

from benchmarks.peer_trainer import Counting, Diary, Given, common, loaded, lora, main


def make(given: Given, diary: Diary, rows: list[Any], **more: Any) -> Any:
    class CountingTrainer(Counting, DPOTrainer):  # type: ignore[misc]
        def _precompute_ref_logps(self, *args: Any) -> Any:
            """Before the first step, and so on no clock but this one."""
            begin = time.perf_counter()
            scored = super()._precompute_ref_logps(*args)
            diary.write("kept", seconds=time.perf_counter() - begin)
            return scored

    return CountingTrainer(args=DPOConfig(max_length=None, **common(given)), peft_config=lora(given, task_type="CAUSAL_LM"), **more)


if __name__ == "__main__":
    main(lambda given: loaded(AutoModelForCausalLM, given), make)
