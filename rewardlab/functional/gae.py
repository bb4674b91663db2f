"""Generalised advantage estimation (Schulman et al. 2016). B sequences, T response tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rewardlab.errors import ShapeError


@dataclass(frozen=True, slots=True)
class Estimate:
    """Advantages and the returns the critic is fitted to. Both (B, T), 0 where not kept."""

    advantages: Tensor
    returns: Tensor


def gae(rewards: Tensor, values: Tensor, keep: Tensor, *, gamma: float = 1.0, trace: float = 0.95) -> Estimate:
    """Advantages by exponentially weighted temporal differences; the value after the last kept token is 0.

    Args:
        rewards: Reward received at each token. Shape (B, T).
        values: Critic's estimate before each token. Shape (B, T).
        keep: True at response tokens, each row a run of True from the left. Shape (B, T).
        gamma: Discount per token.
        trace: Lambda; 1 gives return minus value, 0 the one-step TD error.
    Raises:
        ShapeError: The three shapes differ.
    Source:
        Schulman et al. 2016, eq. 16.
    """
    if not rewards.shape == values.shape == keep.shape:
        raise ShapeError(f"rewards {tuple(rewards.shape)}, values {tuple(values.shape)}, keep {tuple(keep.shape)}")
    mask = keep.to(rewards.dtype)
    advantages = torch.zeros_like(rewards)
    carried = rewards.new_zeros(len(rewards))
    following = rewards.new_zeros(len(rewards))
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * following - values[:, t]
        carried = (delta + gamma * trace * carried) * mask[:, t]
        following = values[:, t] * mask[:, t]
        advantages[:, t] = carried
    return Estimate(advantages, (advantages + values) * mask)
