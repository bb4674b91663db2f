"""What happens in which step: how many there are, batches in a seeded order, optimisers, learning-rate schedules."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from rewardlab import processes
from rewardlab.errors import ConfigError
from rewardlab.online_config import OnlineConfig
from rewardlab.preference_config import PreferenceConfig

T = TypeVar("T")
UNBOUNDED = 10**9
"""Steps at most, where a budget or a time is what ends training."""


def steps_of(config: OnlineConfig, prompts: int) -> int:
    """Most training steps of a run: as configured, as many as a budget allows, or one pass over the prompts."""
    if config.steps is not None:
        return config.steps
    return UNBOUNDED if is_limited(config) else math.ceil(prompts / config.prompts)


def is_limited(config: OnlineConfig) -> bool:
    """Whether tokens or seconds may end a run, so that its steps cannot be counted ahead."""
    return config.max_tokens is not None or config.max_seconds is not None


def micro_batch_of(config: OnlineConfig) -> int:
    """Responses per micro-batch: few enough that every process gets one of each minibatch.

    Raises:
        ConfigError: There are fewer prompts than processes.
    """
    if config.prompts < processes.count():
        raise ConfigError(
            f"{config.prompts} prompts a step (batch / samples): expected at least one for each of "
            f"{processes.count()} processes"
        )
    if processes.count() == 1:
        return config.micro_batch
    return min(config.micro_batch, max(1, config.batch // (config.minibatches * processes.count())))


def updates_of(config: OnlineConfig, steps: int, micro_batch: int) -> int:
    """Optimiser steps of a run, at least 1; a step has no more minibatches than micro-batches."""
    minibatches = min(config.minibatches, math.ceil(config.batch / micro_batch))
    return max(1, steps * config.ppo_epochs * minibatches)


def batch_of(examples: Sequence[T], step: int, batch: int, seed: int) -> list[T]:
    """The prompts or pairs of one step: every pass over them has an order of its own, and none is left out.

    A function of (seed, step) alone, so a resume needs no cursor.
    """
    taken = []
    for place in range(step * batch, (step + 1) * batch):
        epoch, offset = divmod(place, len(examples))
        taken.append(examples[_order(len(examples), epoch, seed)[offset]])
    return taken


@lru_cache(maxsize=1)
def _order(length: int, epoch: int, seed: int) -> list[int]:
    return random.Random(f"order {seed} {epoch}").sample(range(length), length)


def make_optimizer(parameters: Sequence[nn.Parameter], config: OnlineConfig, lr: float) -> torch.optim.Optimizer:
    """AdamW without weight decay, or Adafactor with a fixed learning rate (PPO-NLU section 5.1).

    torch's own Adafactor multiplies the rate by the weights' root mean square, at least 1e-3: LoRA's B and a
    critic's last layer start at 0 and would stay there (pitfall 27 of docs/ppo.md).
    """
    if config.optimizer == "adafactor":
        from transformers.optimization import Adafactor

        found: torch.optim.Optimizer = Adafactor(parameters, lr=lr, scale_parameter=False, relative_step=False)
        return found
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)


def make_scheduler(
    optimizer: torch.optim.Optimizer,
    config: OnlineConfig | PreferenceConfig,
    total: int,
    spent: Callable[[], float] | None = None,
) -> LambdaLR:
    """Linear warm-up over a share of all optimiser steps, then a cosine down to ``final_lr`` of the peak.

    Args:
        optimizer: What is scheduled.
        config: Its ``warmup`` and ``final_lr``.
        total: Optimiser steps in all.
        spent: Share of a budget that is spent; the rate then follows it, whatever the steps.
    """
    if spent is not None:
        return LambdaLR(optimizer, lambda done: factor_at(spent(), config.warmup, config.final_lr))
    warmup = math.ceil(config.warmup * total)

    def factor(done: int) -> float:
        if done < warmup:
            return (done + 1) / (warmup + 1)
        progress = min(1.0, (done - warmup) / max(1, total - warmup))
        return config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)


def factor_at(share: float, warmup: float, final: float) -> float:
    """Learning rate, as a share of its peak, when this share of the training is over; the warm-up begins at a tenth.

    >>> [round(factor_at(share, 0.2, 0.1), 3) for share in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.1, 0.5, 1.0, 0.55, 0.1]
    """
    if share < warmup:
        return max(0.1, share / warmup)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (min(1.0, share) - warmup) / (1 - warmup)))
