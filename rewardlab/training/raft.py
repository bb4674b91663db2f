"""Rejection-sampling fine-tuning: sample, keep what scores best, learn from it as SFT does; in rounds.

Each round samples from the policy of the round before and fine-tunes a fresh adapter from the start on what it keeps.
A response that its budget cut is never kept: learning it would teach the policy not to end. Sampling and orders are
functions of (seed, round), so a resume draws the same.

Source:
    Dong et al. 2023 (RAFT), algorithm 1, with the best of the samples to each prompt; as in Llama 2 (Touvron et al.
    2023, section 3.2.2) the fine-tuning of every round begins at the start.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from rewardlab import processes
from rewardlab.config import RunConfig, fingerprint
from rewardlab.disk import read_jsonl
from rewardlab.errors import TrainingError
from rewardlab.models.names import CHAT_SETTINGS
from rewardlab.models.sampler import SamplingConfig
from rewardlab.models.trunk import Trunk
from rewardlab.raft_config import RaftConfig
from rewardlab.rewards.ledger import LEDGER_FILE, Ledger, summary
from rewardlab.runs import ADAPTER, CHECKPOINTS
from rewardlab.section import STORING
from rewardlab.tasks.task import STOP_STRINGS
from rewardlab.training import random_state
from rewardlab.training.actor import POLICY
from rewardlab.training.answer_loss import answer_nll
from rewardlab.training.budget import PromptsRead
from rewardlab.training.checkpoint import Checkpoints
from rewardlab.training.checks import check_processes, check_trunk
from rewardlab.training.clock import Clock
from rewardlab.training.fitting import sampling_batch
from rewardlab.training.interval import Interval
from rewardlab.training.progress import Recorder, recording
from rewardlab.training.schedule import batch_of, factor_at
from rewardlab.training.scored_samples import Candidate, as_trained, best_of, draw, score
from rewardlab.training.validation import Cadence, Validation
from rewardlab.types import Example, Reward, Score

logger = logging.getLogger(__name__)

CHUNK = 64
"""Prompts that are sampled and scored between two looks at the clock of checkpoints."""
GLOSSARY: Mapping[str, str] = {
    "raft/kept": "responses that the round learned from",
    "raft/kept_score": "mean score of these responses",
    "raft/skipped": "share of prompts without a response to learn from: unscored, cut, or none above the threshold",
    "raft/loss": "negative log-likelihood per token of these responses, mean over the round's optimiser steps, nats",
    "raft/grad_norm": "norm of the gradient before clipping, mean over the round's optimiser steps",
    "raft/updates": "optimiser steps of the round",
    "rollout/response_tokens": "mean length of the sampled responses",
    "rollout/unfinished": "share of sampled responses that were cut at their budget",
}
"""Metrics of a round, beside those of the ledger and of validation."""


@dataclass(frozen=True, slots=True)
class RaftResult:
    """Outcome of training.

    Attributes:
        steps: Rounds.
        updates: Optimiser steps of all rounds.
        tokens, responses: Generated in all rounds.
        forward, backward: Sequences that went through the trunk, all roles and processes together: forward with a whole
            sequence at a time (sampling is counted in tokens), and backward.
        learned: Responses that were learned from.
        skipped: Prompts, over all rounds, without a response to learn from.
        device_seconds: Seconds of sampling, scoring, learning and measuring, over all devices.
        read: The prompts of these rounds.
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
    learned: int
    skipped: int
    device_seconds: float
    read: PromptsRead
    trunk_sha256: str
    validation: Mapping[str, Any] | None
    fall: Mapping[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """As result.json stores it."""
        own = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("read", "device_seconds")
        }
        return {**own, "device_seconds": round(self.device_seconds, 2), **self.read.to_json()}


