"""Who plays policy and critic: the roles that PPO adds to the trunk, and where the critic starts."""

from __future__ import annotations

from pathlib import Path

import torch

from rewardlab.config import RunConfig
from rewardlab.errors import TrainingError
from rewardlab.models.heads import ScalarHead
from rewardlab.models.trunk import Trunk
from rewardlab.training.rollout import POLICY, VALUE, Actor


def cast(
    trunk: Trunk,
    config: RunConfig,
    value_start: Path | None = None,
    value_scale: float = 1.0,
    value_mean: float = 0.0,
) -> Actor:
    """Add policy and critic to the trunk.

    Args:
        trunk: Gets the role ``policy``, and ``value`` for an adapter critic.
        config: Adapters, kind of critic, temperature, seed of the adapters' start.
        value_start: Folder of the reward model an adapter critic starts from; None starts it at zero.
        value_scale, value_mean: The started critic says (its reward model - mean) / scale.
    Raises:
        TrainingError: What lies in ``value_start`` has no scalar head.
    """
    torch.manual_seed(config.seed)  # adapters' A matrices
    trunk.roles.add(POLICY, config.lora)
    temperature = config.ppo.temperature
    if config.ppo.value == "head":
        return Actor(trunk, "head", temperature, ScalarHead(trunk.width, "mlp").to(trunk.device))
    if value_start is None:
        trunk.roles.add(VALUE, config.lora, head=ScalarHead(trunk.width))
    else:
        _rescale(trunk.roles.load(VALUE, value_start, is_trainable=True).head, value_scale, value_mean)
    return Actor(trunk, "adapter", temperature)


def _rescale(head: ScalarHead | None, scale: float, mean: float) -> None:
    if head is None:
        raise TrainingError("the critic's start has no scalar head; expected a reward model")
    with torch.no_grad():
        head.out.weight.div_(scale)
        head.out.bias.sub_(mean).div_(scale)
