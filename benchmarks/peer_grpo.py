"""TRL's side of GRPO with PEFT's LoRA, answers drawn by transformers: see `peer_trainer`."""

from typing import Any

from transformers import AutoModelForCausalLM
from trl import GRPOConfig, GRPOTrainer  # type: ignore[import-not-found]

from benchmarks.length_reward import score
from benchmarks.peer_trainer import Counting, Diary, Given, common, loaded, lora, main


class CountingTrainer(Counting, GRPOTrainer):  # type: ignore[misc]
    pass


def reward(prompts: list[Any], completions: list[Any], **_: Any) -> list[float]:
    """Luthier's and TRL's reward functions are called otherwise."""
    return score(prompts, [turns[-1]["content"] for turns in completions], [None] * len(prompts))


def make(given: Given, diary: Diary, rows: list[Any], **more: Any) -> CountingTrainer:
    config = GRPOConfig(
        num_generations=given["answers"], max_completion_length=given["new_tokens"], temperature=1.0, shuffle_dataset=False, **common(given)
    )
    return CountingTrainer(args=config, reward_funcs=reward, peft_config=lora(given, task_type="CAUSAL_LM"), **more)


if __name__ == "__main__":
    main(lambda given: loaded(AutoModelForCausalLM, given), make)
