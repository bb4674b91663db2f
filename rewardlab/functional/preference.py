"""The Bradley-Terry preference loss."""

from __future__ import annotations

import torch
from torch import Tensor

from rewardlab.errors import ShapeError


def preference_loss(chosen: Tensor, rejected: Tensor, margin: float = 0.0) -> Tensor:
    """Mean negative log-likelihood that each chosen response beats its rejected one.

    Args:
        chosen: Reward of the preferred response. Shape (pairs,), logits.
        rejected: Reward of the other response. Shape (pairs,), logits.
        margin: Gap each pair should reach, logits; 0 is plain Bradley-Terry.
    Returns:
        Scalar, nats. A scorer that cannot tell the two apart gets ln 2 = 0.693.
    Raises:
        ShapeError: No pairs, or ``chosen`` and ``rejected`` differ in shape.
    Source:
        Bradley & Terry 1952; RLLR eq. 3; margin from Touvron et al. 2023 (Llama 2), eq. 2.
    Example:
        >>> round(preference_loss(torch.tensor([2.0]), torch.tensor([0.0])).item(), 4)
        0.1269
    """
    if chosen.shape != rejected.shape or chosen.numel() == 0:
        raise ShapeError(f"chosen {tuple(chosen.shape)} and rejected {tuple(rejected.shape)} must be equal, not empty")
    return -torch.nn.functional.logsigmoid(chosen - rejected - margin).mean()
