"""Supervised fine-tuning: a LoRA adapter learns to answer, with TRL's SFTTrainer. The loss is on the answer only.

Only the adapter is stored. It is merged where a later stage loads its trunk (``load_trunk(..., adapter)``).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from rewardlab.models import Codec, Trunk, load_trunk
from rewardlab.models.sampler import right_pad
from rewardlab.runs import ADAPTER, CHECKPOINTS, RunFolder
from rewardlab.tasks.confidence import shown_confidence
from rewardlab.tasks.task import Task, tasks
from rewardlab.training.progress import FolderRecorder, Recorder, Several, Silent
from rewardlab.training.sft_validation import Watching, sft_validation
from rewardlab.training.time_limit import TimeLimit
from rewardlab.training.trl_checkpoint import RoleTrainer
from rewardlab.training.trl_run import (
    Outcome,
    Plan,
    check_trainable,
    left_out,
    one_device,
    plan_steps,
    refuse_nothing,
    remove_dropout,
    run_trainer,
    shared_result,
    trl_settings,
)
from rewardlab.types import AnswerFormat, Example

logger = logging.getLogger(__name__)

ROLE = "sft"
IGNORED = -100
"""Label of a position without loss; torch's and TRL's convention."""
METRICS: Mapping[str, str] = {
    "loss": "sft/loss",
    "learning_rate": "sft/lr",
    "mean_token_accuracy": "sft/token_accuracy",
    "entropy": "sft/entropy",
    "grad_norm": "sft/grad_norm",
}
"""TRL's name -> ours."""
GLOSSARY: Mapping[str, str] = {
    "sft/loss": "negative log-likelihood per answer token, nats",
    "sft/lr": "learning rate of the step",
    "sft/token_accuracy": "share of answer tokens that are the model's first choice",
    "sft/entropy": "entropy of the next-token distribution at answer tokens, nats",
    "sft/grad_norm": "norm of the gradient before clipping",
}

Rationales = Mapping[tuple[str, str], str]
"""(task, example id) -> rationale for the gold label."""
Words = Mapping[str, Mapping[str, str]]
"""Task -> label -> the word that is learned for it."""


@dataclass(frozen=True, slots=True)
class SFTRows:
    """Token rows, and how many examples gave none.

    Attributes:
        rows: One an example that can be trained on.
        dropped: Reason -> number of examples without a row.
        longest: Tokens of the longest response, its end token included; of responses over the budget too.
    """

    rows: list[dict[str, list[int]]]
    dropped: dict[str, int]
    longest: int

    def left_out(self, budget: int) -> str:
        """What became of the examples without a row; "" when all have one."""
        return left_out(
            {
                "have no label": self.dropped["no_label"],
                "have no rationale (annotate.limit, annotate.filter_threshold)": self.dropped["no_rationale"],
                f"have an answer of more than {budget} tokens (the longest has {self.longest}: give "
                f"--set model.max_new_tokens={self.longest}, or another --model)": self.dropped["too_long"],
            }
        )


def train_sft(
    folder: RunFolder,
    config: RunConfig,
    examples: Sequence[Example],
    rationales: Rationales | None = None,
    progress: Recorder | None = None,
    *,
    validation: Sequence[Example] = (),
) -> dict[str, Any]:
    """Train an adapter on labelled examples and store it in ``folder/adapter``; goes on where a run was interrupted.

    The best one on validation rows goes to ``folder/adapter-best``, measured after each epoch, five times at most, of
    equals the earliest. The base model is no candidate: it has not learned the answer format. With one epoch there is
    nothing to choose from, and nothing is measured.

    Args:
        folder: An opened run folder; metrics go to its ``metrics.jsonl``.
        config: Model, LoRA and SFT sections, seed.
        examples: Labelled examples; their own format decides how the answer is printed.
        rationales: Rationale of each example; None trains on the bare answer format.
        progress: A further recorder, such as a progress bar.
        validation: Labelled rows that the adapter is measured on as it trains.
    Returns:
        rows, dropped (by reason), steps, loss (first, last; nats), seconds, tokens, trunk (its hash), validation (best
        and last measure, or None), candidates (adapters that validation could choose from; 1 is the last one alone);
        device_seconds where ``sft.seconds`` limits them.
    Raises:
        DataError: No example could be used.
        TrainingError: The loss became infinite or not a number.
    """
    trunk = load_trunk(config.model)
    encoded = encode_rows(trunk.codec, examples, rationales, config.new_tokens, config.sft.words)
    reasons = encoded.left_out(config.new_tokens)
    refuse_nothing("labelled row", len(examples), len(encoded.rows), reasons)
    logger.log(
        logging.WARNING if encoded.dropped["too_long"] else logging.INFO,
        "SFT on %d of %d rows%s",
        len(encoded.rows),
        len(examples),
        f"; left out: {reasons}" if reasons else "",
    )
    plan = plan_steps(config.sft, len(encoded.rows))
    recorder = Several(FolderRecorder(folder), progress or Silent())
    limit = TimeLimit(config.sft.seconds, config.sft.warmup, trunk.device) if config.sft.seconds else None
    watching = Watching(
        sft_validation(trunk, ROLE, config, plan.steps, len(encoded.rows), validation, folder.path), limit
    )
    outcome = _fit(trunk, config, encoded.rows, plan, recorder, folder.path / CHECKPOINTS, watching)
    trunk.roles.save(ROLE, folder.path / ADAPTER)
    watching.validation.save_best()
    timed = {"device_seconds": round(limit.spent, 2)} if limit else {}
    chosen = {"validation": watching.validation.summary(), "candidates": watching.validation.cadence.looks}
    counted = {"rows": len(encoded.rows), "dropped": encoded.dropped}
    return {**counted, **shared_result(trunk, outcome), **chosen, **timed}


