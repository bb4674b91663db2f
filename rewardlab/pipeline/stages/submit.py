"""Stage ``submit``: greedy answers of a trained run to test rows whose labels are a benchmark's server's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewardlab.config import RunConfig, fingerprint
from rewardlab.disk import write_jsonl
from rewardlab.pipeline.context import Context, dumped, slug_of
from rewardlab.pipeline.stage import Stage, Work
from rewardlab.pipeline.stages.encoder import encoder_answers, encoder_settings, trained_task
from rewardlab.pipeline.stages.evaluate import NOT_IN_VALIDATION, generator_of, start_of
from rewardlab.pipeline.stages.shared import evaluated_model
from rewardlab.tasks.task import tasks
from rewardlab.training.methods import methods
from rewardlab.types import Example, Label

ANSWERS_FILE = "submitted.jsonl"
"""A line a row: idx, answer, whether it was read, response."""


def submit_stage(context: Context, trained: Stage, name: str, rows: Sequence[Example]) -> Stage:
    """Answers to the rows of one official file.

    Args:
        context: The run's configuration, with the task of the rows.
        trained: The run.
        name: Of the official file.
        rows: Its rows, whose labels are not read.
    """
    config = context.config
    is_policy = trained.kind not in methods or methods.get(trained.kind).trains_policy
    model = {**context.model, "eval": dumped(config.eval, without=NOT_IN_VALIDATION)} if is_policy else {}
    return context.stage(
        "submit",
        f"answer {name} with {trained.title}",
        slug_of(name),
        {
            "file": name,
            "rows": {name: fingerprint([[row.id, dict(row.fields)] for row in rows])},
            "tasks": {task.name: fingerprint(task.to_json()) for task in context.tasks},
            **context.task_code(),
            "format": config.format,
            **(model if is_policy else encoder_settings(config)),
        },
        {"model": trained, **start_of(trained)},
        lambda job: answer(job, config, trained, rows, is_policy=is_policy),
    )


def answer(job: Work, config: RunConfig, trained: Stage, rows: Sequence[Example], *, is_policy: bool) -> dict[str, Any]:
    """Do it; what cannot be read is answered by a draw of the run's seed, for a server takes no gaps."""
    from rewardlab.evaluation.predict import random_answer
    from rewardlab.tasks.task import parse_response

    responses: list[str]
    if is_policy:
        responses = _responses(job, config, rows)
        read = [parse_response(row, text).value for row, text in zip(rows, responses, strict=True)]
    else:
        labels = encoder_answers(job, config, trained_task(trained), rows)
        read = list[Label | None](labels)
        responses = [tasks.get(row.task).word(label, "label") for row, label in zip(rows, labels, strict=True)]
    answers = [
        random_answer(config.seed, row, "greedy") if found is None else found
        for row, found in zip(rows, read, strict=True)
    ]
    lines = zip(rows, answers, read, responses, strict=True)
    write_jsonl(
        job.folder.path / ANSWERS_FILE,
        (
            {"idx": row.id, "answer": label, "is_read": found is not None, "response": text}
            for row, label, found, text in lines
        ),
    )
    return {"rows": len(rows), "unreadable": sum(found is None for found in read)}


def _responses(job: Work, config: RunConfig, rows: Sequence[Example]) -> list[str]:
    from rewardlab.evaluation.asking import Questions

    trunk, role = evaluated_model(config, job.inputs)
    questions = Questions(trunk.codec, trunk.context and trunk.context - config.new_tokens, {})
    generate = generator_of(job, config, "submission", trunk, role, questions)
    return [found.text for found in generate(rows, "greedy")]
