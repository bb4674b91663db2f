"""Training a policy on preference pairs: DPO and its kin. One step is read, compare, update, validate, record.

The losses stand in ``functional.preference``; pairs as tokens, and the reference, in ``pair_rows``. The policy is a
LoRA role on the trunk; its reference is the trunk without the role. Which pairs a step reads is a function of
(seed, step) alone, so a resume needs no cursor. Several processes deal out chunks and add up their gradients.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardlab import processes
from rewardlab.config import STORING, DPOConfig, RunConfig, fingerprint
from rewardlab.errors import ConfigError, TrainingError
from rewardlab.functional.kl import kl_k2
from rewardlab.functional.preference import PairLogprobs, pair_losses
from rewardlab.models.names import CHAT_SETTINGS
from rewardlab.models.sampler import SamplingConfig
from rewardlab.models.trunk import Trunk
from rewardlab.runs import ADAPTER, CHECKPOINTS
from rewardlab.tasks.task import STOP_STRINGS
from rewardlab.training.checks import RATIO_TOLERANCE, check_processes, check_trunk
from rewardlab.training.clock import Clock
from rewardlab.training.interval import Interval
from rewardlab.training.pair_checkpoint import restore, save
from rewardlab.training.pair_rows import PairChunk, PairRow, Reference, chunks_of
from rewardlab.training.progress import Recorder, recording
from rewardlab.training.rm_evaluation import EncodedPair
from rewardlab.training.rollout import POLICY
from rewardlab.training.schedule import make_scheduler
from rewardlab.training.validation import MEASURES, Cadence, Validation
from rewardlab.types import Example

logger = logging.getLogger(__name__)

REFERENCE_FILE = "reference.safetensors"
"""In the folder of checkpoints: what the reference says of all pairs."""
GLOSSARY: Mapping[str, str] = {
    "dpo/loss": "loss of a pair, mean over the step's pairs; at the start ln 2 = 0.693 (hinge: 1, ipo: 1 / (4 beta^2))",
    "dpo/margin": "how much more the policy has raised the chosen response than the rejected one; nats, 0 at the start",
    "dpo/accuracy": "share of the step's pairs with a positive margin; no more than chance in the first step",
    "dpo/chosen_logprob": "log-probability of the chosen response under the policy, mean over pairs; nats",
    "dpo/rejected_logprob": "log-probability of the rejected response under the policy, mean over pairs; nats",
    "dpo/kl_k2": "half the squared log-ratio of policy and reference, mean over the response tokens of the step's "
    "pairs; nats. The responses are not the policy's own: it says how far it has moved on them, which is not its KL",
    "dpo/lr": "learning rate of the policy after the step",
    "dpo/grad_norm": "norm of the gradient before clipping",
}


@dataclass(slots=True)
class Sums:
    """Sums over the pairs of one step; ``kl`` over their response tokens."""

    pairs: int = 0
    tokens: int = 0
    loss: float = 0.0
    margin: float = 0.0
    right: int = 0
    chosen: float = 0.0
    rejected: float = 0.0
    kl: float = 0.0

    def add(self, losses: Tensor, pairs: PairLogprobs, kl: Tensor) -> None:
        """Take in one chunk."""
        self.pairs += len(losses)
        self.tokens += int(pairs.chosen_tokens.sum() + pairs.rejected_tokens.sum())
        self.loss += float(losses.sum())
        self.margin += float(pairs.margin.sum())
        self.right += int((pairs.margin > 0).sum())
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
            "dpo/loss": self.loss / self.pairs,
            "dpo/margin": self.margin / self.pairs,
            "dpo/accuracy": self.right / self.pairs,
            "dpo/chosen_logprob": self.chosen / self.pairs,
            "dpo/rejected_logprob": self.rejected / self.pairs,
            "dpo/kl_k2": self.kl / self.tokens,
        }


@dataclass(frozen=True, slots=True)
class PreferenceResult:
    """Outcome of training.

    Attributes:
        steps: Optimiser steps.
        pairs: Different pairs that were read.
        tokens: Tokens read while gradients were recorded: prompts and both responses.
        device_seconds: Seconds of these steps and of the reference's pass, over all devices.
        flip_rate: Share of flipped pairs that the loss took into account; None for other losses.
        trunk_sha256: Hash of the frozen weights, equal before and after.
        validation: Start, best and last measure on validation rows; None when there was none.
        fall: The alarm for a fall of accuracy on them; None when it was silent.
    """

    steps: int
    pairs: int
    tokens: int
    device_seconds: float
    flip_rate: float | None
    trunk_sha256: str
    validation: Mapping[str, Any] | None
    fall: Mapping[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """As result.json stores it."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**own, "updates": self.steps, "device_seconds": round(self.device_seconds, 2)}


