"""Training a policy on preference pairs: DPO and its kin. One step is read, compare, update, validate, record.

The losses stand in ``functional.preference``; pairs as tokens, and the reference, in ``pair_rows``. The policy is a
LoRA role on the trunk; its reference is the trunk without the role. Which pairs a step reads is a function of
(seed, step) alone, so a resume needs no cursor. Several processes deal out chunks and add up their gradients.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardlab import processes
from rewardlab.config import RunConfig, fingerprint
from rewardlab.errors import ConfigError, TrainingError
from rewardlab.functional.kl import kl_k2
from rewardlab.functional.preference import PairLogprobs, pair_losses
from rewardlab.models.names import CHAT_SETTINGS
from rewardlab.models.sampler import SamplingConfig
from rewardlab.models.trunk import Trunk
from rewardlab.preference_config import DPOConfig, PreferenceConfig
from rewardlab.rewards.ledger import LEDGER_FILE
from rewardlab.runs import ADAPTER, CHECKPOINTS
from rewardlab.section import STORING
from rewardlab.tasks.task import STOP_STRINGS
from rewardlab.training.actor import POLICY, Actor
from rewardlab.training.budget import PromptsRead
from rewardlab.training.checkpoint import Checkpoints
from rewardlab.training.checks import check_processes, check_trunk, rounding_tolerance
from rewardlab.training.clock import Clock
from rewardlab.training.fitting import sampling_batch
from rewardlab.training.interval import Interval
from rewardlab.training.methods import TrainingMethod
from rewardlab.training.pair_rows import PairChunk, PairRow, Reference, chunks_of
from rewardlab.training.progress import Recorder, recording
from rewardlab.training.rm_evaluation import EncodedPair
from rewardlab.training.schedule import batch_of, make_scheduler
from rewardlab.training.validation import MEASURES, Cadence, Validation
from rewardlab.types import Example

logger = logging.getLogger(__name__)

PairLoss = Callable[[PairLogprobs, Any], Tensor]
"""(log-probabilities of P pairs, the method's section) -> loss of each pair, (P,): what a preference method is."""
TIED = 1e-3
"""Margin below which rounding decides its sign, nats."""
REFERENCE_FILE = "reference.safetensors"
"""In the folder of checkpoints: what the reference says of all pairs."""
GLOSSARY: Mapping[str, str] = {
    "preference/loss": "loss of a pair, mean over the step's pairs; at the start ln 2 (hinge: 1, ipo: 1 / (4 beta^2))",
    "preference/margin": "how much more the policy has raised the chosen response than the rejected one; nats",
    "preference/accuracy": "share of the step's pairs with a positive margin, a margin of 0 counting one half",
    "preference/chosen_logprob": "log-probability of the chosen response under the policy, mean over pairs; nats",
    "preference/rejected_logprob": "log-probability of the rejected response under the policy, mean over pairs; nats",
    "preference/kl_k2": "half the squared log-ratio of policy and reference, mean over the response tokens of the "
    "step's pairs; nats. The policy has not drawn them: it says how far it has moved there, which is not its KL",
    "policy/lr": "learning rate of the policy after the step",
    "policy/grad_norm": "norm of the gradient before clipping",
    "time/reference_s": "seconds of the reference's pass over all pairs, in the first step",
    "time/update_s": "seconds spent on gradients",
    "time/validate_s": "seconds spent on validation rows, in steps that measure them",
}


@dataclass(slots=True)
class Sums:
    """Sums over the pairs of one step; ``kl`` over their response tokens."""

    pairs: int = 0
    tokens: int = 0
    loss: float = 0.0
    margin: float = 0.0
    right: float = 0.0
    chosen: float = 0.0
    rejected: float = 0.0
    kl: float = 0.0

    def add(self, losses: Tensor, pairs: PairLogprobs, kl: Tensor) -> None:
        """Take in one chunk."""
        self.pairs += len(losses)
        self.tokens += int(pairs.chosen_tokens.sum() + pairs.rejected_tokens.sum())
        self.loss += float(losses.sum())
        self.margin += float(pairs.margin.sum())
        is_tied = pairs.margin.abs() < TIED
        self.right += float(torch.where(is_tied, 0.5, (pairs.margin > 0).float()).sum())
        self.chosen += float(pairs.chosen.sum())
        self.rejected += float(pairs.rejected.sum())
        self.kl += float(kl.sum())

    @classmethod
    def of_all(cls, parts: Sequence[Sums]) -> Sums:
        """Put together what the processes saw of their chunks."""
        return cls(*(sum(getattr(part, field.name) for part in parts) for field in fields(cls)))

    def means(self) -> dict[str, float]:
        """As :data:`GLOSSARY` has them."""
        return {
            "preference/loss": self.loss / self.pairs,
            "preference/margin": self.margin / self.pairs,
            "preference/accuracy": self.right / self.pairs,
            "preference/chosen_logprob": self.chosen / self.pairs,
            "preference/rejected_logprob": self.rejected / self.pairs,
            "preference/kl_k2": self.kl / self.tokens,
        }


@dataclass(frozen=True, slots=True)
class PreferenceResult:
    """Outcome of training.

    Attributes:
        steps: Optimiser steps.
        pairs: Different pairs that were read.
        trained_tokens: Tokens read while gradients were recorded: prompts and both responses.
        forward, backward: Sequences that went through the trunk, of all processes together: each pair is two, once
            under the reference and in each step that reads it under the policy, forward and backward.
        device_seconds: Seconds of these steps and of the reference's pass, over all devices.
        read: The prompts of these pairs.
        trunk_sha256: Hash of the frozen weights, equal before and after.
        validation: Start, best and last measure on validation rows; None when there was none.
        fall: The alarm for a fall of accuracy on them; None when it was silent.
    """

    steps: int
    pairs: int
    trained_tokens: int
    forward: int
    backward: int
    device_seconds: float
    read: PromptsRead
    trunk_sha256: str
    validation: Mapping[str, Any] | None
    fall: Mapping[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """As result.json stores it; ``tokens`` and ``responses`` are those generated, of which there are none."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "read"}
        counted = {"updates": self.steps, "device_seconds": round(self.device_seconds, 2), "tokens": 0, "responses": 0}
        return {**own, **counted, **self.read.to_json()}


class PreferenceTrainer:
    """Trains a policy on pairs, with a LoRA role on one trunk.

    Args:
        method: Whose loss and whose section of the configuration count.
        trunk: The SFT-merged (or base) model; gets the role ``policy``.
        pairs: What it learns from.
        config: The whole run's configuration.
        recorder: Where metrics go.
        folder: The run folder.
        validation: Labelled rows that the policy is measured on as it trains.
    Raises:
        TrainingError: There are no pairs.
    """

    def __init__(
        self,
        method: TrainingMethod,
        trunk: Trunk,
        pairs: Sequence[EncodedPair],
        config: RunConfig,
        recorder: Recorder,
        folder: Path,
        *,
        validation: Sequence[Example] = (),
    ) -> None:
        if not pairs:
            raise TrainingError(f"{method.title} has no pairs to learn from")
        self.method, self.trunk, self.run_config = method, trunk, config
        self.config: PreferenceConfig = method.section(config)
        self.recorder, self.folder, self.pairs = recorder, folder, [item.pair for item in pairs]
        self.losses: PairLoss = method.load()
        self.rows = [PairRow.of(item, trunk.codec) for item in pairs]
        self.micro_batch = _micro_batch_of(method.name, self.config)
        self.steps = self.config.steps or math.ceil(self.config.epochs * len(self.rows) / self.config.batch)
        self.trunk_sha256 = trunk.sha256()
        trunk.is_checkpointed = self.config.gradient_checkpointing
        torch.manual_seed(config.seed)  # the adapter's A matrices
        trunk.roles.add(POLICY, config.lora)
        self.actor = Actor(trunk, None, temperature=1.0)
        self.parameters = self.actor.parameters()[POLICY]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=self.config.lr, weight_decay=0.0)
        self.scheduler = make_scheduler(self.optimizer, self.config, self.steps)
        self.trained_tokens, self.device_seconds = 0, 0.0
        self._waiting: dict[str, float] = {}
        sampling = SamplingConfig(config.new_tokens, 0.0, STOP_STRINGS[config.format], sampling_batch(config, trunk))
        every = self.config.validate_every
        cadence = Cadence(max(1, math.ceil(self.steps / MEASURES)) if every is None else every, self.steps)
        self.validation = Validation(trunk, validation, cadence, sampling, folder, patience=self.config.patience)
        self.checkpoints = Checkpoints(folder / CHECKPOINTS, config.keep_checkpoints, folder / LEDGER_FILE)

    def train(self) -> PreferenceResult:
        """Run all steps, or until validation accuracy has settled, from the newest checkpoint.

        The policy is stored in ``adapter/``, the best one in ``adapter-best/``. Checkpoints are left for whoever
        marks the run as done: until then the process may be killed.
        """
        taken = first = self.resume()
        if first == 0:
            self.validation.ensure(0)
        clock = Clock(self.trunk.device)
        with clock.phase("reference"):
            file = self.folder / CHECKPOINTS / REFERENCE_FILE
            self.reference = Reference.kept(file, self.actor, self.trunk_sha256, self.rows, self.micro_batch)
        self._spend(clock)
        self._waiting = clock.seconds
        stored = Interval(self.config.checkpoint_seconds)
        with recording(self.recorder, self.method.name, self.steps, first):
            for step in range(first, self.steps):
                if self.validation.is_settled:
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

    def places(self, step: int) -> list[int]:
        """Which pairs a step reads."""
        return batch_of(range(len(self.rows)), step, self.config.batch, self.run_config.seed)

    def step(self, step: int) -> None:
        """One optimiser step."""
        clock = Clock(self.trunk.device)
        with clock.phase("update"):
            places, sums = self.places(step), Sums()
            for chunk in processes.share(list(chunks_of(self.trunk, self.rows, places, self.micro_batch))):
                self._backward(chunk, len(places), sums, is_first=step == 0)
            sums = Sums.of_all(processes.gather(sums))
            norm = self._optimise(step)
        self.trained_tokens += sum(self.rows[place].tokens for place in places)
        self._spend(clock)
        metrics = sums.means() | {"policy/lr": float(self.scheduler.get_last_lr()[0]), "policy/grad_norm": norm}
        if self.validation.is_due(step + 1):
            with clock.phase("validate"):
                metrics |= self.validation.look(step + 1)
        metrics |= {f"time/{phase}_s": seconds for phase, seconds in (self._waiting | clock.seconds).items()}
        self._waiting = {}
        self.recorder.emit(step + 1, metrics)

    def _backward(self, chunk: PairChunk, count: int, sums: Sums, *, is_first: bool) -> None:
        """Accumulate the gradient of one chunk's share of the step's mean loss."""
        policy, reference = self.actor.policy(chunk).logprobs, self.reference.of(chunk)
        if is_first:
            self._check_start(chunk, policy.detach())
        pairs = chunk.together(policy, reference)
        losses = self.losses(pairs, self.config)
        (losses.sum() / count).backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        with torch.no_grad():
            sums.add(losses, pairs, kl_k2(policy, reference))

    def _check_start(self, chunk: PairChunk, policy: Tensor) -> None:
        """Before the first update both are the same; on one chunk, for in bfloat16 padding moves what is kept."""
        with torch.no_grad():
            reference = self.actor.policy(chunk, role=None)
        drift = float((policy - reference.logprobs).abs().max())
        tolerance = rounding_tolerance(self.trunk, reference.states, self.actor.temperature)
        if drift > tolerance:
            raise TrainingError(
                f"before the first update the policy differs from its reference by {drift:.2g} nats at a token; it "
                f"must be 0, and rounding explains {tolerance:.2g}. The trunk or its adapters are not what they should "
                "be"
            )

    def _optimise(self, step: int) -> float:
        """Add up the processes' gradients, clip, step, schedule; returns the gradient norm before clipping."""
        processes.add_gradients(self.parameters)
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm))
        if not math.isfinite(norm):
            raise TrainingError(f"step {step + 1}: the gradient is not finite; lower {self.method.name}.lr")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        return norm

    def _spend(self, clock: Clock) -> None:
        """Count a phase's device seconds; those of all processes are added up."""
        self.device_seconds += sum(processes.gather(clock.device_seconds))

    def store(self, next_step: int) -> None:
        """Store a checkpoint."""
        own = {name: part.state() for name, part in (("actor", self.actor), ("validation", self.validation))}
        torch_s = {name: part.state_dict() for name, part in self._of_torch().items()}
        spent = {"trained_tokens": self.trained_tokens, "device_seconds": self.device_seconds}
        self.checkpoints.save(next_step, self._identity(), {**own, **torch_s, **spent})

    def resume(self) -> int:
        """Go on from the newest readable checkpoint; returns the step to go on with, 0 without one.

        Raises:
            RunFolderError: It was made under another configuration; the message lists the keys.
        """
        restored = self.checkpoints.restore(self._identity())
        if restored is None:
            return 0
        first, state = restored
        self.actor.restore(state["actor"])
        self.validation.restore(state["validation"])
        for name, part in self._of_torch().items():
            part.load_state_dict(state[name])
        self.trained_tokens, self.device_seconds = state["trained_tokens"], state["device_seconds"]
        logger.info("resuming at step %d", first)
        return first

    def _of_torch(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer, "scheduler": self.scheduler}

    def _identity(self) -> dict[str, Any]:
        """What the steps depend on beside the state; keys as the configuration names them, the model by its weights."""
        config = self.run_config
        kept = config.model_dump(mode="json", include={"seed", "format", "lora"})
        kept[self.method.name] = self.config.model_dump(mode="json", exclude={*STORING, "pairs"})
        model = config.model.model_dump(mode="json", include={"max_prompt_tokens", "max_new_tokens", *CHAT_SETTINGS})
        pairs = fingerprint([[row.prompt, row.chosen, row.rejected] for row in self.rows])
        validation = fingerprint([[row.task, row.id] for row in self.validation.examples])
        return {**kept, "pairs": pairs, "validation": validation, "model": model, "trunk": self.trunk_sha256}

    def _result(self, steps: int) -> PreferenceResult:
        fall = self.validation.fall
        return PreferenceResult(
            steps=steps,
            pairs=len({place for step in range(steps) for place in self.places(step)}),
            trained_tokens=self.trained_tokens,
            forward=2 * (len(self.rows) + steps * self.config.batch),
            backward=2 * steps * self.config.batch,
            device_seconds=self.device_seconds,
            read=PromptsRead.of(self.pairs, steps, self.config.batch, self.run_config.seed),
            trunk_sha256=self.trunk_sha256,
            validation=self.validation.summary(),
            fall=None if fall is None else fall.to_json(),
        )


def dpo_losses(pairs: PairLogprobs, section: DPOConfig) -> Tensor:
    """The losses of DPO and its kin; raises TrainingError for ``robust`` without a rate, where it would be sigmoid."""
    if section.loss == "robust" and section.flip_rate is None:
        raise TrainingError("the loss robust needs a flip rate; give a number for dpo.flip_rate")
    return pair_losses(section.loss, pairs, beta=section.beta, flip_rate=section.flip_rate or 0.0)


def _micro_batch_of(name: str, config: PreferenceConfig) -> int:
    """Pairs per forward pass: few enough that every process gets some of each step."""
    if config.batch < processes.count():
        raise ConfigError(
            f"{name}.batch = {config.batch}: expected at least one pair for each of {processes.count()} processes"
        )
    return min(config.micro_batch, config.batch // processes.count())
