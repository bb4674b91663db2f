"""The loop of all methods that sample while they train: roll out, score, shape, estimate, update, record.

What the formulas are stands in ``functional``; how responses are drawn in ``models.sampler``; what a response is
worth in ``rewards``; how advantages are estimated, the one thing in which methods differ, in ``training.advantages``;
the update in ``learner``. Here is the order of operations, and what lives between steps.

Several processes (``accelerate launch``) deal out what is expensive: sampling, scoring, measuring, gradients. Each of
them has the whole batch, so that everything between is the same arithmetic as in one process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rewardlab import processes
from rewardlab.config import RunConfig, fingerprint
from rewardlab.errors import TrainingError
from rewardlab.models.names import CHAT_SETTINGS
from rewardlab.models.sampler import SamplingConfig, budget_of
from rewardlab.models.trunk import Trunk
from rewardlab.rewards.ledger import LEDGER_FILE, Ledger, summary
from rewardlab.rewards.moving import Moment, Multiplier
from rewardlab.rewards.plan import ExpressionReward
from rewardlab.runs import ADAPTER, CHECKPOINTS
from rewardlab.section import STORING
from rewardlab.tasks.task import STOP_STRINGS
from rewardlab.training import random_state
from rewardlab.training.actor import POLICY, CriticStart, build_actor
from rewardlab.training.advantages import Estimated
from rewardlab.training.batches import draws_of
from rewardlab.training.budget import Budget, PromptsRead
from rewardlab.training.checkpoint import Checkpoints
from rewardlab.training.checks import check_processes, check_sampler, check_start, check_trunk
from rewardlab.training.clock import Clock
from rewardlab.training.fitting import sampling_batch
from rewardlab.training.interval import Interval
from rewardlab.training.learner import Learner
from rewardlab.training.methods import TrainingMethod
from rewardlab.training.metrics import critic_metrics, rollout_metrics, sampler_metrics
from rewardlab.training.progress import Recorder, recording
from rewardlab.training.rollout import Rollout, roll_out
from rewardlab.training.schedule import UNBOUNDED, micro_batch_of, steps_of, updates_of
from rewardlab.training.shaping import (
    KLController,
    ScoreScale,
    Shaping,
    mean_response_kl,
    shape,
    used_score_metrics,
)
from rewardlab.training.streaks import Streaks
from rewardlab.training.validation import Cadence, Validation
from rewardlab.types import Example, Reward, Score

if TYPE_CHECKING:
    from rewardlab.training.gold_answers import GoldAnswers
    from rewardlab.training.sampling_server import SamplingServer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OnlineResult:
    """Outcome of training.

    Attributes:
        steps: Training steps taken.
        updates: Optimiser steps of the policy.
        tokens: Response tokens generated.
        responses: Responses generated.
        forward, backward: Sequences that went through the trunk, all roles and processes together: forward with a whole
            sequence at a time (sampling is counted in tokens), and backward.
        device_seconds: Seconds of these steps, over all devices.
        read: The prompts of these steps.
        trunk_sha256: Hash of the frozen weights, equal before and after.
        validation: Start, best and last measure on validation rows; None when there was none.
        fall: The alarm for a fall of accuracy on them; None when it was silent.
    """

    steps: int
    updates: int
    tokens: int
    responses: int
    forward: int
    backward: int
    device_seconds: float
    read: PromptsRead
    trunk_sha256: str
    validation: Mapping[str, Any] | None
    fall: Mapping[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """As result.json stores it."""
        names = ("steps", "updates", "tokens", "responses", "forward", "backward", "trunk_sha256", "validation", "fall")
        own = {name: getattr(self, name) for name in names}
        return {**own, "device_seconds": round(self.device_seconds, 2), **self.read.to_json()}


class OnlineTrainer:
    """Trains a policy on what it samples, with LoRA roles on one trunk.

    Args:
        method: How advantages are estimated, and whose section of the configuration counts.
        trunk: The SFT-merged (or base) model; gets the role ``policy``, and ``value`` for an adapter critic.
        reward: What is maximised.
        examples: The prompts, of one task or several.
        config: The whole run's configuration.
        recorder: Where metrics go.
        ledger: Where every response's reward is written down.
        folder: Where checkpoints go.
        critic_start: The reward model that an adapter critic starts from; None starts it at zero.
        lam: Lambda on the raw scale, for its saturation share.
        validation: Labelled rows that the policy is measured on as it trains.
        gold: Labelled rows whose gold answers are learned from too, where the section has an ``sft_coef``.
        rationales: What stands in front of these answers, by task and id; None for bare ones.
        server: Draws the responses in place of the sampler here.
    """

    def __init__(
        self,
        method: TrainingMethod,
        trunk: Trunk,
        reward: Reward,
        examples: Sequence[Example],
        config: RunConfig,
        recorder: Recorder,
        ledger: Ledger,
        folder: Path,
        *,
        critic_start: CriticStart | None = None,
        lam: float | None = None,
        validation: Sequence[Example] = (),
        gold: Sequence[Example] = (),
        rationales: Mapping[tuple[str, str], str] | None = None,
        server: SamplingServer | None = None,
    ) -> None:
        self.server = server
        self.method, self.trunk, self.reward, self.examples = method, trunk, reward, list(examples)
        self.run_config, self.config = config, method.section(config)
        trunk.is_checkpointed = self.config.gradient_checkpointing
        self.recorder, self.ledger, self.folder, self.lam = recorder, ledger, folder, lam
        if not self.examples:
            raise TrainingError(f"{method.title} has no prompts; raise data.prompts or give a task with more rows")
        self.estimate = method.load()
        self.actor = build_actor(trunk, config, self.config, critic_start)
        self.steps, self.micro_batch = steps_of(self.config, len(self.examples)), micro_batch_of(self.config)
        self.budget = Budget(self.config)
        self.learner = Learner(
            self.actor,
            self.config,
            config.seed,
            updates_of(self.config, self.steps, self.micro_batch),
            config.new_tokens,
            self.budget.share if self.budget.is_limited else None,
            self._gold_answers(gold, rationales),
            cap=config.sampler.cap,
        )
        self.scale, self.kl, self.streaks = ScoreScale(), KLController(self.config), Streaks()
        self.multiplier = Multiplier(reward.target if isinstance(reward, ExpressionReward) else None)
        self.sampling = SamplingConfig(
            config.new_tokens, self.config.temperature, STOP_STRINGS[config.format], sampling_batch(config, trunk)
        )
        cadence = Cadence.of_steps(self.config, self.steps)
        patience = self.config.patience
        self.validation = Validation(trunk, validation, cadence, self.sampling, folder, patience=patience)
        self.trunk_sha256 = trunk.sha256()
        self.checkpoints = Checkpoints(folder / CHECKPOINTS, config.keep_checkpoints, folder / LEDGER_FILE)

    def _gold_answers(
        self, examples: Sequence[Example], rationales: Mapping[tuple[str, str], str] | None
    ) -> GoldAnswers | None:
        if self.config.sft_coef == 0:
            return None
        from rewardlab.training.gold_answers import GoldAnswers  # imports TRL, which takes seconds

        return GoldAnswers(self.trunk, examples, rationales, self.run_config, self.config)

    def train(self) -> OnlineResult:
        """Run all steps, from the newest checkpoint; store the policy in ``adapter/``.

        A spent budget ends it before, and so does validation accuracy that has settled.
        The best one on validation rows goes to ``adapter-best/``. Checkpoints are left for whoever marks the run as
        done (:meth:`rewardlab.runs.RunFolder.finish`): until then the process may be killed.
        """
        taken = first = self.resume()
        if first == 0:
            self.validation.ensure(0)
        stored = Interval(self.config.checkpoint_seconds)
        with recording(self.recorder, self.method.name, 0 if self.steps == UNBOUNDED else self.steps, first):
            for step in range(first, self.steps):
                if self.budget.is_spent or self.validation.is_settled:
                    break
                self.step(step)
                taken = step + 1
                if (step + 1) % self.config.checkpoint_every == 0 or stored.is_over_for_all:
                    self.store(step + 1)
                    stored.restart()
        check_trunk(self.trunk, self.trunk_sha256)
        check_processes(self.trunk)
        self.validation.ensure(taken)
        self.trunk.roles.save(POLICY, self.folder / ADAPTER)
        self.validation.save_best()
        return self._result(taken)

    def step(self, step: int) -> None:
        """One training step."""
        clock, before = Clock(self.trunk.device), self.budget.share()
        rollout = self._roll_out(step, clock)
        if self.server is not None:
            self.server.compare(step + 1, self.actor, rollout)
        with clock.phase("score"):
            scores = self._score(step, rollout)
        shaping = self._shape(rollout, scores)
        estimated: Estimated = self.estimate(rollout, shaping, self.config)
        if step == 0:
            check_start(self.actor, rollout)
            check_sampler(rollout)
        in_loss = self.kl.coef if self.config.kl == "loss" else 0.0
        with clock.phase("update"):
            losses = self.learner.update(rollout.chunks, estimated.targets, step, in_loss)
        self.budget.spend(sum(len(sample.ids) for sample in rollout.samples), clock.device_seconds)
        measured = losses.means() | self._validate(step + 1, before, clock)
        self._record(step, rollout, scores, shaping, estimated, measured | _seconds(clock))
        self.kl.update(mean_response_kl(rollout), len(rollout.samples))

    @cached_property
    def draw(self) -> Callable[[int], list[Example]]:
        """Step -> its prompts."""
        return draws_of(self.examples, self.config.prompts, self.run_config.seed, self.config.balance)

    def _roll_out(self, step: int, clock: Clock) -> Rollout:
        """Responses to the step's prompts; the sampler's own log-probabilities count once step 0 has checked them."""
        prompts = self.draw(step)
        key = (self.run_config.seed, step)
        budget = budget_of(self.config.least_new_tokens, self.sampling.max_new_tokens, *key)
        sampling = replace(self.sampling, max_new_tokens=budget, is_measured=self.may_trust_sampler)
        group, trusts = self.config.samples, step > 0
        drawer = None if self.server is None else partial(self.server.draw, step)
        return roll_out(
            *(self.actor, prompts, sampling, self.micro_batch, key, clock),
            group=group,
            trusts_sampler=trusts,
            drawer=drawer,
        )

    def _score(self, step: int, rollout: Rollout) -> list[Score]:
        """The reward of each response; a process scores all responses to a prompt, which the reward may compare."""
        reward = self._reward_at(step)
        examples = processes.share_groups(rollout.examples, rollout.group)
        responses = processes.share_groups(rollout.responses, rollout.group)
        own = reward(examples, responses)
        scores = processes.collect_groups(own, len(rollout.samples), rollout.group)
        failed = sum(not score.is_scored for score in scores)
        if failed > self.config.max_unscored * len(scores):
            reason = next(score.reason for score in scores if not score.is_scored)
            raise TrainingError(
                f"reward {self.reward.name!r} could not judge {failed} of {len(scores)} responses "
                f"({self.method.name}.max_unscored = {self.config.max_unscored}); the first reason: {reason}"
            )
        self.multiplier.update(scores)
        return scores

    def _reward_at(self, step: int) -> Reward:
        """The reward as it is at a step."""
        if not isinstance(self.reward, ExpressionReward):
            return self.reward
        progress = self.budget.share() if self.budget.is_limited else step / self.steps
        return self.reward.at(Moment(step + 1, progress, self.multiplier.value))

    def _shape(self, rollout: Rollout, scores: Sequence[Score]) -> Shaping:
        """Token rewards; the running scale takes the batch in first."""
        values = [score.score for score in scores]
        self.scale.update([value for value in values if value is not None])
        in_reward = self.kl.coef if self.config.kl == "reward" else 0.0
        return shape(values, rollout, self.config, self.scale, in_reward)

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
        shaping: Shaping,
        estimated: Estimated,
        measured: Mapping[str, float],
    ) -> None:
        """Write down the step."""
        places = rollout.places
        rows = self.ledger.record(step + 1, rollout.examples, rollout.responses, scores, shaping.shaped, places)
        metrics = rollout_metrics(rollout) | critic_metrics(rollout, estimated.targets)
        metrics |= sampler_metrics(rollout, self.run_config.sampler.cap)
        metrics |= summary(rows, self.lam) | dict(estimated.metrics) | dict(measured)
        metrics |= used_score_metrics(shaping.shaped) | self.kl.metrics() | {"policy/lr": self.learner.lr}
        self.streaks.add(step + 1, metrics)
        self.recorder.emit(step + 1, metrics)

    def _result(self, steps: int) -> OnlineResult:
        fall = self.validation.fall
        return OnlineResult(
            steps=steps,
            updates=self.learner.updates,
            tokens=self.budget.tokens,
            responses=steps * self.config.prompts * self.config.samples,
            forward=sum(processes.gather(self.trunk.rows_read)),
            backward=sum(processes.gather(self.learner.rows_back)),
            device_seconds=self.budget.seconds,
            read=PromptsRead.of(self.examples, steps, self.config.prompts, self.run_config.seed, self.config.balance),
            trunk_sha256=self.trunk_sha256,
            validation=self.validation.summary(),
            fall=None if fall is None else fall.to_json(),
        )

    def store(self, next_step: int) -> None:
        """Store a checkpoint; every process calls this, for each has generators of its own."""
        own = {name: part.state() for name, part in self._parts().items()}
        state = {**own, "random": processes.gather(random_state.capture())}
        self.checkpoints.save(next_step, self._identity(), state)

    def resume(self) -> int:
        """Go on from the newest readable checkpoint; returns the step to go on with, 0 without one.

        Raises:
            RunFolderError: It was made under another configuration; the message lists the keys.
        """
        restored = self.checkpoints.restore(self._identity())
        if restored is None:
            return 0
        first, state = restored
        for name, part in self._parts().items():
            part.restore(state.get(name, {}))
        random_state.restore(state["random"][processes.rank() % len(state["random"])])
        logger.info("resuming at step %d", first)
        return first

    def _parts(self) -> dict[str, Any]:
        """All that has a state between steps, beside the random generators, which rewards may draw from.

        Sampling and the orders of prompts and minibatches are functions of (seed, step) and have none.
        """
        return {
            "actor": self.actor,
            "learner": self.learner,
            "scale": self.scale,
            "kl": self.kl,
            "multiplier": self.multiplier,
            "budget": self.budget,
            "validation": self.validation,
            "streaks": self.streaks,
        }

    def _identity(self) -> dict[str, Any]:
        """What the steps depend on beside the state; keys as the configuration names them, the model by its weights."""
        config = self.run_config
        kept = config.model_dump(mode="json", include={"seed", "format", "lora", "reward"})
        kept[self.method.name] = self.config.model_dump(mode="json", exclude=STORING)
        model = config.model.model_dump(mode="json", include={"max_prompt_tokens", "max_new_tokens", *CHAT_SETTINGS})
        rows = {"prompts": self.examples, "validation": self.validation.examples}
        read = {name: fingerprint([[row.task, row.id] for row in part]) for name, part in rows.items()}
        if self.learner.gold is not None:
            read["gold"] = fingerprint(self.learner.gold.rows)
        if self.server is not None:
            kept["sampler"] = {"cap": config.sampler.cap}
        return {**kept, **read, "model": model, "trunk": self.trunk_sha256}

    @property
    def may_trust_sampler(self) -> bool:
        """Over a float32 trunk both ways agree; bfloat16 rounds a cached and a whole forward pass differently.

        What the sampler saw travels between processes with its samples, which is worth it on CPUs alone.
        """
        is_at_hand = self.server is None and (processes.count() == 1 or self.trunk.device.type == "cpu")
        return self.config.old_logprobs == "auto" and self.trunk.dtype is torch.float32 and is_at_hand


def _seconds(clock: Clock) -> dict[str, float]:
    return {f"time/{phase}_s": value for phase, value in clock.seconds.items()}
