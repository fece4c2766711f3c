"""Arithmetic of a training step, from shapes alone."""

from collections.abc import Iterator

from torch import nn

from luthier.adapters.low_rank import is_linear
from luthier.models.forward import Root

NUM_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""What configs call the number of a layer's experts."""

CHOSEN_EXPERTS = ("num_experts_per_tok", "top_k_experts", "moe_topk", "moe_top_k")
"""What they call the number that computes each token."""


def step_flops(root: Root, trainable: dict[str, nn.Parameter], num_tokens: float, num_scored: float) -> float:
    """Floating-point operations of the matrix products that one step needs: forward, the gradient of the inputs, and of what learns.

    Attention's own products are left out (they depend on lengths, and are small for short rows); the head counts where it is read, and of
    experts those that a token is given to.
    """
    learning = {id(p) for p in trainable.values()}
    body = sum(2 * size * (3 if id(weight) in learning else 2) for weight, size in _body(root))
    low_rank = sum(p.numel() for name, p in trainable.items() if ".lora_" in name)
    head = root.output.get_parameter("weight")
    per_scored = 2 * head.numel() * (3 if id(head) in learning else 2)
    return float((body + 2 * low_rank * 3) * num_tokens + per_scored * num_scored)


def forward_flops(root: Root, num_tokens: float, num_scored: float) -> float:
    """The same of a forward without gradient."""
    body = sum(2 * size for _, size in _body(root))
    return float(body * num_tokens + 2 * root.output.get_parameter("weight").numel() * num_scored)


def _body(root: Root) -> Iterator[tuple[nn.Parameter, float]]:
    """Weights of the layers that multiply matrices, the head left out, and how much of each a token is multiplied with."""
    for module in root.model.modules():
        if module is not root.output and is_linear(module):
            weight = module.get_parameter("weight")
            yield weight, weight.numel()
    text = root.model.config.get_text_config()
    numbers = {getattr(text, name, None) for name in NUM_EXPERTS} - {None}
    chosen = next((value for name in CHOSEN_EXPERTS if (value := getattr(text, name, None))), 1)
    for weight in root.model.parameters():
        if weight.ndim == 3 and weight.shape[0] in numbers:
            yield weight, weight.numel() * chosen / weight.shape[0]
