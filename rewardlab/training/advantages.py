"""From token rewards to what the update uses: one function for each way of estimating advantages.

Each takes a rollout, its shaped scores and the method's section, and returns one :class:`Target` for each chunk. B
rows of a chunk, R response tokens, P prompts, G responses to each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rewardlab.functional.gae import gae
from rewardlab.functional.groups import (
    GroupAdvantages,
    centred_in_groups,
    group_relative,
    leave_one_out,
    returns_to_go,
)
from rewardlab.functional.masking import masked_variance, whiten
from rewardlab.online_config import GroupConfig, GRPOConfig, PPOConfig, ReinforceConfig, RLOOConfig
from rewardlab.rewards.ledger import Shaped
from rewardlab.training.rollout import Rollout
from rewardlab.training.shaping import Shaping


@dataclass(frozen=True, slots=True)
class Target:
    """What the update uses of one chunk.

    Attributes:
        advantages: Shape (B, R).
        counts: True at the tokens that enter loss and averages. Shape (B, R).
        returns: What the critic is fitted to. Shape (B, R); None without a critic.
    """

    advantages: Tensor
    counts: Tensor
    returns: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Estimated:
    """The targets of a batch, one for each of its chunks, and what the estimator reports of them."""

    targets: Sequence[Target]
    metrics: Mapping[str, float] = field(default_factory=dict)


Estimator = Callable[[Rollout, Shaping, Any], Estimated]
"""Takes a rollout, its shaped scores, and the section of the method."""


def gae_targets(rollout: Rollout, shaping: Shaping, config: PPOConfig) -> Estimated:
    """PPO: generalised advantages from the critic's values, whitened over the whole batch."""
    estimates = []
    for chunk, reward in zip(rollout.chunks, shaping.rewards, strict=True):
        assert chunk.values is not None
        estimates.append(gae(reward, chunk.values, chunk.response_keep, gamma=config.gamma, trace=config.gae_lambda))
    advantages = [one.advantages for one in estimates]
    if config.whiten_advantages:
        advantages = _whitened(advantages, shaping.counts)
    returns = [one.returns for one in estimates]
    return Estimated([Target(*each) for each in zip(advantages, shaping.counts, returns, strict=True)])


def grpo_targets(rollout: Rollout, shaping: Shaping, config: GRPOConfig) -> Estimated:
    """GRPO and Dr. GRPO: scores centred, and scaled, within the responses to each prompt.

    The deviation is that of the scores; a KL penalty in the reward, centred in the group, is added after the division,
    so that nearly equal scores do not blow it up.
    """
    scores, is_scored = _group_scores(rollout, shaping.shaped)
    own = group_relative(scores, is_scored, scales=config.variant == "grpo")
    return _in_groups(own, centred_in_groups(_group_kls(rollout, shaping.shaped), is_scored), rollout, shaping, config)


def rloo_targets(rollout: Rollout, shaping: Shaping, config: RLOOConfig) -> Estimated:
    """RLOO: scores less the mean of the other responses to the prompt; nothing is whitened after it."""
    scores, is_scored = _group_scores(rollout, shaping.shaped)
    penalty = leave_one_out(_group_kls(rollout, shaping.shaped), is_scored).values
    return _in_groups(leave_one_out(scores, is_scored), penalty, rollout, shaping, config)


def reinforce_targets(rollout: Rollout, shaping: Shaping, config: ReinforceConfig) -> Estimated:
    """REINFORCE++: the return of each token, less its group's mean score if asked for, whitened over the batch."""
    returns = [returns_to_go(r, c) for r, c in zip(shaping.rewards, shaping.counts, strict=True)]
    metrics: dict[str, float] = {}
    if config.baseline == "group":
        scores, is_scored = _group_scores(rollout, shaping.shaped)
        baseline = (scores - centred_in_groups(scores, is_scored)).nan_to_num().flatten()
        returns = [
            (each - baseline[chunk.rows].to(each)[:, None]) * counts
            for each, chunk, counts in zip(returns, rollout.chunks, shaping.counts, strict=True)
        ]
        metrics = group_metrics(group_relative(scores, is_scored))
    whitened = _whitened(returns, shaping.counts)
    return Estimated([Target(*each) for each in zip(whitened, shaping.counts, strict=True)], metrics)


def group_metrics(found: GroupAdvantages) -> dict[str, float]:
    """Share of the groups that teach nothing by their scores."""
    return {"group/even_share": float(found.is_even.double().mean())}


def returns_deviation(targets: Sequence[Target]) -> float:
    """Standard deviation of the returns over counted tokens; 1 when they do not vary, or there are none."""
    counts = _flat([target.counts for target in targets])
    returns = [target.returns for target in targets if target.returns is not None]
    if not returns or not bool(counts.any()):
        return 1.0
    return float(masked_variance(_flat(returns), counts).sqrt()) or 1.0


def _group_scores(rollout: Rollout, shaped: Sequence[Shaped | None]) -> tuple[Tensor, Tensor]:
    """Used scores with their penalties (P, G), float64, nan without one, and where there is one; without the KL's."""
    scores = torch.tensor([math.nan if one is None else one.score + one.penalty for one in shaped], dtype=torch.float64)
    is_scored = torch.tensor([one is not None for one in shaped])
    return scores.view(-1, rollout.group), is_scored.view(-1, rollout.group)


def _group_kls(rollout: Rollout, shaped: Sequence[Shaped | None]) -> Tensor:
    """What the KL penalty in the reward took from each response (P, G), float64; 0 where the KL is in the loss."""
    kls = torch.tensor([math.nan if one is None else one.kl for one in shaped], dtype=torch.float64)
    return kls.view(-1, rollout.group)


def _in_groups(
    own: GroupAdvantages, penalty: Tensor, rollout: Rollout, shaping: Shaping, config: GroupConfig
) -> Estimated:
    """One advantage for all tokens of a response: that of its score, and its share of the KL penalty (P, G)."""
    values = (own.values + penalty).flatten()
    is_left_out = own.is_even[:, None].expand_as(own.values).flatten() & (config.even_groups == "leave")
    targets = []
    for chunk, counts in zip(rollout.chunks, shaping.counts, strict=True):
        stays = ~is_left_out[chunk.rows].to(counts.device)
        advantage = values[chunk.rows].to(device=counts.device, dtype=chunk.old.dtype)
        targets.append(Target(advantage[:, None] * counts, counts & stays[:, None]))
    return Estimated(targets, group_metrics(own))


def _whitened(values: Sequence[Tensor], counts: Sequence[Tensor]) -> list[Tensor]:
    """Values of all chunks with mean 0 and variance 1 over the counted tokens of the batch."""
    white = whiten(_flat(values), _flat(counts))
    pieces = torch.split(white, [each.numel() for each in counts])
    return [piece.view_as(each) for piece, each in zip(pieces, counts, strict=True)]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
