"""From rewards per token to advantages and returns. B rows of a chunk, R response tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewardlab.config import PPOConfig
from rewardlab.functional.gae import gae
from rewardlab.functional.masking import masked_variance, whiten
from rewardlab.training.rollout import Chunk


def estimate(chunks: Sequence[Chunk], rewards: Sequence[Tensor], config: PPOConfig) -> None:
    """Set advantages and returns of every chunk; advantages are whitened over the whole batch.

    Args:
        chunks: Micro-batches with values; advantages and returns are written here.
        rewards: Reward of each token, one tensor (B, R) per chunk.
        config: Discount, trace decay, whether advantages are whitened.
    """
    for chunk, reward in zip(chunks, rewards, strict=True):
        found = gae(reward, chunk.values, chunk.response_keep, gamma=config.gamma, trace=config.gae_lambda)
        chunk.advantages, chunk.returns = found.advantages, found.returns
    if config.whiten_advantages:
        white = whiten(_flat([c.advantages for c in chunks]), _flat([c.counts for c in chunks]))
        for chunk, flat in zip(chunks, torch.split(white, [c.counts.numel() for c in chunks]), strict=True):
            chunk.advantages = flat.view_as(chunk.counts)


def returns_deviation(chunks: Sequence[Chunk]) -> float:
    """Standard deviation of the returns over counted tokens; 1 when they do not vary."""
    counts = _flat([chunk.counts for chunk in chunks])
    if not bool(counts.any()):
        return 1.0
    return float(masked_variance(_flat([chunk.returns for chunk in chunks]), counts).sqrt()) or 1.0


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
