"""Estimators of KL divergence from log-probabilities of sampled tokens (Schulman 2020), and entropy. Unit: nats."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """log p - log q per token: unbiased, may be negative. Subtracted from a reward (pitfall 15 of docs/ppo.md)."""
    return logprobs - reference


def kl_k2(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Half the squared log-ratio per token: biased, never negative, and its gradient is KL's on-policy."""
    return 0.5 * (logprobs - reference).square()


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """(q/p - 1) - log(q/p) per token: unbiased and never negative; the one to log."""
    log_ratio = reference - logprobs
    return log_ratio.exp() - 1 - log_ratio


def kl_unbiased(logprobs: Tensor, old: Tensor, reference: Tensor) -> Tensor:
    """k3 times the probability ratio to the policy that sampled, per token: the one to add to a loss.

    Its mean over tokens that ``old`` drew is KL(policy || reference), and so is its gradient the KL's, on and off
    policy. k3 by itself in a loss descends another divergence (pitfall 15 of docs/ppo.md).

    Args:
        logprobs: Under the current policy, with gradient. Any shape, nats.
        old, reference: Under the policy that sampled and the reference; same shape.
    Returns:
        Same shape; 0 where all three agree.
    Source:
        DeepSeek-AI 2025 (DeepSeek-V3.2), section 3.1, "Unbiased KL Estimate".
    """
    return (logprobs - old).exp() * kl_k3(logprobs, reference)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the distribution over the last dimension; ln V for equal logits. Shape (..., V) -> (...)."""
    logprobs = torch.log_softmax(logits.float(), -1)
    return -(logprobs.exp() * logprobs).sum(-1)


def token_logprobs(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of each token, in float32.

    Args:
        logits: Shape (..., V).
        tokens: Shape (...), int64.
        temperature: The sampling temperature; every role must use the same (pitfall 4 of docs/ppo.md).
    Returns:
        Shape (...), nats.
    """
    scaled = logits.float() / temperature
    return scaled.gather(-1, tokens[..., None]).squeeze(-1) - scaled.logsumexp(-1)
