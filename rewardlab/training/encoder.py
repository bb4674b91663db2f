"""A classifier beside the language models: any ``AutoModelForSequenceClassification``, fitted with Trainer.

It reads the fields of a row, not its prompt, and gives a label or a number, not a text. Of candidates (ReCoRD) it reads
the row with each of them in turn, says whether it is right, and answers with the likeliest; it is fitted to the first
gold answer and one wrong candidate of each row. Dropout stays as the model has it. All weights are trained, or LoRA
adapters in all linear layers and the head.
"""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME

from rewardlab import metrics, processes
from rewardlab.config import LoraConfig, RunConfig
from rewardlab.disk import read_json, write_json, write_jsonl
from rewardlab.encoder_config import EncoderConfig
from rewardlab.errors import ModelError
from rewardlab.gold_answers import alternatives
from rewardlab.models.names import find_model, resolve_device
from rewardlab.runs import ADAPTER, BEST_ADAPTER, CHECKPOINTS, RunFolder
from rewardlab.tasks.task import Task, tasks
from rewardlab.training.progress import FolderRecorder, Recorder, Several, Silent
from rewardlab.training.trl_loop import run_trainer
from rewardlab.training.trl_run import Plan, left_out, one_device, plan_steps, refuse_nothing, trl_settings
from rewardlab.training.validation import (
    STORED_BEST,
    STORED_MEASURES,
    VALIDATION_FILE,
    Cadence,
    Measured,
    is_settled,
    warn_of_idle,
)
from rewardlab.types import Example, Label

logger = logging.getLogger(__name__)

METRICS: Mapping[str, str] = {"loss": "encoder/loss", "learning_rate": "encoder/lr", "grad_norm": "encoder/grad_norm"}
"""The Trainer's name -> ours."""
GLOSSARY: Mapping[str, str] = {
    "encoder/loss": "cross-entropy per row, nats; of numbers the squared error",
    "encoder/lr": "learning rate of the step",
    "encoder/grad_norm": "norm of the gradient before clipping",
}
WRONG, RIGHT = 0, 1
"""Logits of a candidate."""
UNLIKELY_LENGTH = 1_000_000
"""Tokenizers that know no longest input say a number above this."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token rows.

    Attributes:
        rows: One an example: token ids, mask and, where the tokenizer has them, segments.
        cut: How many of them were cut.
    """

    rows: list[dict[str, Any]]
    cut: int


