"""The PPO trainer: one step is roll out, score, shape, estimate, update, record.

What the formulas are stands in ``functional``; how responses are drawn in ``models.sampler``; what a response is
worth in ``rewards``. Here is the order of operations, and the state that lives between steps.

Several processes (``accelerate launch``) deal out what is expensive: sampling, scoring, measuring, gradients. Each of
them knows the whole batch, so that everything between is the same arithmetic as in one process.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardlab import processes
from rewardlab.config import PPOConfig, RunConfig
from rewardlab.errors import ConfigError, TrainingError
from rewardlab.functional.gae import gae
from rewardlab.functional.masking import masked_variance, whiten
from rewardlab.functional.ppo import policy_loss, value_loss
from rewardlab.models.heads import ScalarHead
from rewardlab.models.sampler import SamplingConfig, row_key
from rewardlab.models.trunk import Trunk
from rewardlab.rewards.ledger import Ledger, Shaped, summary
from rewardlab.tasks.task import STOP_STRINGS
from rewardlab.training import checkpoint
from rewardlab.training.budget import Budget, PromptsRead
from rewardlab.training.clock import Clock
from rewardlab.training.metrics import Averages, rollout_metrics
from rewardlab.training.progress import Recorder, recording
from rewardlab.training.rollout import POLICY, VALUE, Actor, Chunk, Rollout, roll_out
from rewardlab.training.schedule import batch_of, make_optimizer, make_scheduler
from rewardlab.training.shaping import KLController, ScoreScale, shape
from rewardlab.training.watch import Watch
from rewardlab.types import Example, Reward, Score

logger = logging.getLogger(__name__)

RATIO_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""How far the very first probability ratio may be from 1, by trunk dtype."""
SAMPLER_TOLERANCE = 1e-3
"""How far the ratio between the sampler's probabilities and those of a training pass may be from 1, in float32."""


@dataclass(frozen=True, slots=True)
class PPOResult:
    """Outcome of training.

    Attributes:
        steps: PPO steps taken.
        updates: Optimiser steps of the policy.
        tokens: Response tokens generated.
        device_seconds: Seconds of these steps, over all devices.
        read: The prompts of these steps.
        trunk_sha256: Hash of the frozen weights, equal before and after.
    """

    steps: int
    updates: int
    tokens: int
    device_seconds: float
    read: PromptsRead
    trunk_sha256: str

    def to_json(self) -> dict[str, Any]:
        """As result.json stores it."""
        own = {name: getattr(self, name) for name in ("steps", "updates", "tokens", "trunk_sha256")}
        return {**own, "device_seconds": round(self.device_seconds, 2), **self.read.to_json()}


