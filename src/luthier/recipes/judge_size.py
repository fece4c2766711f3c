"""What a run's reward models hold besides the policy's base."""

from luthier.adapters import lora
from luthier.models import load as models
from luthier.recipes.describe import fingerprint
from luthier.recipes.preflight import Grounds
from luthier.rewards.reward_model import RewardModel

DTYPE_BYTES = {"float32": 4, "bfloat16": 2}


def judge_bytes(grounds: Grounds) -> int:
    """Weights of all reward models of the run's rewards and its check. The first that was tuned from the run's own base, which then stays
    as it is, shares it and adds its adapter."""
    judge, total, shares = grounds.judge, 0, not grounds.parts.adapter.module.WHOLE_MODEL
    if judge is None:
        return 0
    for found in (*judge.rewards, judge.check):
        if not isinstance(found, RewardModel):
            continue
        wide = DTYPE_BYTES[found.record["dtype"]["chosen"]]
        if shares and found.is_adapter and found.belongs_to(fingerprint(grounds.model_folder)):
            total += (found.weights / lora.WEIGHTS).stat().st_size
            shares = False
        else:
            folder = models.model_folder(found.spec.model) if found.is_adapter else found.weights
            total += wide * sum(path.stat().st_size for path in folder.glob("*.safetensors")) // models.stored_dtype(folder).itemsize
    return total