class Encoder:
    """A classifier of one task, and how it reads a row.

    Args:
        model: Gives one logit a label, or one number.
        tokenizer: Its tokenizer.
        task: Whose labels the logits stand for, in its order.
        max_length: Longest input, as asked for; the model's own limit holds too.
    """

    def __init__(self, model: Any, tokenizer: Any, task: Task, max_length: int) -> None:
        self.model, self.tokenizer, self.task = model, tokenizer, task
        self.max_length = min([max_length, *_limits(model, tokenizer)])

    @classmethod
    def fresh(cls, name: str, task: Task, section: EncoderConfig, device: str) -> Encoder:
        """Pretrained weights with a new head; raises ModelError where there are none that can be read."""
        location = find_model(name).location
        try:
            tokenizer = AutoTokenizer.from_pretrained(location)
            model = AutoModelForSequenceClassification.from_pretrained(location, dtype=torch.float32, **_head(task))
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"encoder {name!r} cannot be loaded: {reason}. Give a folder or a hub id") from error
        _set_padding(model, tokenizer)
        return cls(model.to(device), tokenizer, task, section.max_length)

    @classmethod
    def load(cls, folder: Path, name: str, task: Task, section: EncoderConfig, device: str) -> Encoder:
        """What :func:`train_encoder` stored in ``folder``: whole weights, or an adapter of the encoder ``name``."""
        if (folder / "adapter_config.json").exists():
            base = cls.fresh(name, task, section, device)
            with _quietly():
                base.model = PeftModel.from_pretrained(base.model, folder).to(device)
            return base
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
        return cls(model.to(device), tokenizer, task, section.max_length)

    def text(self, example: Example) -> str:
        """What it reads of a row: its fields with the tokenizer's separator between them."""
        return self._separator.join(self._fields(example))

    def encode(self, examples: Sequence[Example]) -> Encoded:
        """Token rows: the first field, then the others as a second segment."""
        rows, cut = [], 0
        for example in examples:
            first, *others = self._fields(example)
            texts = (first, self._separator.join(others)) if others else (first,)
            whole = self.tokenizer(*texts, truncation=False, verbose=False)
            if len(whole["input_ids"]) > self.max_length:
                whole = self.tokenizer(*texts, truncation=True, max_length=self.max_length)
                cut += 1
            rows.append(dict(whole))
        return Encoded(rows, cut)

    def answers(self, examples: Sequence[Example], batch: int) -> list[Label]:
        """The label with the highest logit, the likeliest candidate, or the number, brought into the task's range."""
        if not examples:
            return []
        if self.task.candidates:
            return self._likeliest(examples, batch)
        return self._labels(self._logits(examples, batch))

    def training_rows(self, examples: Sequence[Example], seed: int) -> list[tuple[Example, int | float]]:
        """What it is fitted to, with targets: the labelled rows, or of candidates a right and a wrong one of each.

        Args:
            examples: Labelled examples.
            seed: Draws the wrong candidates.
        """
        rows: list[tuple[Example, int | float]] = []
        for example in examples:
            assert example.label is not None, "callers leave out rows without a label"
            if not self.task.candidates:
                rows.append((example, self._target(example.label)))
                continue
            options = [str(each) for each in self.task.options(example)]
            wrong = [each for each in options if not self.task.is_right(each, example.label)]
            rows.append((self._filled(example, alternatives(example.label)[0]), RIGHT))
            if wrong:
                drawn = random.Random(f"{seed}/{example.task}/{example.id}").choice(wrong)
                rows.append((self._filled(example, drawn), WRONG))
        return rows

    def _likeliest(self, examples: Sequence[Example], batch: int) -> list[Label]:
        options = [self.task.options(example) for example in examples]
        rows = [
            self._filled(example, str(each)) for example, own in zip(examples, options, strict=True) for each in own
        ]
        logits = self._logits(rows, batch)
        margins = iter((logits[:, RIGHT] - logits[:, WRONG]).tolist())
        return [max(zip(islice(margins, len(own)), own, strict=True), key=itemgetter(0))[1] for own in options]

    def _filled(self, example: Example, candidate: str) -> Example:
        """The row with one candidate in the place of all."""
        return replace(example, fields={**example.fields, self.task.candidates: candidate})

    @torch.no_grad()
    def _logits(self, examples: Sequence[Example], batch: int) -> Tensor:
        """Logits of the rows, in their order. Shape (n, labels)."""
        was_training, rows = self.model.training, self.encode(examples).rows
        self.model.eval()
        by_length = sorted(range(len(rows)), key=lambda place: len(rows[place]["input_ids"]))
        found: dict[int, Tensor] = {}
        for start in range(0, len(rows), batch):
            places = by_length[start : start + batch]
            padded = self.tokenizer.pad([rows[place] for place in places], return_tensors="pt")
            logits = self.model(**padded.to(self.model.device)).logits.float()
            found |= dict(zip(places, logits, strict=True))
        self.model.train(was_training)
        return torch.stack([found[place] for place in range(len(rows))])

    def _target(self, label: Label) -> int | float:
        """What a row's logits are fitted to."""
        return float(label) if self.task.is_numeric else self.task.labels.index(str(label))

    def _labels(self, logits: Tensor) -> list[Label]:
        if not self.task.is_numeric:
            return [self.task.labels[place] for place in logits.argmax(-1).tolist()]
        low, high = self.task.numeric_range or (-float("inf"), float("inf"))
        return [min(max(number, low), high) for number in logits.squeeze(-1).tolist()]

    def _fields(self, example: Example) -> list[str]:
        return [example.fields[name] for name in tasks.get(example.task).fields]

    @property
    def _separator(self) -> str:
        return f" {self.tokenizer.sep_token or self.tokenizer.eos_token} "


