"""PPO's losses (Schulman et al. 2017), as sums over kept tokens divided by a count the caller gives.

The caller's count is the number of tokens of the whole minibatch, so that k micro-batches give the gradient of one
(PITFALLS row 23). B sequences, T response tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """The clipped objective.

    Attributes:
        loss: Scalar to minimise.
        ratio: Probability ratio new / old per token, detached. Shape (B, T); 1 where not kept.
        clipped: Number of tokens whose gradient the clip removed, a scalar tensor.
    """

    loss: Tensor
    ratio: Tensor
    clipped: Tensor


@dataclass(frozen=True, slots=True)
class ValueLoss:
    """The clipped squared error; ``clipped`` as in PolicyLoss."""

    loss: Tensor
    clipped: Tensor


def policy_loss(
    logprobs: Tensor, old: Tensor, advantages: Tensor, keep: Tensor, *, clip: float, count: Tensor | float
) -> PolicyLoss:
    """Clipped surrogate objective, negated.

    Args:
        logprobs: Log-probabilities under the current policy. Shape (B, T), nats.
        old: The same under the policy that sampled. Shape (B, T).
        advantages: Shape (B, T).
        keep: Shape (B, T).
        clip: Range of the ratio around 1.
        count: Kept tokens of the whole minibatch.
    Source:
        Schulman et al. 2017, eq. 7.
    """
    ratio = torch.where(keep, logprobs - old, 0.0).exp()
    free = ratio * advantages
    bounded = ratio.clamp(1 - clip, 1 + clip) * advantages
    loss = -(torch.minimum(free, bounded) * keep).sum() / count
    return PolicyLoss(loss, ratio.detach(), ((bounded < free) & keep).sum())


def value_loss(
    values: Tensor, old: Tensor, returns: Tensor, keep: Tensor, *, clip: float, count: Tensor | float
) -> ValueLoss:
    """Half the squared error, the larger of free and clipped prediction.

    Args:
        values: Current estimates. Shape (B, T).
        old: Estimates at sampling time. Shape (B, T).
        returns: Targets. Shape (B, T).
        keep: Shape (B, T).
        clip: How far ``values`` may move from ``old``, in the unit of returns (scale it by their deviation:
            PITFALLS row 16).
        count: Kept tokens of the whole minibatch.
    Source:
        PPO-NLU eq. 1 (squared TD error); clipping after Schulman et al. 2017's implementation.
    """
    bounded = values.clamp(old - clip, old + clip)  # inside the range it is ``values`` itself, not a rounding of it
    free_error = (values - returns).square()
    bounded_error = (bounded - returns).square()
    loss = 0.5 * (torch.maximum(free_error, bounded_error) * keep).sum() / count
    return ValueLoss(loss, ((bounded_error > free_error) & keep).sum())


def explained_variance(values: Tensor, returns: Tensor, keep: Tensor) -> float:
    """1 - Var(return - value) / Var(return) over kept tokens: 1 perfect, 0 no better than a constant.

    Returns nan-free: 0.0 when the returns do not vary.
    """
    target = returns[keep].double()
    error = (returns - values)[keep].double()
    if target.numel() < 2 or float(target.var()) == 0.0:
        return 0.0
    return 1.0 - float(error.var()) / float(target.var())
