"""The update: passes over minibatches of a rollout, one optimiser step of policy and critic per minibatch.

The losses stand in ``functional.ppo``. Several processes deal out the micro-batches and add up their gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rewardlab import processes
from rewardlab.errors import TrainingError
from rewardlab.functional.kl import kl_unbiased
from rewardlab.functional.ppo import (
    Weighting,
    mean_over_responses,
    mean_over_tokens,
    policy_loss,
    sum_over_constant,
    truncated_ratio,
    value_loss,
)
from rewardlab.models.sampler import row_key
from rewardlab.online_config import CriticConfig, GRPOConfig, OnlineConfig
from rewardlab.training.actor import POLICY, VALUE, Actor, PolicyOutput
from rewardlab.training.advantages import Target, returns_deviation
from rewardlab.training.metrics import Averages
from rewardlab.training.rollout import SampledChunk
from rewardlab.training.schedule import make_optimizer, make_scheduler

if TYPE_CHECKING:
    from rewardlab.training.gold_answers import GoldAnswers

Piece = tuple[SampledChunk, Target]
"""A micro-batch and what the update uses of it."""


class Learner:
    """Optimisers and schedules of policy and critic, and what is done with them.

    Args:
        actor: Policy and critic.
        config: Rates, clip ranges, passes, minibatches.
        seed: Of the order of micro-batches.
        updates: Optimiser steps of the whole run, which the schedules end with.
        longest: Response budget in tokens, what Dr. GRPO divides by.
        spent: Share of the run's budget that is spent, which the schedules follow instead; None without a budget.
        gold: Adds the SFT loss to each optimiser step; None where there is none.
        cap: Largest weight of a token that a server drew.
    Attributes:
        rows_back: Sequences that a backward pass went through, by this process.
    """

    def __init__(
        self,
        actor: Actor,
        config: OnlineConfig,
        seed: int,
        updates: int,
        longest: int,
        spent: Callable[[], float] | None = None,
        gold: GoldAnswers | None = None,
        *,
        cap: float = math.inf,
    ) -> None:
        self.gold, self.cap = gold, cap
        self.actor, self.config, self.seed, self.longest = actor, config, seed, longest
        self.rows_back = 0
        rates = {POLICY: config.lr, VALUE: config.value_lr if isinstance(config, CriticConfig) else config.lr}
        self.optimizers = {
            name: make_optimizer(parameters, config, rates[name]) for name, parameters in actor.parameters().items()
        }
        self.schedulers = {name: make_scheduler(one, config, updates, spent) for name, one in self.optimizers.items()}

    @property
    def updates(self) -> int:
        """Optimiser steps of the policy so far."""
        return self.schedulers[POLICY].last_epoch

    @property
    def lr(self) -> float:
        """The policy's learning rate in the next optimiser step."""
        (rate,) = self.schedulers[POLICY].get_last_lr()
        return float(rate)

    def update(self, chunks: Sequence[SampledChunk], targets: Sequence[Target], step: int, kl_coef: float) -> Averages:
        """Passes over minibatches of chunks; one optimiser step per minibatch.

        Args:
            chunks, targets: The rollout, and what is made of it.
            step: Training step, for the order of minibatches.
            kl_coef: Beta of the KL in the loss; 0 where it is in the reward.
        """
        averages = Averages()
        spread = returns_deviation(targets)
        for epoch in range(self.config.ppo_epochs):
            for minibatch in self._minibatches(list(zip(chunks, targets, strict=True)), step, epoch):
                counts = [target.counts for _, target in minibatch]
                weighting, tokens = self._weighting(counts), sum(int(each.sum()) for each in counts)
                if tokens == 0:
                    continue
                for (chunk, target), weights in processes.share(list(zip(minibatch, weighting.weights, strict=True))):
                    now, loss = self._policy_loss(chunk, target, weights, weighting.count, kl_coef, averages)
                    if isinstance(self.config, CriticConfig):
                        self._backward_with_critic(loss, now.states, chunk, target, spread, tokens, averages)
                    else:
                        _backward(loss)
                if self.gold is not None:
                    loss_of_gold, read = self.gold.backward(self.updates)
                    averages.add_sft(loss_of_gold)
                    self.rows_back += read
                averages.add_norms({name: self._optimise(name) for name in self.optimizers})
        return Averages.of_all(processes.gather(averages))

    def _weighting(self, counts: Sequence[Tensor]) -> Weighting:
        """How the tokens of a minibatch are weighed in the policy's loss."""
        if isinstance(self.config, GRPOConfig) and self.config.variant == "dr_grpo":
            return sum_over_constant(counts, self.longest)
        return mean_over_tokens(counts) if self.config.loss_mean == "token" else mean_over_responses(counts)

    def _policy_loss(
        self, chunk: SampledChunk, target: Target, weights: Tensor, count: float, kl_coef: float, averages: Averages
    ) -> tuple[PolicyOutput, Tensor]:
        """The policy on one chunk, and its share of the minibatch loss."""
        now = self.actor.policy(chunk, with_entropy=self.config.entropy_coef > 0)
        clipped = policy_loss(
            now.logprobs,
            chunk.old,
            target.advantages,
            target.counts,
            clip=self.config.clip_ratio,
            count=count,
            weights=weights,
            importance=self._importance(chunk),
        )
        averages.add_policy(clipped, target.counts)
        self.rows_back += len(chunk.rows)
        loss = clipped.loss
        if now.entropies is not None:
            loss = loss - self.config.entropy_coef * (now.entropies * weights).sum() / count
        if kl_coef > 0:
            divergence = (kl_unbiased(now.logprobs, chunk.old, chunk.reference) * weights).sum() / count
            loss = loss + kl_coef * divergence
            averages.add_kl(divergence)
        return now, loss

    def _importance(self, chunk: SampledChunk) -> Tensor | None:
        """Weights of tokens that a server drew; None where they were drawn here."""
        if chunk.drawn is None:
            return None
        return truncated_ratio(chunk.old, chunk.drawn, chunk.response_keep, self.cap)

    def _backward_with_critic(
        self,
        loss: Tensor,
        states: Tensor,
        chunk: SampledChunk,
        target: Target,
        spread: float,
        tokens: int,
        averages: Averages,
    ) -> None:
        """Accumulate the gradients of policy and critic; the critic's loss is a mean over tokens."""
        assert isinstance(self.config, CriticConfig)
        assert chunk.values is not None
        assert target.returns is not None
        has_own_adapter = self.actor.critic == "adapter"
        self.rows_back += has_own_adapter * len(chunk.rows)
        if has_own_adapter:  # nothing is shared, so the policy's activations can go before the critic's are made
            _backward(loss)
        value = value_loss(
            self.actor.values(chunk, states),
            chunk.values,
            target.returns,
            target.counts,
            clip=self.config.value_clip * spread,
            count=tokens,
        )
        averages.add_value(value)
        _backward(value.loss if has_own_adapter else loss + self.config.value_coef * value.loss)

    def _optimise(self, name: str) -> float:
        """Add up the processes' gradients, clip, step, schedule; returns the gradient norm before clipping."""
        optimizer = self.optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        processes.add_gradients(parameters)
        norm = float(nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm))
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient of {name} is not finite; lower its learning rate")
        optimizer.step()
        optimizer.zero_grad()
        self.schedulers[name].step()
        return norm

    def _minibatches(self, pieces: Sequence[Piece], step: int, epoch: int) -> Iterator[list[Piece]]:
        """Micro-batches dealt into minibatches in an order of their own for each step and epoch."""
        generator = torch.Generator().manual_seed(row_key(self.seed, step, epoch) % 2**31)
        order = torch.randperm(len(pieces), generator=generator).tolist()
        number = min(self.config.minibatches, len(pieces))
        for first in range(number):
            yield [pieces[index] for index in order[first::number]]

    def state(self) -> dict[str, Any]:
        """Optimisers and schedules, for a checkpoint."""
        return {
            "optimizers": {name: one.state_dict() for name, one in self.optimizers.items()},
            "schedulers": {name: one.state_dict() for name, one in self.schedulers.items()},
            "rows_back": self.rows_back,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, scheduler in self.schedulers.items():
            scheduler.load_state_dict(state["schedulers"][name])
        self.rows_back = state["rows_back"]


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
