"""The PPO trainer: one step is roll out, score, shape, estimate, update, validate, record.

What the formulas are stands in ``functional``; how responses are drawn in ``models.sampler``; what a response is
worth in ``rewards``; the update in ``learner``. Here is the order of operations, and what lives between steps.

Several processes (``accelerate launch``) deal out what is expensive: sampling, scoring, measuring, gradients. Each of
them knows the whole batch, so that everything between is the same arithmetic as in one process.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rewardlab import processes
from rewardlab.config import RunConfig
from rewardlab.errors import TrainingError
from rewardlab.models.sampler import SamplingConfig, budget_of
from rewardlab.models.trunk import Trunk
from rewardlab.rewards.ledger import Ledger, Shaped, summary
from rewardlab.runs import ADAPTER
from rewardlab.tasks.task import STOP_STRINGS
from rewardlab.training import checkpoint
from rewardlab.training.budget import Budget, PromptsRead
from rewardlab.training.casting import cast
from rewardlab.training.checks import check_processes, check_sampler, check_start, check_trunk
from rewardlab.training.clock import Clock
from rewardlab.training.estimate import estimate
from rewardlab.training.interval import Interval
from rewardlab.training.learner import Learner
from rewardlab.training.metrics import rollout_metrics
from rewardlab.training.progress import Recorder, recording
from rewardlab.training.rollout import POLICY, Rollout, roll_out
from rewardlab.training.schedule import UNBOUNDED, batch_of, micro_batch_of, steps_of, updates_of
from rewardlab.training.shaping import KLController, ScoreScale, mean_response_kl, shape, used_score_metrics
from rewardlab.training.validation import Cadence, Validation
from rewardlab.training.watch import Watch
from rewardlab.types import Example, Reward, Score

logger = logging.getLogger(__name__)


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
        validation: Start, best and last measure on validation rows; None when there was none.
        fall: The alarm for a fall of accuracy on them; None when it was silent.
    """

    steps: int
    updates: int
    tokens: int
    device_seconds: float
    read: PromptsRead
    trunk_sha256: str
    validation: Mapping[str, Any] | None
    fall: Mapping[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """As result.json stores it."""
        own = {
            name: getattr(self, name) for name in ("steps", "updates", "tokens", "trunk_sha256", "validation", "fall")
        }
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
        value_scale, value_mean: Deviation and mean of the reward model behind the started critic: what its output is
            normalised by, so that it speaks the unit of normalised scores.
        lam: Lambda on the raw scale, for its saturation share.
        validation: Labelled rows that the policy is measured on as it trains.
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
        value_mean: float = 0.0,
        lam: float | None = None,
        validation: Sequence[Example] = (),
    ) -> None:
        self.trunk, self.reward, self.examples = trunk, reward, list(examples)
        trunk.is_checkpointed = config.ppo.gradient_checkpointing
        self.run_config, self.config = config, config.ppo
        self.recorder, self.ledger, self.folder, self.lam = recorder, ledger, folder, lam
        if not self.examples:
            raise TrainingError("PPO has no prompts; raise data.prompts or give a task with more rows")
        self.actor = cast(trunk, config, value_start, value_scale, value_mean)
        self.steps, self.micro_batch = steps_of(self.config, len(self.examples)), micro_batch_of(self.config)
        updates = updates_of(self.config, self.steps, self.micro_batch)
        self.budget = Budget(self.config)
        spent = self.budget.share if self.budget.is_limited else None
        self.learner = Learner(self.actor, self.config, config.seed, updates, spent)
        self.scale, self.kl, self.watch = ScoreScale(), KLController(self.config), Watch()
        self.sampling = SamplingConfig(
            config.new_tokens, self.config.temperature, STOP_STRINGS[config.format], config.eval.batch
        )
        cadence = Cadence.of_ppo(self.config, self.steps)
        self.validation = Validation(trunk, validation, cadence, self.sampling, folder)
        self.trunk_sha256 = trunk.sha256()

    def train(self) -> PPOResult:
        """Run all steps or until the budget is spent, from the newest checkpoint; store the policy in ``adapter/``.

        The best one on validation rows goes to ``adapter-best/``. Checkpoints are left for whoever marks the run as
        done (:meth:`rewardlab.runs.RunFolder.finish`): until then the process may be killed.
        """
        taken = first = self._resume()
        if first == 0:
            self.validation.ensure(0)
        stored = Interval(self.config.checkpoint_seconds)
        with recording(self.recorder, "ppo", 0 if self.steps == UNBOUNDED else self.steps, first):
            for step in range(first, self.steps):
                if self.budget.is_spent:
                    break
                self.step(step)
                taken = step + 1
                if (step + 1) % self.config.checkpoint_every == 0 or stored.is_over_for_all:
                    checkpoint.save(self, step + 1)
                    stored.restart()
        check_trunk(self.trunk, self.trunk_sha256)
        check_processes(self.trunk)
        self.validation.ensure(taken)
        self.trunk.roles.save(POLICY, self.folder / ADAPTER)
        self.validation.save_best()
        return self._result(taken)

    def step(self, step: int) -> None:
        """One PPO step."""
        clock, before = Clock(self.trunk.device), self.budget.share()
        rollout = self._roll_out(step, clock)
        with clock.phase("score"):
            scores = self._score(rollout)
        shaped, rewards = shape([score.score for score in scores], rollout, self.config, self.scale, self.kl.coef)
        estimate(rollout.chunks, rewards, self.config)
        if step == 0:
            check_start(self.actor, rollout)
            check_sampler(rollout)
        with clock.phase("update"):
            losses = self.learner.update(rollout.chunks, step)
        self.budget.spend(sum(len(sample.ids) for sample in rollout.samples), clock.device_seconds)
        measured = losses.means() | self._validate(step + 1, before, clock)
        self._record(step, rollout, scores, shaped, measured, clock.seconds)
        self.kl.update(mean_response_kl(rollout), len(rollout.samples))

    def _roll_out(self, step: int, clock: Clock) -> Rollout:
        """Responses to the step's prompts; the sampler's own log-probabilities count once step 0 has checked them."""
        batch = batch_of(self.examples, step, self.config.batch, self.run_config.seed)
        key = (self.run_config.seed, step)
        budget = budget_of(self.config.least_new_tokens, self.sampling.max_new_tokens, *key)
        sampling = replace(self.sampling, max_new_tokens=budget, is_measured=self.may_trust_sampler)
        return roll_out(self.actor, batch, sampling, self.micro_batch, key, clock, trusts_sampler=step > 0)

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

    def _validate(self, step: int, before: float, clock: Clock) -> dict[str, float]:
        if not self.validation.is_due(step, before, self.budget.share()):
            return {}
        with clock.phase("validate"):
            return self.validation.look(step)

    def _record(
        self,
        step: int,
        rollout: Rollout,
        scores: Sequence[Score],
        shaped: Sequence[Shaped | None],
        measured: Mapping[str, float],
        seconds: Mapping[str, float],
    ) -> None:
        """Write down the step."""
        rows = self.ledger.record(step + 1, rollout.examples, rollout.responses, scores, shaped)
        metrics = rollout_metrics(rollout) | summary(rows, self.lam) | dict(measured)
        metrics |= used_score_metrics(shaped) | self.kl.metrics()
        metrics["policy/lr"] = self.learner.lr
        metrics |= {f"time/{phase}_s": value for phase, value in seconds.items()}
        self.watch.look(step + 1, metrics)
        self.recorder.emit(step + 1, metrics)

    def _result(self, steps: int) -> PPOResult:
        read = PromptsRead.of(self.examples, steps, self.config.batch, self.run_config.seed)
        spent = self.budget.tokens, self.budget.seconds
        fall = self.validation.fall
        found = (self.validation.summary(), None if fall is None else fall.to_json())
        return PPOResult(steps, self.learner.updates, *spent, read, self.trunk_sha256, *found)

    def _resume(self) -> int:
        first = checkpoint.restore(self)
        if first:
            logger.info("resuming at step %d", first)
        return first

    @property
    def may_trust_sampler(self) -> bool:
        """Over a float32 trunk both ways agree; bfloat16 rounds a cached and a whole forward pass differently.

        What the sampler saw travels between processes with its samples, which is worth it on CPUs alone.
        """
        is_at_hand = processes.count() == 1 or self.trunk.device.type == "cpu"
        return self.config.old_logprobs == "auto" and self.trunk.dtype is torch.float32 and is_at_hand