@dataclass(slots=True)
class Round:
    """What is known of a round, apart from weights and optimiser.

    Attributes:
        number: From 0.
        sampled: Prompts that were sampled.
        kept: For each response to learn from the place of its prompt in the round, then its tokens.
        scores: Their scores.
        responses, unfinished, tokens: Responses sampled, those that were cut, and tokens of all.
        skipped: Prompts without a response to learn from.
        unscored: Responses that could not be judged.
        backward: Responses that were learned from, once for each time.
        losses, norms: Of the optimiser steps taken.
    """

    number: int
    sampled: int = 0
    kept: list[list[int]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    responses: int = 0
    unfinished: int = 0
    tokens: int = 0
    skipped: int = 0
    unscored: int = 0
    backward: int = 0
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)

    def metrics(self) -> dict[str, float]:
        """As :data:`GLOSSARY` says."""
        means = {"raft/kept_score": self.scores, "raft/loss": self.losses, "raft/grad_norm": self.norms}
        return {
            "raft/kept": float(len(self.kept)),
            "raft/skipped": self.skipped / self.sampled,
            "raft/updates": float(len(self.losses)),
            "rollout/response_tokens": self.tokens / self.responses,
            "rollout/unfinished": self.unfinished / self.responses,
            **{name: fmean(values) for name, values in means.items() if values},
        }

    def totals(self) -> dict[str, int]:
        """What adds up over rounds."""
        counts = {"updates": len(self.losses), "learned": len(self.kept), "backward": self.backward}
        return {**counts, "tokens": self.tokens, "responses": self.responses, "skipped": self.skipped}


