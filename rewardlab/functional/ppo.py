"""The clipped losses (Schulman et al. 2017), as weighted sums over tokens divided by a count the caller gives.

The caller's count is that of the whole minibatch, so that k micro-batches give the gradient of one
(:class:`Weighting`, pitfall 23 of docs/ppo.md). B sequences, T response tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST_LOG_RATIO = 20.0
"""Nats; a server that gives a token no probability at all must not make a mean infinite."""


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
    logprobs: Tensor,
    old: Tensor,
    advantages: Tensor,
    keep: Tensor,
    *,
    clip: float,
    count: Tensor | float,
    weights: Tensor | None = None,
    importance: Tensor | None = None,
) -> PolicyLoss:
    """Clipped surrogate objective, negated.

    Args:
        logprobs: Log-probabilities under the current policy. Shape (B, T), nats.
        old: The same under the policy that sampled. Shape (B, T).
        advantages: Shape (B, T).
        keep: Shape (B, T).
        clip: Range of the ratio around 1.
        count: What the sum is divided by: of a mean over tokens, the kept tokens of the whole minibatch.
        weights: Weight of each token, 0 where not kept. Shape (B, T); None is 1 for each kept one.
        importance: Factor of each token's loss where another program drew it (:func:`truncated_ratio`), no gradient.
            Shape (B, T); None is 1 everywhere.
    Source:
        Schulman et al. 2017, eq. 7.
    """
    ratio = torch.where(keep, logprobs - old, 0.0).exp()
    free = ratio * advantages
    bounded = ratio.clamp(1 - clip, 1 + clip) * advantages
    objective = torch.minimum(free, bounded)
    if importance is not None:
        objective = objective * importance
    loss = -(objective * (keep if weights is None else weights)).sum() / count
    return PolicyLoss(loss, ratio.detach(), ((bounded < free) & keep).sum())


def truncated_ratio(old: Tensor, drawn: Tensor, keep: Tensor, cap: float) -> Tensor:
    """Weight of tokens that another program drew: their probability here over that there, at most ``cap``.

    Args:
        old: Log-probabilities that this program computes of the sampling policy. Shape (B, T), nats.
        drawn: The same as computed by the program that drew the tokens. Shape (B, T), nats.
        keep: Shape (B, T).
        cap: Largest weight; infinity gives the ratio itself.
    Returns:
        Shape (B, T), without gradient; 1 where not kept, and 1 everywhere where the two agree. Without a cap its mean
        over tokens that ``drawn`` drew is 1.
    Source:
        Truncated importance sampling: Ionides 2008; for responses of an inference server: Yao et al. 2025.
    """
    difference = torch.where(keep, old - drawn, 0.0).detach().clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    return difference.exp().clamp(max=cap)


@dataclass(frozen=True, slots=True)
class Weighting:
    """How the tokens of a minibatch are weighed in a loss: ``sum(weight * token's loss) / count``.

    Attributes:
        weights: One tensor (B, T) per micro-batch; 0 where a token does not count.
        count: Of the whole minibatch.
    """

    weights: Sequence[Tensor]
    count: float


def mean_over_tokens(counts: Sequence[Tensor]) -> Weighting:
    """Every counted token of the minibatch weighs the same (pitfall 23 of docs/ppo.md)."""
    return Weighting(counts, sum(int(each.sum()) for each in counts))


def mean_over_responses(counts: Sequence[Tensor]) -> Weighting:
    """Every response weighs the same, and its tokens share its weight: the mean that GRPO was published with."""
    lengths = [each.sum(1, keepdim=True) for each in counts]
    weights = [each / length.clamp(min=1) for each, length in zip(counts, lengths, strict=True)]
    return Weighting(weights, sum(int((length > 0).sum()) for length in lengths))


def sum_over_constant(counts: Sequence[Tensor], longest: int) -> Weighting:
    """Tokens are summed and divided by the responses times one constant length (Liu et al. 2025, Dr. GRPO).

    Args:
        counts: True at tokens that count, one (B, T) per micro-batch.
        longest: The constant: the response budget, tokens.
    """
    return Weighting(counts, longest * sum(int(each.any(1).sum()) for each in counts))


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
            pitfall 16 of docs/ppo.md).
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
