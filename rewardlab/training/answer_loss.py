"""The loss on answers alone: logits where a labelled token is predicted, and nowhere else. B rows, T tokens."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rewardlab.models import Trunk

IGNORED = -100
"""Label of a position without loss; torch's and TRL's convention."""


def takes_own_loss(trunk: Trunk) -> bool:
    """Whether SFT works the loss out from :func:`answer_logits`, not in TRL's fused output layer."""
    return trunk.device.type != "cuda" or not trunk.head.is_plain


@dataclass(frozen=True, slots=True)
class AnswerLogits:
    """Logits (N, V), float32, and the tokens (N,) they should predict; N answer tokens."""

    logits: Tensor
    tokens: Tensor


def answer_logits(trunk: Trunk, ids: Tensor, keep: Tensor, labels: Tensor) -> AnswerLogits:
    """Logits at the positions that predict a labelled token, under the active role; all inputs (B, T)."""
    states = trunk.backbone(ids, attention_mask=keep, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    predicts = targets != IGNORED
    return AnswerLogits(trunk.logits(states[predicts]), targets[predicts])
