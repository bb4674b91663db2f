"""Advantages from the scores of several responses to one prompt. P prompts, G responses to each; float64 inside.

A response without a score is no part of its group's mean and deviation. Equality is exact: a group is even when its
scores are the same numbers, whatever rounding would make of their deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rewardlab.errors import ShapeError


@dataclass(frozen=True, slots=True)
class GroupAdvantages:
    """What the responses of each group are worth beside each other.

    Attributes:
        values: Advantage of each response. Shape (P, G), float64; 0 without a score and in even groups.
        is_even: True where all scores of a group are equal, or fewer than two responses have one. Shape (P,).
    """

    values: Tensor
    is_even: Tensor


def group_relative(scores: Tensor, is_scored: Tensor, *, scales: bool = True) -> GroupAdvantages:
    """(score - mean of its group) / deviation of its group: GRPO; without the division Dr. GRPO.

    Args:
        scores: Shape (P, G); anything where there is no score.
        is_scored: Shape (P, G), bool.
        scales: Divide by the sample deviation of the group's scores.
    Returns:
        ``values`` with mean 0 in each group, and sample deviation 1 where ``scales``.
    Raises:
        ShapeError: The shapes differ or are not two-dimensional.
    Source:
        Shao et al. 2024, section 4.1.1; without the division Liu et al. 2025, eq. 3.
    Example:
        >>> scores = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
        >>> group_relative(scores, scores >= 0).values.tolist()
        [[0.8660254037844387, -0.8660254037844387, 0.8660254037844387, -0.8660254037844387]]
    """
    exact, count, is_even = _checked(scores, is_scored)
    centred = _centred(exact, is_scored, count)
    if scales:
        centred = centred / (centred.square().sum(1, keepdim=True) / (count - 1)).sqrt()
    return GroupAdvantages(torch.where(is_even[:, None], 0.0, centred), is_even)


def leave_one_out(scores: Tensor, is_scored: Tensor) -> GroupAdvantages:
    """Score less the mean score of the other responses of its group: RLOO.

    Args:
        scores: Shape (P, G); anything where there is no score.
        is_scored: Shape (P, G), bool.
    Raises:
        ShapeError: The shapes differ or are not two-dimensional.
    Source:
        Ahmadian et al. 2024, eq. 8 (Kool et al. 2019).
    Example:
        >>> scores = torch.tensor([[4.0, 1.0, 1.0]])
        >>> leave_one_out(scores, scores > 0).values.tolist()
        [[3.0, -1.5, -1.5]]
    """
    exact, count, is_even = _checked(scores, is_scored)
    # score - (sum - score) / (n - 1) is n / (n - 1) times the distance from the mean, without large sums
    others = _centred(exact, is_scored, count) * count / (count - 1)
    return GroupAdvantages(torch.where(is_even[:, None], 0.0, others), is_even)


def centred_in_groups(values: Tensor, is_scored: Tensor) -> Tensor:
    """Values less the mean of their group; 0 where there is no score. Shape (P, G), float64."""
    exact, count, _ = _checked(values, is_scored)
    return _centred(exact, is_scored, count)


def returns_to_go(rewards: Tensor, keep: Tensor) -> Tensor:
    """Sum of the rewards of a token and all that follow it, without discount: REINFORCE's return.

    Args:
        rewards: Shape (B, T).
        keep: True at response tokens. Shape (B, T).
    Returns:
        Shape (B, T); 0 where not kept.
    Example:
        >>> returns_to_go(torch.tensor([[-1.0, 0.0, 3.0, 9.0]]), torch.tensor([[True, True, True, False]]))
        tensor([[2., 3., 3., 0.]])
    """
    return (rewards * keep).flip(1).cumsum(1).flip(1) * keep


def _checked(scores: Tensor, is_scored: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores in float64 with 0 where there is none, how many a group has (P, 1), and which groups are even (P,)."""
    if scores.shape != is_scored.shape or scores.dim() != 2:
        raise ShapeError(f"scores {tuple(scores.shape)}, is_scored {tuple(is_scored.shape)}: expected (P, G) twice")
    exact = torch.where(is_scored, scores.double(), 0.0)
    count = is_scored.sum(1, keepdim=True)
    largest = exact.masked_fill(~is_scored, -torch.inf).amax(1)
    smallest = exact.masked_fill(~is_scored, torch.inf).amin(1)
    return exact, count, (count.squeeze(1) < 2) | (largest == smallest)


def _centred(exact: Tensor, is_scored: Tensor, count: Tensor) -> Tensor:
    mean = exact.sum(1, keepdim=True) / count
    return torch.where(is_scored, exact - mean, 0.0)
