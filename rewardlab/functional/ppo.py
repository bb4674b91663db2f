"""The clipped losses (Schulman et al. 2017), as weighted sums over tokens divided by a count the caller gives.

The caller's count is that of the whole minibatch, so that k micro-batches give the gradient of one (PITFALLS row 23):
:class:`Weighting`. B sequences, T response tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    logprobs: Tensor,
    old: Tensor,
    advantages: Tensor,
    keep: Tensor,
    *,
    clip: float,
    count: Tensor | float,
    weights: Tensor | None = None,
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
    Source:
        Schulman et al. 2017, eq. 7.
    """
    ratio = torch.where(keep, logprobs - old, 0.0).exp()
    free = ratio * advantages
    bounded = ratio.clamp(1 - clip, 1 + clip) * advantages
    loss = -(torch.minimum(free, bounded) * (keep if weights is None else weights)).sum() / count
    return PolicyLoss(loss, ratio.detach(), ((bounded < free) & keep).sum())


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
    """Every counted token of the minibatch weighs the same (PITFALLS row 23)."""
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
