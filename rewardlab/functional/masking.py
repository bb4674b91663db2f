"""Arithmetic over kept positions. ``keep`` is True where a position counts; B batch, T tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from rewardlab.errors import ShapeError


def positions_from_keep(keep: Tensor) -> Tensor:
    """Position of each token among the kept ones of its row, from 0; 0 at padding in front.

    >>> positions_from_keep(torch.tensor([[False, True, True]]))
    tensor([[0, 0, 1]])
    """
    return (keep.long().cumsum(1) - 1).clamp(min=0)


def masked_mean(values: Tensor, keep: Tensor) -> Tensor:
    """Mean over kept positions, a scalar.

    Raises:
        ShapeError: The shapes differ, or nothing is kept.
    """
    _check(values, keep)
    return (values * keep).sum() / keep.sum()


def masked_variance(values: Tensor, keep: Tensor) -> Tensor:
    """Unbiased variance over kept positions, a scalar; 0 for a single one. Raises as :func:`masked_mean` does."""
    centred = (values - masked_mean(values, keep)) * keep
    return centred.square().sum() / (keep.sum() - 1).clamp(min=1)


def whiten(values: Tensor, keep: Tensor, *, shift: bool = True, epsilon: float = 1e-8) -> Tensor:
    """Scale to variance 1 over kept positions, and shift to mean 0 unless told not to.

    Args:
        values: Shape (B, T).
        keep: Shape (B, T). With fewer than two kept positions the values come back unchanged.
        shift: False keeps the mean, which carries the sign of rewards (pitfall 13 of docs/ppo.md).
        epsilon: Added to the variance.
    Returns:
        Shape (B, T); 0 where not kept.
    Source:
        Schulman et al. 2017 implementation practice; mean and variance over ``keep`` alone (pitfall 12 of docs/ppo.md).
    """
    _check_shapes(values, keep)
    if int(keep.sum()) < 2:
        return values * keep
    mean = masked_mean(values, keep)
    scaled = (values - mean) * torch.rsqrt(masked_variance(values, keep) + epsilon)
    return (scaled if shift else scaled + mean) * keep


def _check(values: Tensor, keep: Tensor) -> None:
    _check_shapes(values, keep)
    if not bool(keep.any()):
        raise ShapeError("nothing is kept: every position of the mask is False")


def _check_shapes(values: Tensor, keep: Tensor) -> None:
    if values.shape != keep.shape:
        raise ShapeError(f"values have shape {tuple(values.shape)}, keep {tuple(keep.shape)}; they must be equal")
