"""How much likelier a model finds one verdict than the other. Imports torch.

B prompts of a batch, T tokens of the longest one, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewardlab.annotate.prompting import VERDICTS
from rewardlab.models.sampler import left_pad, right_pad
from rewardlab.models.trunk import Trunk

BATCH = 20
"""Prompts read together: both orders of five responses."""


@torch.inference_mode()
def verdict_margins(trunk: Trunk, prompts: Sequence[Sequence[int]]) -> list[float]:
    """Log-probability of the first verdict minus that of the second, nats, per prompt.

    Args:
        trunk: The bare model answers; no role is active.
        prompts: Token ids of the judge requests.
    """
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    margins: dict[int, float] = {}
    with trunk.roles.using(None):
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            margins.update(zip(rows, _margins(trunk, [prompts[row] for row in rows]).tolist(), strict=True))
    return [margins[row] for row in range(len(prompts))]


def _margins(trunk: Trunk, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Margins (B,): each prompt is read once, then both verdicts go on from its cache."""
    ids, keep = left_pad(prompts, trunk.codec.pad_id, trunk.device)
    state = trunk.prefill(ids, keep)
    state.cache.batch_repeat_interleave(2)
    keep = keep.repeat_interleave(2, 0)
    verdicts, counts = right_pad(
        [trunk.codec.response_ids(text, end=False) for text in VERDICTS], trunk.codec.pad_id, trunk.device
    )
    verdicts, counts = verdicts.repeat(len(prompts), 1), counts.repeat(len(prompts), 1)
    last, total = state.last.repeat_interleave(2, 0), torch.zeros(2 * len(prompts), device=trunk.device)
    for position in range(verdicts.shape[1]):
        token = verdicts[:, position]
        logs = torch.log_softmax(trunk.logits(last), -1).gather(1, token[:, None]).squeeze(1)
        total += torch.where(counts[:, position], logs, 0.0)
        if position + 1 < verdicts.shape[1]:
            keep = torch.cat([keep, keep.new_ones(len(keep), 1)], dim=1)
            last = trunk.extend(token, keep, state.cache)
    return total[0::2] - total[1::2]
