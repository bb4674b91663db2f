"""Stage ``encoder``: a classifier beside the language models, and its evaluation on test and validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rewardlab.config import RunConfig
from rewardlab.disk import write_jsonl
from rewardlab.errors import ConfigError
from rewardlab.evaluation.cost import Cost
from rewardlab.models.names import weights_identity
from rewardlab.pipeline.context import Context, dumped, slug_of
from rewardlab.pipeline.stage import Stage, Work
from rewardlab.pipeline.stages.evaluate import Facts
from rewardlab.pipeline.stages.shared import gold_of, policy_of, rows_of
from rewardlab.tasks import resolve_task
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import Task, tasks, with_format
from rewardlab.training.methods import TrainingMethod
from rewardlab.types import Example, Label

if TYPE_CHECKING:
    from rewardlab.evaluation.predict import Decoding, Evaluation, GeneratedText
    from rewardlab.training.encoder import Encoder

TOGETHER = 64
"""Rows that are read together where ``eval.batch`` is auto: an encoder needs little memory for one."""
ASKED = ("bootstrap", "checkpoint")
"""Settings of an evaluation that concern one that generates nothing."""


def encoder_name(config: RunConfig) -> str:
    """The encoder of a run."""
    return config.encoder.model or config.model.name


def encoder_stage(context: Context, method: TrainingMethod) -> Stage:
    """Fit an encoder to the labelled rows of one task.

    Raises:
        ConfigError: There are several tasks, for which it would need several heads, or answers are sets of labels.
    """
    config, name = context.config, encoder_name(context.config)
    if len(context.tasks) > 1:
        raise ConfigError(
            f"encoder: found {len(context.tasks)} tasks ({context.names}), and it has one head; give one --task, and "
            'scope = "each" in a suite'
        )
    if sets := [task.name for task in context.tasks if task.multi_label]:
        raise ConfigError(
            f"encoder: answers of task {sets[0]} are sets of labels, and it gives one label a row; train a language "
            "model (`rewardlab sft`, `rewardlab ppo`), or choose a task with one label a row"
        )
    section = method.section(config)
    return context.stage(
        method.name,
        f"encoder {name} on {context.names}",
        f"{context.slug}-{slug_of(name)}",
        {
            **context.data(*section.parts, "validation"),
            "own_model": _identity(name),
            "lora": dumped(config.lora, without=("targets",)) if section.tuning == "lora" else None,
            "seed": config.seed,
            method.name: dumped(section, without=("model",)),
        },
        {},
        lambda job: fit(job, method, config, context.splits),
    )


def encoder_title(config: RunConfig) -> str:
    """The name that a table gives it."""
    last = " (last)" if config.eval.checkpoint == "last" else ""
    lora = ", LoRA" if config.encoder.tuning == "lora" else ""
    return f"encoder {encoder_name(config)}{lora}{last}"


def encoder_eval_stage(context: Context, trained: Stage, method: str | None = None) -> Stage:
    """Answers of a fitted encoder to the test rows of tasks with its labels.

    Raises:
        ConfigError: A task has other labels.
    """
    config, name = context.config, method or encoder_title(context.config)
    for task in context.tasks:
        check_labels(trained_task(trained), task)
    return context.stage(
        "eval",
        f"evaluate {name} on {context.names}",
        f"{context.slug}-{slug_of(name)}",
        {**context.data("tests"), "own_model": _identity(encoder_name(config)), **_asked(config), "method": name},
        {"model": trained},
        lambda job: evaluate(job, config, trained_task(trained), context.splits, _facts(context, trained, name)),
    )


def encoder_validate_stage(context: Context, trained: Stage) -> Stage:
    """Answers of a fitted encoder to the validation rows, for choosing settings."""
    config = context.config
    return context.stage(
        "validate",
        f"validate {trained.title}",
        trained.slug,
        {**context.data("validation"), "own_model": _identity(encoder_name(config)), **_asked(config)},
        {"model": trained},
        lambda job: validate(job, config, trained_task(trained), context.splits),
    )


def trained_task(trained: Stage) -> Task:
    """The task of a fitted encoder."""
    return resolve_task(trained.config["task"], "encoder")


def has_labels_of(trained: Task, asked: Task) -> bool:
    """Whether an encoder of one task can answer another: same labels, scale or kind of answers, as many texts."""
    known, wanted = (
        (set(task.labels), task.numeric_range, bool(task.candidates), len(task.fields)) for task in (trained, asked)
    )
    return known == wanted


def check_labels(trained: Task, asked: Task) -> None:
    """Refuse a task whose answers an encoder cannot give; raises ConfigError."""
    if not has_labels_of(trained, asked):
        gives = ", ".join(trained.labels) or trained.candidates or "numbers"
        raise ConfigError(
            f"task {asked.name}: an encoder that was trained on {trained.name} gives its labels "
            f"({gives}) for {len(trained.fields)} texts, and no others"
        )


def fit(job: Work, method: TrainingMethod, config: RunConfig, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Do it."""
    section, (name,) = method.section(config), splits
    rows = [example for part in section.parts for example in rows_of(splits, part)]
    validation = rows_of(splits, "validation", section.validation_rows) if section.validation_rows else []
    result = method.load()(
        job.folder, config, encoder_name(config), tasks.get(name), rows, job.recorder, validation=validation
    )
    return {**result, "gold": gold_of(splits, *section.parts)}


