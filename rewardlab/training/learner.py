"""The update: epochs over minibatches of a rollout, one optimiser step of policy and critic per minibatch.

The losses stand in ``functional.ppo``. Several processes deal out the micro-batches and add up their gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from rewardlab import processes
from rewardlab.config import PPOConfig
from rewardlab.errors import TrainingError
from rewardlab.functional.ppo import policy_loss, value_loss
from rewardlab.models.sampler import row_key
from rewardlab.training.estimate import returns_deviation
from rewardlab.training.metrics import Averages
from rewardlab.training.rollout import POLICY, VALUE, Actor, Chunk
from rewardlab.training.schedule import make_optimizer, make_scheduler


class Learner:
    """Optimisers and schedules of policy and critic, and what is done with them.

    Args:
        actor: Policy and critic.
        config: Rates, clip ranges, epochs, minibatches.
        seed: Of the order of micro-batches.
        updates: Optimiser steps of the whole run, which the schedules end with.
        spent: Share of the run's budget that is spent, which the schedules follow instead; None without a budget.
    """

    def __init__(
        self, actor: Actor, config: PPOConfig, seed: int, updates: int, spent: Callable[[], float] | None = None
    ) -> None:
        self.actor, self.config, self.seed = actor, config, seed
        self.optimizers = {
            POLICY: make_optimizer(actor.trunk.roles.parameters(POLICY), config, config.lr),
            VALUE: make_optimizer(actor.critic_parameters, config, config.value_lr),
        }
        self.schedulers = {name: make_scheduler(one, config, updates, spent) for name, one in self.optimizers.items()}

    @property
    def updates(self) -> int:
        """Optimiser steps of the policy so far."""
        return self.schedulers[POLICY].last_epoch

    @property
    def lr(self) -> float:
        """The policy's learning rate in the next optimiser step."""
        return float(self.schedulers[POLICY].get_last_lr()[0])

    def update(self, chunks: Sequence[Chunk], step: int) -> Averages:
        """Epochs over minibatches of chunks; one optimiser step per minibatch."""
        averages = Averages()
        spread = returns_deviation(chunks)
        for epoch in range(self.config.ppo_epochs):
            for minibatch in self._minibatches(chunks, step, epoch):
                count = sum(int(chunk.counts.sum()) for chunk in minibatch)
                if count == 0:
                    continue
                for chunk in processes.share(minibatch):
                    self._backward(chunk, count, spread, averages)
                averages.add_norms({name: self._optimise(name) for name in self.optimizers})
        return Averages.of_all(processes.gather(averages))

    def _backward(self, chunk: Chunk, count: int, spread: float, averages: Averages) -> None:
        """Accumulate the gradient of one chunk's share of the minibatch loss."""
        needs_entropy = self.config.entropy_coef > 0
        now = self.actor.policy(chunk, with_entropy=needs_entropy)
        policy = policy_loss(
            now.logprobs, chunk.old, chunk.advantages, chunk.counts, clip=self.config.clip_ratio, count=count
        )
        loss = policy.loss
        if needs_entropy and now.entropies is not None:
            loss = loss - self.config.entropy_coef * (now.entropies * chunk.counts).sum() / count
        has_own_adapter = self.actor.critic == "adapter"
        if has_own_adapter:  # nothing is shared, so the policy's activations can go before the critic's are made
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        value = value_loss(
            self.actor.values(chunk, now.states),
            chunk.values,
            chunk.returns,
            chunk.counts,
            clip=self.config.value_clip * spread,
            count=count,
        )
        last = value.loss if has_own_adapter else loss + self.config.value_coef * value.loss
        last.backward()  # type: ignore[no-untyped-call]  # as above
        averages.add_losses(policy, value, chunk.counts)

    def _optimise(self, name: str) -> float:
        """Add up the processes' gradients, clip, step, schedule; returns the gradient norm before clipping."""
        optimizer = self.optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        processes.add_gradients(parameters)
        norm = float(nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm))
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient of {name} is not finite; lower ppo.lr or ppo.value_lr")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.schedulers[name].step()
        return norm

    def _minibatches(self, chunks: Sequence[Chunk], step: int, epoch: int) -> Iterator[list[Chunk]]:
        """Chunks dealt into minibatches in an order of their own for each step and epoch."""
        generator = torch.Generator().manual_seed(row_key(self.seed, step, epoch) % 2**31)
        order = torch.randperm(len(chunks), generator=generator).tolist()
        number = min(self.config.minibatches, len(chunks))
        for first in range(number):
            yield [chunks[index] for index in order[first::number]]
