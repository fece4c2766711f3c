"""Arithmetic of a training step, from shapes alone."""

from torch import nn

from luthier.adapters.low_rank import is_linear
from luthier.models.forward import Root


def step_flops(root: Root, trainable: dict[str, nn.Parameter], num_tokens: int, num_scored: int) -> float:
    """Floating-point operations of the matrix products that one step needs: forward, the gradient of the inputs, and of what learns.

    Attention's own products are left out (they depend on lengths, and are small for short rows); the head counts where it is read.
    """
    learning = {id(p) for p in trainable.values()}
    head = root.output
    body = frozen = 0
    for module in root.model.modules():
        if module is not head and is_linear(module):
            weight = module.get_parameter("weight")
            body += weight.numel()
            frozen += weight.numel() if id(weight) not in learning else 0
    low_rank = sum(p.numel() for name, p in trainable.items() if ".lora_" in name)
    head_weight = head.get_parameter("weight")
    head_size, head_learns = head_weight.numel(), id(head_weight) in learning
    per_token = 2 * body * 2 + 2 * (body - frozen) + 2 * low_rank * 3
    per_scored = 2 * head_size * (3 if head_learns else 2)
    return float(per_token * num_tokens + per_scored * num_scored)