class PPOTrainer:
    """PPO with LoRA roles on one trunk.

    Args:
        trunk: The SFT-merged (or base) model; gets the role ``policy``, and ``value`` for an adapter critic.
        reward: What is maximised.
        examples: The prompts, of one task or several.
        config: The whole run's configuration.
        recorder: Where metrics go.
        ledger: Where every response's reward is written down.
        folder: Where checkpoints go.
        value_start: Folder of the reward model the critic starts from; None starts it at zero.
        value_scale: Divides the started critic's output, so that it speaks the unit of normalised scores.
        lam: Lambda on the raw scale, for its saturation share.
    """

    def __init__(
        self,
        trunk: Trunk,
        reward: Reward,
        examples: Sequence[Example],
        config: RunConfig,
        recorder: Recorder,
        ledger: Ledger,
        folder: Path,
        *,
        value_start: Path | None = None,
        value_scale: float = 1.0,
        lam: float | None = None,
    ) -> None:
        self.trunk, self.reward, self.examples = trunk, reward, list(examples)
        trunk.is_checkpointed = config.ppo.gradient_checkpointing
        self.run_config, self.config = config, config.ppo
        self.recorder, self.ledger, self.folder, self.lam = recorder, ledger, folder, lam
        if not self.examples:
            raise TrainingError("PPO has no prompts; raise data.prompts or give a task with more rows")
        torch.manual_seed(config.seed)  # adapters' A matrices
        self.actor = self._cast(value_start, value_scale)
        self.steps = config.ppo.steps if config.ppo.steps is not None else self._one_pass()
        self.scale, self.kl, self.watch = ScoreScale(), KLController(config.ppo), Watch()
        self.budget = Budget(config.ppo)
        self.sampling = SamplingConfig(
            config.new_tokens, config.ppo.temperature, STOP_STRINGS[config.format], config.eval.batch
        )
        self.micro_batch = _micro_batch(config.ppo)
        chunks = math.ceil(config.ppo.batch / self.micro_batch)
        total = max(1, self.steps * config.ppo.ppo_epochs * min(config.ppo.minibatches, chunks))
        self.optimizers = {
            name: make_optimizer(parameters, self.config, lr)
            for name, parameters, lr in (
                (POLICY, trunk.roles.parameters(POLICY), self.config.lr),
                (VALUE, self._value_parameters(), self.config.value_lr),
            )
        }
        self.schedulers = {n: make_scheduler(o, self.config, total) for n, o in self.optimizers.items()}
        self.trunk_sha256 = trunk.sha256()

    def train(self) -> PPOResult:
        """Run all steps or until the budget is spent, from the newest checkpoint; store the policy in ``adapter/``.

        Checkpoints are left for whoever marks the run as done (:meth:`rewardlab.runs.RunFolder.finish`): until then
        the process may be killed.
        """
        taken = first = self._resume()
        with recording(self.recorder, "ppo", self.steps, first):
            for step in range(first, self.steps):
                if self.budget.is_spent:
                    break
                self.step(step)
                taken = step + 1
                if (step + 1) % self.config.checkpoint_every == 0:
                    checkpoint.save(self, step + 1)
        self._check_trunk()
        self._check_processes()
        self.trunk.roles.save(POLICY, self.folder / "adapter")
        return self._result(taken)

    def step(self, step: int) -> None:
        """One PPO step."""
        clock = Clock(self.trunk.device)
        batch = batch_of(self.examples, step, self.config.batch, self.run_config.seed)
        key = (self.run_config.seed, step)
        sampling = replace(self.sampling, is_measured=self._may_trust_sampler)
        rollout = roll_out(self.actor, batch, sampling, self.micro_batch, key, clock, trusts_sampler=step > 0)
        with clock.phase("score"):
            scores = self._score(rollout)
        shaped, rewards = shape([score.score for score in scores], rollout, self.config, self.scale, self.kl.coef)
        self._estimate(rollout.chunks, rewards)
        if step == 0:
            self._check_start(rollout)
            self._check_sampler(rollout)
        with clock.phase("update"):
            losses = self._update(rollout.chunks, step)
        self.budget.spend(sum(len(sample.ids) for sample in rollout.samples), sum(clock.seconds.values()))
        self._record(step, rollout, scores, shaped, losses, clock.seconds)

    def _score(self, rollout: Rollout) -> list[Score]:
        own = self.reward(processes.share(rollout.examples), processes.share(rollout.responses))
        scores = processes.collect(own, len(rollout.samples))
        failed = sum(not score.is_scored for score in scores)
        if failed > self.config.max_unscored * len(scores):
            reason = next(score.reason for score in scores if not score.is_scored)
            raise TrainingError(
                f"reward {self.reward.name!r} could not judge {failed} of {len(scores)} responses "
                f"(ppo.max_unscored = {self.config.max_unscored}); the first reason: {reason}"
            )
        return scores

    def _estimate(self, chunks: Sequence[Chunk], rewards: Sequence[Tensor]) -> None:
        """Advantages and returns per chunk; advantages whitened over the whole batch."""
        for chunk, reward in zip(chunks, rewards, strict=True):
            keep = chunk.response_keep
            estimate = gae(reward, chunk.values, keep, gamma=self.config.gamma, trace=self.config.gae_lambda)
            chunk.advantages, chunk.returns = estimate.advantages, estimate.returns
        if self.config.whiten_advantages:
            counts = torch.cat([chunk.counts.flatten() for chunk in chunks])
            white = whiten(torch.cat([chunk.advantages.flatten() for chunk in chunks]), counts)
            for chunk, flat in zip(chunks, torch.split(white, [chunk.counts.numel() for chunk in chunks]), strict=True):
                chunk.advantages = flat.view_as(chunk.counts)

    def _update(self, chunks: Sequence[Chunk], step: int) -> Averages:
        """Epochs over minibatches of chunks; one optimiser step per minibatch."""
        averages = Averages()
        spread = _returns_deviation(chunks)
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
        generator = torch.Generator().manual_seed(row_key(self.run_config.seed, step, epoch) % 2**31)
        order = torch.randperm(len(chunks), generator=generator).tolist()
        number = min(self.config.minibatches, len(chunks))
        for first in range(number):
            yield [chunks[index] for index in order[first::number]]

    def _record(
        self,
        step: int,
        rollout: Rollout,
        scores: Sequence[Score],
        shaped: Sequence[Shaped | None],
        losses: Averages,
        seconds: Mapping[str, float],
    ) -> None:
        rows = self.ledger.record(step + 1, rollout.examples, rollout.responses, scores, shaped)
        metrics = rollout_metrics(rollout) | summary(rows, self.lam) | losses.means()
        metrics |= self.kl.metrics()
        metrics["policy/lr"] = float(self.schedulers[POLICY].get_last_lr()[0])
        metrics |= {f"time/{phase}_s": value for phase, value in seconds.items()}
        self.watch.look(step + 1, metrics)
        self.recorder.emit(step + 1, metrics)
        self.kl.update(metrics["policy/kl"], len(rollout.samples))

    def _cast(self, value_start: Path | None, value_scale: float) -> Actor:
        """Add policy and critic to the trunk."""
        roles, width = self.trunk.roles, self.trunk.width
        roles.add(POLICY, self.run_config.lora)
        if self.config.value == "head":
            head = ScalarHead(width, "mlp").to(self.trunk.device)
            return Actor(self.trunk, "head", self.config.temperature, head)
        if value_start is None:
            roles.add(VALUE, self.run_config.lora, head=ScalarHead(width))
        else:
            role = roles.load(VALUE, value_start, is_trainable=True)
            _rescale(role.head, value_scale)
        return Actor(self.trunk, "adapter", self.config.temperature)

    def _value_parameters(self) -> list[nn.Parameter]:
        if self.actor.value_head is not None:
            return list(self.actor.value_head.parameters())
        return self.trunk.roles.parameters(VALUE)

    def _one_pass(self) -> int:
        return math.ceil(len(self.examples) / self.config.batch)

    def _result(self, steps: int) -> PPOResult:
        read = PromptsRead.of(self.examples, steps, self.config.batch, self.run_config.seed)
        updates = self.schedulers[POLICY].last_epoch
        return PPOResult(steps, updates, self.budget.tokens, self.budget.seconds, read, self.trunk_sha256)

    def _resume(self) -> int:
        first = checkpoint.restore(self)
        if first:
            logger.info("resuming at step %d", first)
        return first

    def _check_start(self, rollout: Rollout) -> None:
        """Before the first update policy and reference are the same, and a recomputed ratio is 1."""
        tolerance = RATIO_TOLERANCE.get(self.trunk.dtype, 5e-2)
        drift = max(float((c.old - c.reference).abs().max()) for c in rollout.chunks)
        again = self.actor.policy(rollout.chunks[0]).logprobs.detach()
        ratio = float((again - rollout.chunks[0].old).exp().sub(1).abs().max())
        if drift > tolerance or ratio > tolerance:
            raise TrainingError(
                f"before the first update the policy differs from its reference by {drift:.2g} nats and from itself "
                f"by a ratio of {ratio:.2g}; both must be 0. The trunk or its adapters are not what they should be"
            )

    def _check_sampler(self, rollout: Rollout) -> None:
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

    @property
    def _may_trust_sampler(self) -> bool:
        """Over a float32 trunk both ways agree; bfloat16 rounds a cached and a whole forward pass differently.

        What the sampler saw travels between processes with its samples, which is worth it on CPUs alone.
        """
        is_at_hand = processes.count() == 1 or self.trunk.device.type == "cpu"
        return self.config.old_logprobs == "auto" and self.trunk.dtype is torch.float32 and is_at_hand

    def _check_trunk(self) -> None:
        if self.trunk.sha256() != self.trunk_sha256:
            raise TrainingError("the frozen trunk changed during training; the run is not valid")

    def _check_processes(self) -> None:
        """All processes took the same steps from the same start, so their adapters are the same numbers."""
        sums = [float(p.detach().double().sum()) for p in self.trunk.roles.parameters(POLICY)]
        if any(other != sums for other in processes.gather(sums)):
            raise TrainingError("the processes' adapters differ after training; the run is not valid")


def _micro_batch(config: PPOConfig) -> int:
    """Responses per chunk: few enough that every process gets a chunk of each minibatch."""
    if config.batch < processes.count():
        raise ConfigError(f"ppo.batch = {config.batch}: expected at least one prompt for {processes.count()} processes")
    if processes.count() == 1:
        return config.micro_batch
    return min(config.micro_batch, max(1, config.batch // (config.minibatches * processes.count())))


def _returns_deviation(chunks: Sequence[Chunk]) -> float:
    """Standard deviation of the returns over counted tokens; 1 when they do not vary."""
    counts = torch.cat([chunk.counts.flatten() for chunk in chunks])
    if not bool(counts.any()):
        return 1.0
    returns = torch.cat([chunk.returns.flatten() for chunk in chunks])
    return float(masked_variance(returns, counts).sqrt()) or 1.0


def _rescale(head: ScalarHead | None, scale: float) -> None:
    if head is None:
        raise TrainingError("the critic's start has no scalar head; expected a reward model")
    with torch.no_grad():
        head.out.weight.div_(scale)
        head.out.bias.div_(scale)