class RaftTrainer:
    """Trains a policy on the best of its own responses, with a LoRA role on a trunk.

    Args:
        trunk: The SFT-merged (or base) model; gets the role ``policy``.
        reward: What chooses.
        examples: The prompts, of one task or several.
        config: The whole run's configuration.
        recorder: Where the metrics of each round go.
        ledger: Where every response's reward is written down; its step is the round.
        folder: The run folder.
        lam: Lambda on the raw scale, for its saturation share.
        validation: Labelled rows that the policy is measured on after each round.
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
        lam: float | None = None,
        validation: Sequence[Example] = (),
    ) -> None:
        self.trunk, self.reward, self.examples, self.run_config = trunk, reward, list(examples), config
        self.config: RaftConfig = config.raft
        self.recorder, self.ledger, self.folder, self.lam = recorder, ledger, folder, lam
        if not self.examples:
            raise TrainingError("RAFT has no prompts; raise data.prompts or give a task with more rows")
        torch.manual_seed(config.seed)  # the adapter's A matrices
        trunk.roles.add(POLICY, config.lora)
        self.start = {name: weight.clone() for name, weight in trunk.roles.state(POLICY).items()}
        self.prompts = self.config.prompts or len(self.examples)
        self.sampling = SamplingConfig(
            config.new_tokens, self.config.temperature, STOP_STRINGS[config.format], sampling_batch(config, trunk)
        )
        cadence, patience = Cadence(1, self.config.rounds), self.config.patience
        self.validation = Validation(trunk, validation, cadence, self.sampling, folder, patience=patience)
        self.trunk_sha256 = trunk.sha256()
        self.checkpoints = Checkpoints(folder / CHECKPOINTS, config.keep_checkpoints, folder / LEDGER_FILE)
        self.stored_last = Interval(self.config.checkpoint_seconds)
        self.round = Round(0)
        self.fitting: _Fitting | None = None
        self.totals = dict.fromkeys(Round(0).totals(), 0)
        self.seconds, self.stored = 0.0, 0

    def train(self) -> RaftResult:
        """Run all rounds, or until validation accuracy has settled, from the newest checkpoint.

        The policy is stored in ``adapter/``, the best one in ``adapter-best/``.

        Raises:
            TrainingError: Too many responses could not be judged, or a loss is not finite.
        """
        if not self.resume():
            self.validation.ensure(0)
        with recording(self.recorder, "raft", self.config.rounds, self.round.number):
            while self.round.number < self.config.rounds and not self.validation.is_settled:
                prompts = batch_of(self.examples, self.round.number, self.prompts, self.run_config.seed)
                clock = Clock(self.trunk.device)
                self._sample(prompts, clock)
                self._learn(prompts, clock)
                self._end_round(clock)
        check_trunk(self.trunk, self.trunk_sha256)
        check_processes(self.trunk)
        self.validation.ensure(self.round.number)
        self.trunk.roles.save(POLICY, self.folder / ADAPTER)
        self.validation.save_best()
        return self._result()

    def _sample(self, prompts: Sequence[Example], clock: Clock) -> None:
        """Sample and score what is left of the round's prompts, and keep the best responses."""
        key = (self.run_config.seed, "raft", self.round.number)
        for first in range(self.round.sampled, len(prompts), CHUNK):
            part, count = prompts[first : first + CHUNK], self.config.samples
            with clock.phase("generate"):
                drawn = draw(self.trunk, POLICY, part, count, self.sampling, key, first)
            texts = [each.text for each in drawn]
            with clock.phase("score"):
                scores = score(self.reward, part, texts)
            examples, places = [each for each in part for _ in range(count)], list(range(count)) * len(part)
            self.ledger.record(self.round.number + 1, examples, texts, scores, as_trained(scores), places)
            self._count(scores, [len(each.ids) for each in drawn], [each.is_finished for each in drawn])
            for place in range(len(part)):
                rows = slice(place * count, (place + 1) * count)
                own = [
                    Candidate(one.text, one.is_finished, judged.score)
                    for one, judged in zip(drawn[rows], scores[rows], strict=True)
                ]
                self._keep(first + place, own)
            self.round.sampled = first + len(part)
            self._store_if_due(clock)

    def _count(self, scores: Sequence[Score], tokens: Sequence[int], finished: Sequence[bool]) -> None:
        """Take responses into the counts; raises TrainingError when too many could not be judged."""
        self.round.responses += len(scores)
        self.round.tokens += sum(tokens)
        self.round.unfinished += len(finished) - sum(finished)
        failed = [each for each in scores if not each.is_scored]
        self.round.unscored += len(failed)
        if self.round.unscored > self.config.max_unscored * self.prompts * self.config.samples:
            raise TrainingError(
                f"reward {self.reward.name!r} could not judge {self.round.unscored} of the first "
                f"{self.round.responses} responses of round {self.round.number + 1} (raft.max_unscored = "
                f"{self.config.max_unscored}); the last reason: {failed[-1].reason}"
            )

    def _keep(self, place: int, candidates: Sequence[Candidate]) -> None:
        """Choose among the responses to one prompt; of equal scores the earliest."""
        whole = [each for each in candidates if each.is_finished]
        chosen = best_of(whole, self.config.keep, self.config.threshold)
        self.round.skipped += not chosen
        for number in chosen:
            best = whole[number]
            assert best.score is not None
            self.round.kept.append([place, *self.trunk.codec.response_ids(best.text)])
            self.round.scores.append(best.score)

    def _learn(self, prompts: Sequence[Example], clock: Clock) -> None:
        """Fine-tune a fresh adapter on what was kept; without anything to learn from the policy stays as it is."""
        if not self.round.kept:
            logger.warning("round %d: no response to learn from; the policy stays as it was", self.round.number + 1)
            return
        if self.fitting is None:
            self.trunk.roles.restore(POLICY, self.start)
            self.fitting = _Fitting(self.trunk, self.config, self._updates)
            self._store_if_due(clock)
        rows = [(self.trunk.codec.prompt_ids(prompts[place]), response) for place, *response in self.round.kept]
        while len(self.round.losses) < self._updates:
            with clock.phase("update"):
                batch = [rows[number] for number in self._batch(len(self.round.losses))]
                loss, norm = self.fitting.step(batch)
            self.round.backward += len(batch)
            self.round.losses.append(loss)
            self.round.norms.append(norm)
            if len(self.round.losses) % self.config.checkpoint_every == 0:
                self.store(clock)
            else:
                self._store_if_due(clock)

    @property
    def _updates(self) -> int:
        """Optimiser steps of the round."""
        return math.ceil(self.config.epochs * math.ceil(len(self.round.kept) / self.config.batch))

    def _batch(self, update: int) -> list[int]:
        """Which of the kept responses an optimiser step learns from; every epoch has an order of its own."""
        rows = len(self.round.kept)
        epoch, number = divmod(update, math.ceil(rows / self.config.batch))
        order = random.Random(f"raft {self.run_config.seed} {self.round.number} {epoch}").sample(range(rows), rows)
        return order[number * self.config.batch : (number + 1) * self.config.batch]

    def _end_round(self, clock: Clock) -> None:
        """Measure and write down the round, and begin the next one."""
        done = self.round
        with clock.phase("validate"):
            measured = self.validation.look(done.number + 1) if self.validation.is_on else {}
        rows = self._ledger_rows(done.number + 1)
        seconds = {f"time/{name}_s": value for name, value in clock.seconds.items()}
        self.recorder.emit(done.number + 1, {**summary(rows, self.lam), **done.metrics(), **measured, **seconds})
        for name, count in done.totals().items():
            self.totals[name] += count
        self.round, self.fitting = Round(done.number + 1), None
        self.store(clock)

    def _ledger_rows(self, step: int) -> list[dict[str, Any]]:
        """The round's responses, those that an interrupted process sampled too; the main process has them."""
        if not processes.is_main():
            return []
        return [row for row in read_jsonl(self.folder / LEDGER_FILE) if row["step"] == step]

    def _result(self) -> RaftResult:
        fall, rounds = self.validation.fall, self.round.number
        return RaftResult(
            steps=rounds,
            forward=sum(processes.gather(self.trunk.rows_read)) + self.totals["backward"],
            device_seconds=self.seconds,
            read=PromptsRead.of(self.examples, rounds, self.prompts, self.run_config.seed),
            trunk_sha256=self.trunk_sha256,
            validation=self.validation.summary(),
            fall=None if fall is None else fall.to_json(),
            **self.totals,
        )

    def _store_if_due(self, clock: Clock) -> None:
        if self.stored_last.is_over_for_all:
            self.store(clock)

    def store(self, clock: Clock) -> None:
        """Store a checkpoint; every process calls this, for each has generators and seconds of its own."""
        self.seconds += sum(processes.gather(clock.device_seconds))
        clock.device_seconds = 0.0
        self.stored += 1
        state = {
            "round": asdict(self.round),
            "adapter": self.trunk.roles.state(POLICY),
            "fitting": None if self.fitting is None else self.fitting.state(),
            "validation": self.validation.state(),
            "totals": self.totals,
            "seconds": self.seconds,
            "rows_read": processes.gather(self.trunk.rows_read),
            "random": processes.gather(random_state.capture()),
        }
        self.checkpoints.save(self.stored, self._identity(), state)
        self.stored_last.restart()

    def resume(self) -> bool:
        """Go on from the newest readable checkpoint; False without one.

        Raises:
            RunFolderError: It was made under another configuration; the message lists the keys.
        """
        restored = self.checkpoints.restore(self._identity())
        if restored is None:
            return False
        self.stored, state = restored
        self.round, self.totals, self.seconds = Round(**state["round"]), dict(state["totals"]), state["seconds"]
        self.trunk.roles.restore(POLICY, state["adapter"])
        if state["fitting"] is not None:
            self.fitting = _Fitting(self.trunk, self.config, self._updates)
            self.fitting.restore(state["fitting"])
        self.validation.restore(state["validation"])
        rank = processes.rank() % len(state["random"])
        self.trunk.rows_read = state["rows_read"][rank]
        random_state.restore(state["random"][rank])
        logger.info("resuming in round %d", self.round.number + 1)
        return True

    def _identity(self) -> dict[str, Any]:
        """What the rounds depend on beside the state, as the configuration names it; the model by its weights."""
        config = self.run_config
        kept = config.model_dump(mode="json", include={"seed", "format", "lora", "reward"})
        model = config.model.model_dump(mode="json", include={"max_prompt_tokens", "max_new_tokens", *CHAT_SETTINGS})
        rows = {"prompts": self.examples, "validation": self.validation.examples}
        read = {name: fingerprint([[row.task, row.id] for row in part]) for name, part in rows.items()}
        own = self.config.model_dump(mode="json", exclude=set(STORING))
        return {**kept, **read, "raft": own, "model": model, "trunk": self.trunk_sha256}