def evaluate(job: Work, config: RunConfig, trained: Task, splits: Mapping[str, Splits], facts: Facts) -> dict[str, Any]:
    """Answer the test rows."""
    from rewardlab.evaluation.answers import PREDICTIONS_FILE, write_answers

    columns = {column: rows for split in splits.values() for column, rows in split.tests.items()}
    found = _measured(job, config, trained, columns, ("sampled", "greedy"))
    write_jsonl(job.folder.path / PREDICTIONS_FILE, (row.to_json() for row in found.rows))
    write_answers(job.folder.path, found.rows)
    policy = policy_of(job.inputs["model"], config.eval.checkpoint)
    told = {"seed": config.seed, "columns": found.columns, "shots": 0, "policy": policy.to_json()}
    return {**asdict(facts), **told}


def validate(job: Work, config: RunConfig, trained: Task, splits: Mapping[str, Splits]) -> dict[str, Any]:
    """Answer the validation rows; the main metric of each task."""
    rows = {name: split.validation for name, split in splits.items()}
    columns = {
        name: column["greedy"] for name, column in _measured(job, config, trained, rows, ("greedy",)).columns.items()
    }
    scores = {name: column["metrics"][tasks.get(name).metrics[0]]["value"] for name, column in columns.items()}
    return {"seed": config.seed, "scores": scores, "columns": columns}


def _measured(
    job: Work,
    config: RunConfig,
    trained: Task,
    columns: Mapping[str, Sequence[Example]],
    decodings: Sequence[Decoding],
) -> Evaluation:
    """Answers, printed and read as those of language models; nothing is drawn, so both decodings are the same."""
    from rewardlab.evaluation.predict import GeneratedText
    from rewardlab.evaluation.predict import evaluate as measure

    encoder = _loaded(job, config, trained)
    known: dict[tuple[str, str], GeneratedText] = {}

    def generate(examples: Sequence[Example], decoding: Decoding) -> list[GeneratedText]:
        missing = [example for example in examples if (example.task, example.id) not in known]
        labels = encoder.answers(missing, config.eval.batch or TOGETHER)
        for example, label in zip(missing, labels, strict=True):
            text = tasks.get(example.task).response(label, example.format)
            known[example.task, example.id] = GeneratedText(text, finished=True)
        return [known[example.task, example.id] for example in examples]

    bare = {column: with_format(rows, "label") for column, rows in columns.items()}
    return measure(bare, generate, bootstrap=config.eval.bootstrap, prompt=encoder.text, decodings=decodings)


def encoder_answers(job: Work, config: RunConfig, trained: Task, rows: Sequence[Example]) -> list[Label]:
    """Labels or numbers of a fitted encoder, the input ``model``; raises ConfigError for rows with other labels."""
    for name in {row.task for row in rows}:
        check_labels(trained, tasks.get(name))
    return _loaded(job, config, trained).answers(rows, config.eval.batch or TOGETHER)


def encoder_settings(config: RunConfig) -> dict[str, Any]:
    """What the answers of an encoder depend on beside its run and the rows."""
    return {"own_model": _identity(encoder_name(config)), **_asked(config)}


def _loaded(job: Work, config: RunConfig, trained: Task) -> Encoder:
    from rewardlab.models.names import resolve_device
    from rewardlab.training.encoder import Encoder

    folder = policy_of(job.inputs["model"], config.eval.checkpoint).adapter
    device = resolve_device(config.model.device)
    return Encoder.load(folder, encoder_name(config), trained, config.encoder, device)


def _identity(name: str) -> dict[str, str]:
    return {"kind": "encoder", **weights_identity(name)}


def _asked(config: RunConfig) -> dict[str, Any]:
    """What of the settings answers depend on."""
    return {"eval": {name: getattr(config.eval, name) for name in ASKED}, "max_length": config.encoder.max_length}


def _facts(context: Context, trained: Stage, method: str) -> Facts:
    return Facts(
        method=method,
        start="base",
        reward=None,
        model_run=str(trained.folder(context.root).path),
        cost=Cost.of(context.results(trained.chain(measuring=False))).to_json(),
        budget={},
    )
