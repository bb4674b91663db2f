"""TRL's SFTTrainer over a role of a trunk; imported when one is trained, for TRL takes seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import SFTConfig as TRLConfig
from trl import SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from rewardlab import processes
from rewardlab.config import RunConfig
from rewardlab.models import Trunk
from rewardlab.training.answer_loss import AnswerLogits, answer_logits, takes_own_loss, wrapped_answer_logits
from rewardlab.training.progress import Recorder
from rewardlab.training.sft_validation import Watching
from rewardlab.training.trl_checkpoint import RoleTrainer
from rewardlab.training.trl_loop import run_trainer
from rewardlab.training.trl_run import Outcome, Plan, one_device, trl_settings


def run_sft_trainer(
    trunk: Trunk,
    role: str,
    rows: list[dict[str, list[int]]],
    config: RunConfig,
    plan: Plan,
    recorder: Recorder,
    names: Mapping[str, str],
    folder: Path,
    watching: Watching,
) -> Outcome:
    """Train a role on token rows; goes on where a run was interrupted.

    Args:
        trunk: Carries the role, which is active.
        role: What is trained and stored; the stage's name for the progress bar too.
        rows: The columns ``input_ids`` and ``labels``.
        config: Its section ``sft``, and the seed.
        plan: Steps.
        recorder: Where metrics go.
        names: TRL's metric name -> ours.
        folder: Of checkpoints.
        watching: Measures validation rows as it trains, and knows the time that limits it.
    """
    settings = trl_settings(config.sft, plan, config.seed, trunk.device)
    trainer = _Trainer(
        trunk,
        role,
        watching,
        args=one_device(TRLConfig(output_dir=str(folder), packing=False, **settings)),
        train_dataset=Dataset.from_list(rows),
        data_collator=DataCollatorForLanguageModeling(pad_token_id=trunk.codec.pad_id),
    )
    outcome = run_trainer(
        trainer, role, plan.steps, recorder, names, config.keep_checkpoints, config.sft.checkpoint_seconds
    )
    trunk.model.eval()
    watching.validation.ensure(trainer.state.global_step)
    return outcome


class _Trainer(RoleTrainer, SFTTrainer):  # type: ignore[misc]  # trl is untyped here
    """TRL's trainer with a faster loss where there is no CUDA, and for models that scale or cap their logits.

    For those TRL goes by names in the configuration, which we try against the model (``models/output.py``).
    TRL's fused output layer needs Triton to skip positions without a label. Elsewhere it projects all of them, prompts
    included: SmolLM2-135M on one core took 6.7 s a micro-batch of 8 x 120 tokens, against 3.0 s with the loss below.
    """

    lr_scheduler: Any

    def __init__(self, trunk: Trunk, role: str, watching: Watching, **arguments: Any) -> None:
        super().__init__(trunk, role, model=trunk.model, processing_class=trunk.codec.tokenizer, **arguments)
        self._watching, self._limit = watching, watching.limit
        if self._limit is not None:
            self.add_callback(self._limit)
        self.add_callback(watching)
        self._is_direct = takes_own_loss(trunk)
        self._seen: list[_Seen] = []

    @property
    def is_over(self) -> bool:
        """True when the time is over, or validation accuracy has settled."""
        return (self._limit is not None and self._limit.is_over) or self._watching.validation.is_settled

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The cosine follows the time where time ends training."""
        if self._limit is not None and self.lr_scheduler is None:
            self.lr_scheduler = self._limit.scheduler(optimizer or self.optimizer)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    def go_on(self, checkpoint: Path) -> None:
        """Take the time that was spent and the measures from the checkpoint too."""
        super().go_on(checkpoint)
        logged = [row["spent_s"] for row in self.state.log_history if "spent_s" in row]
        if self._limit is not None and logged:
            self._limit.spent = float(logged[-1])
        self._watching.go_on(checkpoint)

    def save_model(self, output_dir: str, _internal_call: bool = False) -> None:
        """Store the role, and what was measured."""
        super().save_model(output_dir, _internal_call)
        self._watching.validation.store(Path(output_dir))

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Mean negative log-likelihood over the answer tokens of the whole batch.

        Of several processes each returns its part of it, times their number, for their losses and gradients are
        averaged.
        """
        with self._trunk.running(self._role, len(inputs["input_ids"])):
            if not self._is_direct:
                loss: Tensor = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
                return loss
            given = inputs["input_ids"], inputs["attention_mask"], inputs["labels"]
            is_wrapped = processes.is_sharded()
            answers = wrapped_answer_logits(model, *given) if is_wrapped else answer_logits(self._trunk, *given)
        self._seen.append(_look_at(answers, int(inputs["attention_mask"].sum())))
        total = torch.nn.functional.cross_entropy(answers.logits, answers.tokens, reduction="sum")
        if num_items_in_batch is None:
            return total / len(answers.tokens)
        mean: Tensor = total * processes.count() / num_items_in_batch
        return mean

    def training_step(self, *arguments: Any, **named: Any) -> Tensor:
        """Average gradients over the processes: the direct loss passes by the wrapper that would do it.

        Where weights are in pieces, gradients are averaged as they are made.
        """
        loss: Tensor = super().training_step(*arguments, **named)
        if self._is_direct and self.accelerator.sync_gradients and not processes.is_sharded():
            processes.add_gradients(self._trunk.roles.parameters(self._role), scale=1 / processes.count())
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what all processes saw since the last call, under TRL's names."""
        if self._seen:
            everyone = [one for part in processes.gather(self._seen) for one in part]
            count = sum(one.answer_tokens for one in everyone)
            self._total_train_tokens += sum(one.tokens for one in everyone)
            logs["entropy"] = sum(one.entropy for one in everyone) / count
            logs["mean_token_accuracy"] = sum(one.correct for one in everyone) / count
            logs["num_tokens"] = self._total_train_tokens
            self._seen = []
        if self._limit is not None:
            logs["spent_s"] = self._limit.spent
        super().log(logs, start_time)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Sums over a micro-batch: tokens, of which answer tokens, of which right at first choice; nats."""

    tokens: int
    answer_tokens: int
    correct: int
    entropy: float


@torch.no_grad()
def _look_at(answers: AnswerLogits, tokens: int) -> _Seen:
    log_probs = torch.log_softmax(answers.logits, -1)
    correct = int((answers.logits.argmax(-1) == answers.tokens).sum())
    return _Seen(tokens, len(answers.tokens), correct, float(-(log_probs.exp() * log_probs).sum()))