class _Fitting:
    """The optimiser of one round: AdamW, linear warm-up and a cosine; the loss is a mean over response tokens."""

    def __init__(self, trunk: Trunk, config: RaftConfig, updates: int) -> None:
        self._trunk, self._config = trunk, config
        self._parameters = trunk.roles.parameters(POLICY)
        self._optimizer = torch.optim.AdamW(self._parameters, lr=config.lr, weight_decay=0.0)
        self._scheduler = LambdaLR(
            self._optimizer, lambda done: factor_at(done / updates, config.warmup, config.final_lr)
        )

    def step(self, rows: Sequence[tuple[list[int], list[int]]]) -> tuple[float, float]:
        """One optimiser step on (prompt, response) tokens; returns loss per token (nats) and gradient norm."""
        total = sum(len(response) for _, response in rows)
        micro = [
            rows[start : start + self._config.micro_batch] for start in range(0, len(rows), self._config.micro_batch)
        ]
        loss = 0.0
        self._optimizer.zero_grad(set_to_none=True)
        for part in processes.share(micro):
            with self._trunk.roles.using(POLICY):
                mean = answer_nll(self._trunk, part) / total
            mean.backward()  # type: ignore[no-untyped-call]  # torch's
            loss += float(mean.detach())
        processes.add_gradients(self._parameters)
        loss = sum(processes.gather(loss))
        if not math.isfinite(loss):
            raise TrainingError(f"RAFT: the loss is {loss}, expected a finite number; lower raft.lr")
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, self._config.max_grad_norm))
        self._optimizer.step()
        self._scheduler.step()
        return loss, norm

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"optimizer": self._optimizer.state_dict(), "scheduler": self._scheduler.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
