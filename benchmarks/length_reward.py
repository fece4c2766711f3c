"""What answers are worth in the benchmarks, to Luthier and to TRL alike: `reward=…/length_reward.py:score`."""

from collections.abc import Sequence
from typing import Any


def score(prompts: Sequence[Any], answers: Sequence[str], items: Sequence[Any]) -> list[float]:
    """How many letters each answer has: cheap, and hardly ever the same twice."""
    return [float(len(answer)) for answer in answers]
