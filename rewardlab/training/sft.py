"""Supervised fine-tuning: a LoRA adapter learns to answer, with TRL's SFTTrainer. The loss is on the answer only.

Only the adapter is stored. It is merged where a later stage loads its trunk (``load_trunk(..., adapter)``).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rewardlab.config import RunConfig
from rewardlab.models import Codec, Trunk, load_trunk
from rewardlab.runs import ADAPTER, CHECKPOINTS, RunFolder
from rewardlab.tasks.confidence import shown_confidence
from rewardlab.tasks.task import Task, tasks
from rewardlab.training.answer_loss import IGNORED
from rewardlab.training.fitting import training_batch
from rewardlab.training.memory import Longest
from rewardlab.training.progress import FolderRecorder, Recorder, Several, Silent
from rewardlab.training.trl_run import (
    Outcome,
    Plan,
    check_trainable,
    left_out,
    plan_steps,
    refuse_nothing,
    remove_dropout,
    shared_result,
)
from rewardlab.types import AnswerFormat, Example

if TYPE_CHECKING:
    from rewardlab.training.sft_validation import Watching

logger = logging.getLogger(__name__)

ROLE = "sft"
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
    from rewardlab.training.sft_validation import Watching, sft_validation
    from rewardlab.training.time_limit import TimeLimit

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
    micro = training_batch("sft", config, trunk, _longest(encoded.rows))
    config = config.model_copy(update={"sft": config.sft.model_copy(update={"micro_batch": micro})})
    trunk.is_checkpointed = config.sft.gradient_checkpointing
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


def _longest(rows: Sequence[Mapping[str, Sequence[int]]]) -> Longest:
    responses = [sum(label != IGNORED for label in row["labels"]) for row in rows]
    prompts = [len(row["labels"]) - response for row, response in zip(rows, responses, strict=True)]
    return Longest(max(prompts), max(responses))


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
    from rewardlab.training.sft_trainer import run_sft_trainer

    torch.manual_seed(config.seed)
    remove_dropout(trunk.model)
    trunk.roles.add(ROLE, config.lora, dropout=config.sft.dropout)
    with trunk.roles.using(ROLE):
        check_trainable(trunk.model, trunk.roles.parameters(ROLE))
        return run_sft_trainer(trunk, ROLE, rows, config, plan, recorder, METRICS, folder, watching)
