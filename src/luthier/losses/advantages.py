"""Advantages: how much better an answer, or a token of it, was than expected."""

import torch
from torch import Tensor


def generalized_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, discount: float, decay: float, after: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """GAE(γ, λ): Â_t = δ_t + γλ Â_{t+1}, δ_t = r_t + γ V_{t+1} - V_t. Schulman et al., 2015, https://arxiv.org/abs/1506.02438, eq. 16

    Args:
        rewards, values: (B, T). mask: (B, T) bool, True on answer tokens, which come first.
        after: (B,), V of what follows the last token, where an answer was cut off; 0 where it ended.
    Returns:
        advantages and returns (Â + V), both (B, T), 0 off the mask.
    """
    advantages = torch.zeros_like(values)
    last = mask.sum(1) - 1
    next_value = values.new_zeros(len(values)) if after is None else after
    value, advantage = next_value, torch.zeros_like(next_value)
    for t in reversed(range(values.shape[1])):
        inside = mask[:, t]
        at_end = last == t
        following = torch.where(at_end, next_value, value)
        delta = rewards[:, t] + discount * following - values[:, t]
        advantage = torch.where(inside, delta + discount * decay * torch.where(at_end, 0.0, advantage), 0.0)
        value = torch.where(inside, values[:, t], value)
        advantages[:, t] = advantage
    return advantages, torch.where(mask, advantages + values, 0.0)


def token_rewards(reward: Tensor, log_ratio: Tensor, price: float, lengths: list[int]) -> Tensor:
    """r_t = -β log (π_old / π_ref)(y_t), and at an answer's last token its reward besides. https://arxiv.org/abs/1909.08593, section 2.2

    Args:
        reward: (B,). log_ratio: (N,), by token. price: β. lengths: tokens of each of the B answers.
    Returns:
        (B, T), 0 behind the shorter ones.
    """
    rewards = padded(-price * log_ratio, lengths)
    rewards[torch.arange(len(lengths)), torch.tensor(lengths) - 1] += reward
    return rewards


def whitened(values: Tensor, shift: bool = True) -> Tensor:
    """Divided by their standard deviation, and, to `shift`, with mean 0; as they are where there are fewer than two, or all are equal."""
    if len(values) < 2 or not float(values.std()) > 0:
        return values - values.mean() if shift and len(values) else values
    scaled = (values - values.mean()) / (values.std() + 1e-8)
    return scaled if shift else scaled + values.mean()


def group_advantages(rewards: Tensor, scale: str) -> Tensor:
    """r - mean of the group, divided by the standard deviation of the group, of all, or by nothing.

    `group`: GRPO (https://arxiv.org/abs/2402.03300). `none`: Dr. GRPO (https://arxiv.org/abs/2503.20783), where a question that is too hard
    or too easy counts no more than others. `batch`: https://arxiv.org/abs/2501.03262.

    Args:
        rewards: (P, G), G answers to each of P prompts.
    Returns:
        (P, G).
    """
    centered = rewards - rewards.mean(1, keepdim=True)
    if scale == "none":
        return centered
    spread = rewards.std(1, keepdim=True) if scale == "group" else centered.std()
    return centered / (spread + 1e-4)


def padded(per_token: Tensor, lengths: list[int]) -> Tensor:
    """(N,), the tokens of B answers one after the other, as (B, longest), 0 behind the shorter ones."""
    return torch.nn.utils.rnn.pad_sequence(list(per_token.split(lengths)), batch_first=True)


def flattened(padded_tokens: Tensor, lengths: list[int]) -> Tensor:
    """The inverse of `padded`."""
    return torch.cat([row[:n] for row, n in zip(padded_tokens, lengths, strict=True)])


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(R - V) / Var(R): 1 where the critic foresees every return, 0 where it is no better than their mean. values, returns: (N,)."""
    if len(returns) < 2:
        return 0.0
    return float((1 - (returns - values).var() / returns.var()).nan_to_num(0.0, 0.0, 0.0))