def train_encoder(
    folder: RunFolder,
    config: RunConfig,
    name: str,
    task: Task,
    examples: Sequence[Example],
    progress: Recorder | None = None,
    *,
    validation: Sequence[Example] = (),
) -> dict[str, Any]:
    """Fit an encoder to labelled rows and store it in ``folder/adapter``; goes on where a run was interrupted.

    The best one on validation rows goes to ``folder/adapter-best``, measured after each epoch, five times at most, of
    equals the earliest. With one epoch there is nothing to choose from, and nothing is measured.

    Args:
        folder: An opened run folder; metrics go to its ``metrics.jsonl``.
        config: Sections ``encoder`` and ``lora``, seed, device.
        name: Of the encoder.
        task: The one task of all rows.
        examples: Labelled examples; those without a label are left out.
        progress: A further recorder, such as a progress bar.
        validation: Labelled rows that it is measured on as it trains.
    Returns:
        rows, dropped (by reason), cut (rows longer than ``encoder.max_length``), parameters (trained, all), steps, loss
        (first, last), seconds, validation (best and last measure, or None), candidates.
    Raises:
        DataError: No example could be used.
        TrainingError: The loss became infinite or not a number.
    """
    section, usable = config.encoder, [example for example in examples if example.label is not None]
    dropped = {"no_label": len(examples) - len(usable)}
    refuse_nothing("labelled row", len(examples), len(usable), left_out({"have no label": dropped["no_label"]}))
    device = resolve_device(config.model.device)
    torch.manual_seed(config.seed)
    encoder = Encoder.fresh(name, task, section, device)
    if section.tuning == "lora":
        encoder.model = with_adapters(encoder.model, config.lora).to(device)
    fitted = encoder.training_rows(usable, config.seed)
    encoded = encoder.encode([example for example, _ in fitted])
    if encoded.cut:
        logger.warning("%d of %d rows are cut to %d tokens", encoded.cut, len(fitted), encoder.max_length)
    rows = [{**row, "labels": target} for row, (_, target) in zip(encoded.rows, fitted, strict=True)]
    plan = plan_steps(section, len(rows))
    cadence = Cadence.of_sft(plan.steps, -(-len(rows) // section.batch), section.patience)
    looks = _Looks(encoder, validation, cadence, section, folder)
    trainer = _trainer(encoder, rows, looks, plan, config, folder.path / CHECKPOINTS, device)
    outcome = run_trainer(
        trainer,
        "encoder",
        plan.steps,
        Several(FolderRecorder(folder), progress or Silent()),
        METRICS,
        config.keep_checkpoints,
        section.checkpoint_seconds,
    )
    looks.finish(trainer.state.global_step)
    return {
        "rows": len(usable),
        "dropped": dropped,
        "cut": encoded.cut,
        "parameters": _counted(encoder.model),
        "steps": len(outcome.losses),
        **outcome.to_json(),
        "validation": looks.summary(),
        "candidates": looks.cadence.looks,
    }


def _trainer(
    encoder: Encoder,
    rows: list[dict[str, Any]],
    looks: _Looks,
    plan: Plan,
    config: RunConfig,
    folder: Path,
    device: str,
) -> _Trainer:
    """transformers' Trainer of these rows, with checkpoints in ``folder``."""
    arguments = TrainingArguments(str(folder), **_arguments(config.encoder, plan, config.seed, device))
    return _Trainer(
        looks,
        model=encoder.model,
        args=one_device(arguments),
        train_dataset=Dataset.from_list(rows),
        data_collator=DataCollatorWithPadding(encoder.tokenizer),
        compute_loss_func=mean_over_rows,
    )


def mean_over_rows(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """The part of a micro-batch in the mean loss of a step: cross-entropy, or of numbers the squared error.

    A model's own loss is a mean over its micro-batch, and the Trainer adds these means up undivided where a model
    takes loss arguments, as BERT does: a step of four micro-batches then has four times the gradient.

    Args:
        outputs: Logits of shape (B, K) for K labels, (B, 1) for numbers.
        labels: Places of labels, integers, or numbers. Shape (B,).
        num_items_in_batch: Rows of the whole step; None: those of this micro-batch.
    """
    logits, rows = outputs.logits.float(), len(labels) if num_items_in_batch is None else num_items_in_batch
    if labels.is_floating_point():
        return torch.nn.functional.mse_loss(logits.squeeze(-1), labels.float(), reduction="sum") / rows
    return torch.nn.functional.cross_entropy(logits, labels, reduction="sum") / rows


def _counted(model: Any) -> dict[str, int]:
    """Parameters that are trained, and all."""
    parameters = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return {"trained": sum(n for n, is_on in parameters if is_on), "all": sum(n for n, _ in parameters)}


def with_adapters(model: Any, lora: LoraConfig) -> Any:
    """The model with LoRA in all linear layers but the head, which is trained whole; ``lora.targets`` is not read."""
    wanted = PeftLoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=lora.rank,
        lora_alpha=lora.alpha,
        use_rslora=lora.rank_stabilised,
        bias=lora.bias,
        target_modules="all-linear",
    )
    with _quietly():
        return get_peft_model(model, wanted)


class _Trainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """transformers' Trainer, with what was measured in its checkpoints."""

    def __init__(self, looks: _Looks, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._looks = looks
        self.add_callback(looks)

    @property
    def is_over(self) -> bool:
        """True when validation accuracy has settled."""
        return self._looks.is_settled

    def go_on(self, checkpoint: Path) -> None:
        """Take the weights, the numbers logged so far and the measures from a checkpoint."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        self._looks.reload(checkpoint)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Store the weights, and what was measured."""
        super().save_model(output_dir, _internal_call)
        self._looks.store(Path(output_dir or self.args.output_dir))


class _Looks(TrainerCallback):  # type: ignore[misc]  # as above
    """Measures the encoder on validation rows, and keeps the best one."""

    def __init__(
        self, encoder: Encoder, rows: Sequence[Example], cadence: Cadence, section: EncoderConfig, folder: RunFolder
    ) -> None:
        self.encoder, self.cadence, self._section, self._folder = encoder, cadence, section, folder.path
        labelled = [row for row in rows if row.label is not None]
        self._rows = labelled if cadence.looks != 1 else []
        self._measures: list[Measured] = []
        self._best: Measured | None = None
        self._best_weights: dict[str, Tensor] = {}
        warn_of_idle(section.patience, is_measured=bool(self._rows))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure, if it is due, before a checkpoint of the same step is stored."""
        if self._rows and self.cadence.is_due(state.global_step):
            self._look(state.global_step)
            control.should_training_stop = control.should_training_stop or self.is_settled

    @property
    def is_settled(self) -> bool:
        """Whether accuracy has not risen for so long that training ends."""
        return is_settled(self._measures, self._best, self._section.patience)

    def finish(self, steps: int) -> None:
        """Store the last weights and, where any were measured, the best ones."""
        if self._rows and (not self._measures or self._measures[-1].step != steps):
            self._look(steps)
        self._save(ADAPTER)
        if self._best is not None:
            last = self._weights()
            self._set(self._best_weights)
            self._save(BEST_ADAPTER)
            self._set(last)

    def summary(self) -> dict[str, Any] | None:
        """Best and last measure; None where nothing was measured."""
        return None if self._best is None else {"best": asdict(self._best), "last": asdict(self._measures[-1])}

    def store(self, folder: Path) -> None:
        """Put the measures and the best weights into a checkpoint."""
        if self._best is not None and processes.is_main():
            save_file({name: weight.contiguous() for name, weight in self._best_weights.items()}, folder / STORED_BEST)
            write_json(folder / STORED_MEASURES, [asdict(each) for each in self._measures])

    def reload(self, folder: Path) -> None:
        """Go on from what :meth:`store` put there."""
        if (folder / STORED_MEASURES).exists():
            self._measures = [Measured(**each) for each in read_json(folder / STORED_MEASURES)]
            self._best = max(self._measures, key=lambda each: (each.accuracy, -each.step))
            self._best_weights = load_file(folder / STORED_BEST)

    def _look(self, step: int) -> None:
        task, answers = self.encoder.task, self.encoder.answers(self._rows, self._section.micro_batch)
        gold = [row.label for row in self._rows if row.label is not None]
        metric = "pearson" if task.is_numeric else "accuracy"
        value = metrics.score_predictions(metric, gold, answers, task)
        found = Measured(step, value, {task.name: value}, malformed=0.0, response_tokens=0.0, rows=len(answers))
        self._measures.append(found)
        if self._best is None or found.accuracy > self._best.accuracy:
            self._best, self._best_weights = found, self._weights()
        if processes.is_main():
            write_jsonl(self._folder / VALIDATION_FILE, (asdict(each) for each in self._measures))

    def _trained(self) -> dict[str, Tensor]:
        return {name: weight for name, weight in self.encoder.model.named_parameters() if weight.requires_grad}

    def _weights(self) -> dict[str, Tensor]:
        """A copy of the trained weights, on the CPU."""
        return {name: weight.detach().cpu().clone() for name, weight in self._trained().items()}

    @torch.no_grad()
    def _set(self, weights: Mapping[str, Tensor]) -> None:
        for name, weight in self._trained().items():
            weight.copy_(weights[name])

    def _save(self, name: str) -> None:
        if processes.is_main():
            self.encoder.model.save_pretrained(self._folder / name)
            self.encoder.tokenizer.save_pretrained(self._folder / name)


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        # PEFT asks the model for an attribute that transformers has renamed
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield


def _head(task: Task) -> dict[str, Any]:
    """A logit for each label, or of candidates for wrong and right, or one number with the squared error."""
    if task.is_numeric:
        return {"num_labels": 1, "problem_type": "regression"}
    places = {WRONG: "wrong", RIGHT: "right"} if task.candidates else dict(enumerate(task.labels))
    return {
        "num_labels": len(places),
        "problem_type": "single_label_classification",
        "id2label": places,
        "label2id": {label: place for place, label in places.items()},
    }


def _set_padding(model: Any, tokenizer: Any) -> None:
    """Language models as classifiers have no padding of their own."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id


def _limits(model: Any, tokenizer: Any) -> list[int]:
    """The longest input that positions and tokenizer allow."""
    positions = getattr(model.config, "max_position_embeddings", None)
    own = tokenizer.model_max_length
    return [limit for limit in (positions, own) if limit is not None and limit < UNLIKELY_LENGTH]


def _arguments(section: EncoderConfig, plan: Plan, seed: int, device: str) -> dict[str, Any]:
    """Of the Trainer: those of SFT, but for a linear decay, as BERT was fine-tuned, and a decay of weights."""
    shared = trl_settings(section, plan, seed, torch.device(device))
    own = {"lr_scheduler_type": "linear", "weight_decay": section.weight_decay}
    return {
        name: value for name, value in shared.items() if name not in ("max_length", "activation_checkpointing")
    } | own