def encode_rows(
    codec: Codec, examples: Sequence[Example], rationales: Rationales | None, budget: int, words: Words | None = None
) -> SFTRows:
    """Token ids and labels of each example; labels are :data:`IGNORED` on the prompt.

    Args:
        codec: The trunk's codec.
        examples: Labelled examples.
        rationales: See :func:`train_sft`.
        budget: Longest response, its end token included: the model could not finish a longer one when it generates.
        words: As ``sft.words``; None: the tasks' own.
    """
    rows: list[dict[str, list[int]]] = []
    dropped: Counter[str] = Counter(no_label=0, no_rationale=0, too_long=0)
    longest = 0
    for example in examples:
        response = _response_ids(codec, example, rationales, words or {})
        if isinstance(response, str):
            dropped[response] += 1
            continue
        longest = max(longest, len(response))
        if len(response) > budget:
            dropped["too_long"] += 1
            continue
        prompt = codec.prompt_ids(example)
        rows.append({"input_ids": prompt + response, "labels": [IGNORED] * len(prompt) + response})
    return SFTRows(rows, dict(dropped), longest)


def _response_ids(codec: Codec, example: Example, rationales: Rationales | None, words: Words) -> list[int] | str:
    """The tokens to learn, or the reason why there are none."""
    key = (example.task, example.id)
    if example.label is None:
        return "no_label"
    if rationales is not None and key not in rationales:
        return "no_rationale"
    rationale = (rationales or {}).get(key, "")
    task = _writing(tasks.get(example.task), example.format, words.get(example.task, {}))
    text = task.response(example.label, example.format, rationale, shown_confidence(example))
    return codec.response_ids(text)


def _writing(task: Task, format: AnswerFormat, words: Mapping[str, str]) -> Task:
    """The task with other words for some of its labels; only what is learned is written by it, nothing is read."""
    if not words:
        return task
    return replace(task, words={**task.words, format: {**task.words.get(format, {}), **words}})


def _fit(
    trunk: Trunk,
    config: RunConfig,
    rows: list[dict[str, list[int]]],
    plan: Plan,
    recorder: Recorder,
    folder: Path,
    watching: Watching,
) -> Outcome:
    torch.manual_seed(config.seed)
    remove_dropout(trunk.model)
    trunk.roles.add(ROLE, config.lora, dropout=config.sft.dropout)
    with trunk.roles.using(ROLE):
        check_trainable(trunk.model, trunk.roles.parameters(ROLE))
        settings = trl_settings(config.sft, plan, config.seed, trunk.device)
        trainer = _Trainer(
            trunk,
            ROLE,
            watching,
            args=one_device(TRLConfig(output_dir=str(folder), packing=False, **settings)),
            train_dataset=Dataset.from_list(rows),
            data_collator=DataCollatorForLanguageModeling(pad_token_id=trunk.codec.pad_id),
        )
        outcome = run_trainer(
            trainer, ROLE, plan.steps, recorder, METRICS, config.keep_checkpoints, config.sft.checkpoint_seconds
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
        """True when the time is over."""
        return self._limit is not None and self._limit.is_over

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
        if not self._is_direct:
            loss: Tensor = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            return loss
        answers = answer_logits(self._trunk, inputs["input_ids"], inputs["attention_mask"], inputs["labels"])
        self._seen.append(_look_at(answers, int(inputs["attention_mask"].sum())))
        total = torch.nn.functional.cross_entropy(answers.logits, answers.tokens, reduction="sum")
        if num_items_in_batch is None:
            return total / len(answers.tokens)
        mean: Tensor = total * processes.count() / num_items_in_batch
        return mean

    def training_step(self, *arguments: Any, **named: Any) -> Tensor:
        """Average gradients over the processes: the direct loss passes by the wrapper that would do it."""
        loss: Tensor = super().training_step(*arguments, **named)
        if self._is_direct and self.accelerator.sync_gradients:
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


def takes_own_loss(trunk: Trunk) -> bool:
    """Whether SFT works the loss out from :func:`answer_logits`, not in TRL's fused output layer."""
    return trunk.device.type != "cuda" or not trunk.head.is_plain


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


@dataclass(frozen=True, slots=True)
class AnswerLogits:
    """Logits (N, V), float32, and the tokens (N,) they should predict; N answer tokens."""

    logits: Tensor
    tokens: Tensor


def answer_nll(trunk: Trunk, rows: Sequence[tuple[list[int], list[int]]]) -> Tensor:
    """Sum of the negative log-likelihoods of all response tokens of (prompt, response), nats, under the active role."""
    ids, keep = right_pad([prompt + response for prompt, response in rows], trunk.codec.pad_id, trunk.device)
    labels = torch.full_like(ids, IGNORED)
    for number, (prompt, response) in enumerate(rows):
        labels[number, len(prompt) : len(prompt) + len(response)] = torch.tensor(response, device=trunk.device)
    answers = answer_logits(trunk, ids, keep, labels)
    return torch.nn.functional.cross_entropy(answers.logits, answers.tokens, reduction="sum")


def answer_logits(trunk: Trunk, ids: Tensor, keep: Tensor, labels: Tensor) -> AnswerLogits:
    """Logits at the positions that predict a labelled token, under the active role; all inputs (B, T)."""
    states = trunk.backbone(ids, attention_mask=keep, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    predicts = targets != IGNORED
    return AnswerLogits(trunk.logits(states[predicts]), targets[predicts])
