"""The loss on answers alone: logits where a labelled token is predicted, and nowhere else. B rows, T tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rewardlab.models import Trunk
from rewardlab.models.sampler import right_pad

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


def answer_nll(trunk: Trunk, rows: Sequence[tuple[list[int], list[int]]]) -> Tensor:
    """Sum of the negative log-likelihoods of all response tokens of (prompt, response), nats, under the active role."""
    ids, keep = right_pad([prompt + response for prompt, response in rows], trunk.codec.pad_id, trunk.device)
    labels = torch.full_like(ids, IGNORED)
    for number, (prompt, response) in enumerate(rows):
        labels[number, len(prompt) : len(prompt) + len(response)] = torch.tensor(response, device=trunk.device)
    answers = answer_logits(trunk, ids, keep, labels)
    return torch.nn.functional.cross_entropy(answers.logits, answers.tokens, reduction="sum")


def wrapped_answer_logits(model: Any, ids: Tensor, keep: Tensor, labels: Tensor) -> AnswerLogits:
    """The same from the whole model as FSDP or DeepSpeed wrap it: its parts cannot be called alone."""
    logits, targets = model(input_ids=ids, attention_mask=keep, use_cache=False).logits[:, :-1], labels[:, 1:]
    predicts = targets != IGNORED
    return AnswerLogits(logits[predicts].float(), targets[predicts])


def answer_logits(trunk: Trunk, ids: Tensor, keep: Tensor, labels: Tensor) -> AnswerLogits:
    """Logits at the positions that predict a labelled token, under the active role; all inputs (B, T)."""
    states = trunk.backbone(ids, attention_mask=keep, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    predicts = targets != IGNORED
    return AnswerLogits(trunk.logits(states[predicts]), targets[predicts])