class PreferenceTrainer:
    """DPO with a LoRA role on one trunk.

    Args:
        trunk: The SFT-merged (or base) model; gets the role ``policy``.
        pairs: What it learns from.
        config: The whole run's configuration.
        recorder: Where metrics go.
        folder: The run folder.
        flip_rate: Share of the pairs whose preference is flipped, for the loss ``robust``.
        validation: Labelled rows that the policy is measured on as it trains.
    Raises:
        TrainingError: There are no pairs.
    """

    def __init__(
        self,
        trunk: Trunk,
        pairs: Sequence[EncodedPair],
        config: RunConfig,
        recorder: Recorder,
        folder: Path,
        *,
        flip_rate: float = 0.0,
        validation: Sequence[Example] = (),
    ) -> None:
        if not pairs:
            raise TrainingError("there are no pairs to learn from")
        self.trunk, self.run_config, self.config = trunk, config, config.dpo
        self.recorder, self.folder, self.flip_rate = recorder, folder, flip_rate
        self.rows = [PairRow.of(pair, trunk.codec) for pair in pairs]
        self.micro_batch = micro_batch_of(self.config)
        self.steps = self.config.steps or math.ceil(self.config.epochs * len(self.rows) / self.config.batch)
        self.trunk_sha256 = trunk.sha256()
        trunk.is_checkpointed = self.config.gradient_checkpointing
        torch.manual_seed(config.seed)  # the adapter's A matrices
        trunk.roles.add(POLICY, config.lora)
        self.parameters = trunk.roles.parameters(POLICY)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=self.config.lr, weight_decay=0.0)
        schedule: Any = self.config  # has the two shares that PPO's section has
        self.scheduler = make_scheduler(self.optimizer, schedule, self.steps)
        self.tokens, self.device_seconds = 0, 0.0
        self._waiting: dict[str, float] = {}
        sampling = SamplingConfig(config.new_tokens, 0.0, STOP_STRINGS[config.format], config.eval.batch)
        every = self.config.validate_every
        cadence = Cadence(max(1, math.ceil(self.steps / MEASURES)) if every is None else every, self.steps)
        self.validation = Validation(trunk, validation, cadence, sampling, folder)

    def train(self) -> PreferenceResult:
        """Run all steps, from the newest checkpoint; store the policy in ``adapter/``, the best in ``adapter-best/``.

        Checkpoints are left for whoever marks the run as done: until then the process may be killed.
        """
        first = self._resume()
        if first == 0:
            self.validation.ensure(0)
        clock = Clock(self.trunk.device)
        with clock.phase("reference"):
            file = self.folder / CHECKPOINTS / REFERENCE_FILE
            self.reference = Reference.kept(file, self.trunk, self.trunk_sha256, self.rows, self.config.micro_batch)
        self._spend(clock)
        self._waiting = clock.seconds
        stored = Interval(self.config.checkpoint_seconds)
        with recording(self.recorder, "dpo", self.steps, first):
            for step in range(first, self.steps):
                self.step(step)
                if (step + 1) % self.config.checkpoint_every == 0 or stored.is_over_for_all:
                    self._save(step + 1)
                    stored.restart()
        check_trunk(self.trunk, self.trunk_sha256)
        check_processes(self.trunk)
        self.validation.ensure(self.steps)
        self.trunk.roles.save(POLICY, self.folder / ADAPTER)
        self.validation.save_best()
        return self._result()

    def step(self, step: int) -> None:
        """One optimiser step."""
        clock = Clock(self.trunk.device)
        with clock.phase("update"):
            places, sums = self._places(step), Sums()
            for chunk in processes.share(list(chunks_of(self.trunk, self.rows, places, self.micro_batch))):
                self._backward(chunk, len(places), sums, is_first=step == 0)
            sums = Sums.of_all(processes.gather(sums))
            norm = self._optimise(step)
        self.tokens += sum(self.rows[place].tokens for place in places)
        self._spend(clock)
        metrics = sums.means() | {"dpo/lr": float(self.scheduler.get_last_lr()[0]), "dpo/grad_norm": norm}
        if self.validation.is_due(step + 1):
            with clock.phase("validate"):
                metrics |= self.validation.look(step + 1)
        metrics |= {f"time/{phase}_s": seconds for phase, seconds in (self._waiting | clock.seconds).items()}
        self._waiting = {}
        self.recorder.emit(step + 1, metrics)

    def _backward(self, chunk: PairChunk, count: int, sums: Sums, *, is_first: bool) -> None:
        """Accumulate the gradient of one chunk's share of the step's mean loss."""
        policy, reference = chunk.logprobs(self.trunk, POLICY), self.reference.of(chunk)
        if is_first:
            self._check_start(policy.detach(), reference)
        pairs = chunk.together(policy, reference)
        losses = pair_losses(self.config.loss, pairs, beta=self.config.beta, flip_rate=self.flip_rate)
        (losses.sum() / count).backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        with torch.no_grad():
            sums.add(losses, pairs, kl_k2(policy, reference))

    def identity(self) -> dict[str, Any]:
        """What the steps depend on beside the state; keys as the configuration names them, the model by its weights."""
        config = self.run_config
        kept = config.model_dump(mode="json", include={"seed", "format", "lora", "dpo"})
        kept["dpo"] = {key: value for key, value in kept["dpo"].items() if key not in STORING}
        model = config.model.model_dump(mode="json", include={"max_prompt_tokens", "max_new_tokens", *CHAT_SETTINGS})
        pairs = fingerprint([[row.prompt, row.chosen, row.rejected] for row in self.rows])
        validation = fingerprint([[row.task, row.id] for row in self.validation.examples])
        known = {"pairs": pairs, "validation": validation, "flip_rate": self.flip_rate}
        return {**kept, **known, "model": model, "trunk": self.trunk_sha256}

    def _check_start(self, policy: Tensor, reference: Tensor) -> None:
        drift = float((policy - reference).abs().max())
        if drift > RATIO_TOLERANCE.get(self.trunk.dtype, 5e-2):
            raise TrainingError(
                f"before the first update the policy differs from its reference by {drift:.2g} nats at a token; it "
                "must be 0. The trunk or its adapters are not what they should be"
            )

    def _optimise(self, step: int) -> float:
        """Add up the processes' gradients, clip, step, schedule; returns the gradient norm before clipping."""
        processes.add_gradients(self.parameters)
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm))
        if not math.isfinite(norm):
            raise TrainingError(f"step {step + 1}: the gradient is not finite; lower dpo.lr or dpo.beta")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        return norm

    def _spend(self, clock: Clock) -> None:
        """Count a phase's device seconds; those of all processes are added up."""
        self.device_seconds += sum(processes.gather(clock.device_seconds))

    def _resume(self) -> int:
        found = restore(self.folder / CHECKPOINTS, self.identity())
        if found is None:
            return 0
        self.trunk.roles.restore(POLICY, found["adapter"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.scheduler.load_state_dict(found["scheduler"])
        self.validation.restore(found["validation"])
        self.tokens, self.device_seconds = found["tokens"], found["device_seconds"]
        logger.info("resuming at step %d", found["next_step"])
        return int(found["next_step"])

    def _save(self, next_step: int) -> None:
        """Store the state before step ``next_step``."""
        state = {
            "next_step": next_step,
            "identity": self.identity(),
            "adapter": self.trunk.roles.state(POLICY),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "validation": self.validation.state(),
            "tokens": self.tokens,
            "device_seconds": self.device_seconds,
        }
        if processes.is_main():
            save(self.folder / CHECKPOINTS, state, self.run_config.keep_checkpoints)

    def _result(self) -> PreferenceResult:
        read = {place for step in range(self.steps) for place in self._places(step)}
        fall = self.validation.fall
        return PreferenceResult(
            self.steps,
            len(read),
            self.tokens,
            self.device_seconds,
            self.flip_rate if self.config.loss == "robust" else None,
            self.trunk_sha256,
            self.validation.summary(),
            None if fall is None else fall.to_json(),
        )

    def _places(self, step: int) -> list[int]:
        """The pairs of one step."""
        return pairs_of_step(len(self.rows), step, self.config.batch, self.run_config.seed)


def pairs_of_step(pairs: int, step: int, batch: int, seed: int) -> list[int]:
    """Which of so many pairs a step reads: every pass over them has an order of its own, and none is left out."""
    places = []
    for place in range(step * batch, (step + 1) * batch):
        epoch, offset = divmod(place, pairs)
        places.append(_order(pairs, epoch, seed)[offset])
    return places


@lru_cache(maxsize=2)
def _order(pairs: int, epoch: int, seed: int) -> list[int]:
    return random.Random(f"pairs {seed} {epoch}").sample(range(pairs), pairs)


def micro_batch_of(config: DPOConfig) -> int:
    """Pairs per forward pass: few enough that every process gets some of each step.

    Raises:
        ConfigError: A step has fewer pairs than there are processes.
    """
    if config.batch < processes.count():
        raise ConfigError(f"dpo.batch = {config.batch}: expected at least one pair for {processes.count()} processes")
    return min(config.micro_batch, config.batch // processes.count())
