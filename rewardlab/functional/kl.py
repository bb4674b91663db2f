"""Estimators of KL divergence from log-probabilities of sampled tokens (Schulman 2020), and entropy. Unit: nats."""

from __future__ import annotations

import torch
from torch import Tensor


def kl_k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """log p - log q per token: unbiased, may be negative. The one to subtract from a reward (PITFALLS row 15)."""
    return logprobs - reference


def kl_k2(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Half the squared log-ratio per token: biased, never negative, and its gradient is KL's on-policy."""
    return 0.5 * (logprobs - reference).square()


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """(q/p - 1) - log(q/p) per token: unbiased and never negative; the one to log."""
    log_ratio = reference - logprobs
    return log_ratio.exp() - 1 - log_ratio


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the distribution over the last dimension; ln V for equal logits. Shape (..., V) -> (...)."""
    logprobs = torch.log_softmax(logits.float(), -1)
    return -(logprobs.exp() * logprobs).sum(-1)


def token_logprobs(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of each token, in float32.

    Args:
        logits: Shape (..., V).
        tokens: Shape (...), int64.
        temperature: The sampling temperature; every role must use the same (PITFALLS row 4).
    Returns:
        Shape (...), nats.
    """
    scaled = logits.float() / temperature
    return scaled.gather(-1, tokens[..., None]).squeeze(-1) - scaled.logsumexp(-1)
