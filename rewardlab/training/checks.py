"""What must hold before the first update and after the last, or the run is not valid and stops."""

from __future__ import annotations

import torch

from rewardlab import processes
from rewardlab.errors import TrainingError
from rewardlab.models.trunk import Trunk
from rewardlab.training.actor import POLICY, Actor
from rewardlab.training.rollout import Rollout

RATIO_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""How far the very first probability ratio may be from 1, by trunk dtype."""
SAMPLER_TOLERANCE = 1e-3
"""How far the ratio between the sampler's probabilities and those of a training pass may be from 1, in float32."""


def check_start(actor: Actor, rollout: Rollout) -> None:
    """Before the first update policy and reference are the same, and a recomputed ratio is 1."""
    tolerance = RATIO_TOLERANCE.get(actor.trunk.dtype, 5e-2)
    drift = max(float((c.old - c.reference).abs().max()) for c in rollout.chunks)
    again = actor.policy(rollout.chunks[0]).logprobs.detach()
    ratio = float((again - rollout.chunks[0].old).exp().sub(1).abs().max())
    if drift > tolerance or ratio > tolerance:
        raise TrainingError(
            f"before the first update the policy differs from its reference by {drift:.2g} nats and from itself "
            f"by a ratio of {ratio:.2g}; both must be 0. The trunk or its adapters are not what they should be"
        )


def check_sampler(rollout: Rollout) -> None:
    """The sampler's log-probabilities are those of a training pass, so that later steps may do without one."""
    drift = 0.0
    for chunk in rollout.chunks:
        for index, row in enumerate(chunk.rows):
            seen = rollout.samples[row].measured
            if seen is not None:
                old = chunk.old[index][chunk.response_keep[index]]
                drift = max(drift, float((seen.logprobs - old).exp().sub(1).abs().max()))
    if drift > SAMPLER_TOLERANCE:
        raise TrainingError(
            f"the sampler's probabilities differ from a training pass by a ratio of {drift:.2g}, limit "
            f"{SAMPLER_TOLERANCE}; give --set ppo.old_logprobs=recompute"
        )


def check_trunk(trunk: Trunk, sha256: str) -> None:
    """The frozen weights still have the hash they had before training."""
    if trunk.sha256() != sha256:
        raise TrainingError("the frozen trunk changed during training; the run is not valid")


def check_processes(trunk: Trunk) -> None:
    """All processes took the same steps from the same start, so their adapters are the same numbers."""
    sums = [float(p.detach().double().sum()) for p in trunk.roles.parameters(POLICY)]
    if any(other != sums for other in processes.gather(sums)):
        raise TrainingError("the processes' adapters differ after training; the run is not valid")
