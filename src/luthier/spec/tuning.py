"""`Tuning`: an OpenAI fine-tuning job as its own process is given it, and the rules by which "auto" becomes a number.

What the HTTP call may say stands in `tuning_request.py`; what becomes of it in `recipes/tuning.py`.
"""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field

from luthier.spec.base import Spec

METHODS = {"supervised": "sft", "dpo": "dpo", "reinforcement": "grpo"}
"""OpenAI's methods, and ours that do them."""

FEWEST_EXAMPLES = 10
"""Fewer in a training file are refused, as at OpenAI."""

TARGET_EPOCHS, FEWEST_SEEN, MOST_SEEN, MOST_EPOCHS = 3, 100, 25_000, 25
"""OpenAI's rule for the number of epochs, as its cookbook published it: 3, but at least 100 examples seen and at most 25,000."""

SHARE_OF_ROWS, LARGEST_BATCH = 0.002, 256
"""A batch is about 0.2 % of the rows, at least 1."""

USUAL_MULTIPLIER = 2.0
"""What "auto" is as `learning_rate_multiplier`. OpenAI's own was 1.8 or 2 wherever it was recorded, so scripts that spell out what they
were once given ask for what they would get anyway. Our usual rate is therefore twice the one that is multiplied."""

REFERENCE_WIDTH, REFERENCE_RATE, WIDTH_POWER = 2000, 5e-4, 0.78
"""LoRA's best rate for a width of 2,000, and the power by which it falls with the width: measured over many models in "LoRA Without
Regret", Schulman et al., 2025, https://thinkingmachines.ai/blog/lora/"""

Number = Annotated[float, Field(allow_inf_nan=False)]
Hyperparameter = Literal["auto"] | int | Number | str


class TuningFile(Spec):
    """A file as the job's process finds it."""

    id: str
    """As its owner knows it: `file-…`."""
    path: str
    """Where its bytes are. Nothing is told of it."""


class Tuning(Spec):
    """A fine-tuning job: checked by the gateway, resolved to folders and files on this machine."""

    job: str
    """Its id."""
    model: str
    """The folder of the base model, or `starter`."""
    start: str | None = None
    """The folder of an adapter on that base that learning goes on from."""
    method: Literal["supervised", "dpo", "reinforcement"] = "supervised"
    """OpenAI's method. `luthier.method` stands over it."""
    hyperparameters: dict[str, Hyperparameter] = {}
    """As asked, `auto` or absent where nothing was said."""
    training_file: TuningFile
    """What to learn from."""
    validation_file: TuningFile | None = None
    """What to measure on."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Order, initial weights, dropout and sampling all follow from it."""
    grader: dict[str, Any] | None = None
    """What answers are worth, for `reinforcement`."""
    response_format: dict[str, Any] | None = None
    """The form that answers should have, for `reinforcement`."""
    luthier: dict[str, Any] = {}
    """Settings of a run beyond OpenAI's, nested or by dotted key; `method` names one of ours."""
    reward_model: str | None = None
    """The folder of a run that judges answers, for `ppo` and `grpo` without a grader."""

    @property
    def own_method(self) -> str:
        """The name of the method in `methods` that does it."""
        asked = self.luthier.get("method.name", self.luthier.get("method"))
        name = asked.get("name") if isinstance(asked, dict) else asked
        return str(name) if name else METHODS[self.method]

    def asked(self, name: str) -> Any:
        """A hyperparameter that was asked for as a number or a word; None where it is to be chosen."""
        value = self.hyperparameters.get(name)
        return None if value == "auto" else value


def auto_epochs(examples: int) -> int:
    """10 → 10, 12 → 8, 34 and more → 3, 50,000 → 1."""
    if TARGET_EPOCHS * examples < FEWEST_SEEN:
        return min(MOST_EPOCHS, FEWEST_SEEN // max(1, examples))
    return max(1, MOST_SEEN // examples) if TARGET_EPOCHS * examples > MOST_SEEN else TARGET_EPOCHS


def auto_batch_size(examples: int) -> int:
    """1 up to some 700 examples, 20 for 10,000, 256 at most."""
    return max(1, min(LARGEST_BATCH, round(SHARE_OF_ROWS * examples)))


def learning_rate(hidden_size: int, multiplier: float) -> float:
    """Peak rate of LoRA on a model so many numbers wide. Narrow models take higher ones."""
    usual = REFERENCE_RATE * math.pow(REFERENCE_WIDTH / hidden_size, WIDTH_POWER)
    return min(1.0, usual * multiplier / USUAL_MULTIPLIER)


def normalised_suffix(suffix: str | None) -> str:
    """As it stands in a model's name: `initial_tuning` as `initial-tuning`."""
    return re.sub(r"[^a-z0-9]+", "-", (suffix or "").lower()).strip("-")
