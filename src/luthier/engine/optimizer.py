"""AdamW over the masters: decay where it belongs, slower layers, and the rate of each step."""

import math

import torch
from torch import nn

from luthier.spec.run import OptimizerSpec


def build(masters: dict[str, nn.Parameter], depths: dict[str, int], spec: OptimizerSpec, rate: float) -> torch.optim.AdamW:
    """One group for each rate and decay. `depths`: layers between a weight and the output. Norms and biases (1-D) do not decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, master in masters.items():
        decay = spec.weight_decay if master.ndim > 1 else 0.0
        groups.setdefault((spec.layer_decay ** depths[name], decay), []).append(master)
    return torch.optim.AdamW(
        [{"params": params, "scale": scale, "weight_decay": decay} for (scale, decay), params in groups.items()],
        lr=rate,
        betas=(spec.beta1, spec.beta2),
        eps=spec.epsilon,
        fused=True,
    )


def share_of_rate(step: int, total: int, spec: OptimizerSpec) -> float:
    """Share of the peak rate in step `step` of `total` (from 0): a line up over the warm-up, then along the schedule."""
    warmup = math.ceil(spec.warmup_share * total)
    if step < warmup:
        return (step + 1) / warmup
    if spec.schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total - 1 - warmup)
    fallen = 0.5 * (1 + math.cos(math.pi * min(1.0, progress))) if spec.schedule == "cosine" else 1 - min(1.0, progress)
    return spec.final_share + (1 - spec.final_share) * fallen


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def state_tensors(optimizer: torch.optim.Optimizer, masters: dict[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    """The optimizer's memory as named tensors: `NAME/exp_avg`, …; empty before the first step."""
    return {
        f"{name}/{key}": value.reshape(1) if value.ndim == 0 else value
        for name, master in masters.items()
        for key, value in optimizer.state.get(master, {}).items()
    }


def load_state(optimizer: torch.optim.Optimizer, masters: dict[str, nn.Parameter], tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of `state_tensors`."""
    for key, value in tensors.items():
        name, _, field = key.rpartition("/")
        optimizer.state[masters[name]][field] = value.reshape(()).clone() if field == "step" else value.clone()
