"""Stage ``scored``: several answers of a policy to each test row, and the scores of a reward with all raw parts.

The rows are a ledger's (``samples.jsonl``), so that other expressions are tried on them without a model
(``rewardlab reward rescore``). What was drawn is kept as it comes; an interrupted stage goes on behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardlab.config import RunConfig
from rewardlab.disk import read_jsonl, write_jsonl
from rewardlab.errors import DataError
from rewardlab.evaluation.cost import gold_read
from rewardlab.pipeline.context import Context, slug_of
from rewardlab.pipeline.stage import Stage, Work
from rewardlab.pipeline.stages.reward_model import reward_model_stage
from rewardlab.pipeline.stages.rubric import preview_grades, spent_on
from rewardlab.pipeline.stages.sft import start_input
from rewardlab.pipeline.stages.shared import evaluated_model, start_trunk
from rewardlab.pipeline.stages.train import judges_of
from rewardlab.rewards.ledger import LEDGER_FILE
from rewardlab.rewards.plan import refuse_moving
from rewardlab.tasks.sources import Splits
from rewardlab.tasks.task import STOP_STRINGS
from rewardlab.types import Example

DRAWN_FILE = "drawn.jsonl"
CHUNK = 64
"""Rows that are answered, or scored, between two writes."""


def scored_stage(context: Context, trained: Stage | None, count: int) -> Stage:
    """The stage; ``context`` has the reward that judges.

    Args:
        context: The configuration.
        trained: The policy; None is the base model.
        count: Answers to each row.
    """
    config, plan = context.config, context.reward
    refuse_moving(plan, "a test row")
    models = {f"rm_{kind}": reward_model_stage(context.behind, kind) for kind in sorted(plan.pair_kinds)}
    start = start_input(context.behind) if models else {}
    own = {} if trained is None else {"model": trained, **{k: v for k, v in trained.inputs.items() if k == "start"}}
    policy = "the base model" if trained is None else trained.title
    return context.stage(
        "scored",
        f"{count} answers of {policy} to test rows of {context.names}, scored by {config.reward.expression}",
        f"{context.slug}-{count}-{slug_of(config.reward.expression)}",
        {
            **context.data("tests"),
            **context.model,
            "samples": count,
            **({} if trained is None else {"checkpoint": config.eval.checkpoint}),
            **context.reward_settings(),
        },
        {**start, **own, **models},
        lambda job: scored(job, config, context.splits, count),
        lambda: preview_grades(context, lambda: rows_to_answer(context.splits), lambda rows: count * rows),
    )


def scored(job: Work, config: RunConfig, splits: Mapping[str, Splits], count: int) -> dict[str, Any]:
    """Do it."""
    from rewardlab.rewards import Ledger
    from rewardlab.training.fitting import sampling_batch
    from rewardlab.training.scored_samples import as_trained, score

    rows = rows_to_answer(splits)
    trunk, role = evaluated_model(config, job.inputs)
    drawn = _drawn(job, config, rows, count, trunk, role)
    if any(name.startswith("rm_") for name in job.inputs):
        del trunk  # reward models stand on the start, which may be another model than the one that answered
        trunk = start_trunk(config, job.inputs)
    judges = judges_of(job, config, trunk, sampling_batch(config, trunk), rows)
    (job.folder.path / LEDGER_FILE).unlink(missing_ok=True)
    ledger, unscored = Ledger(job.folder.append), 0
    at_once = len(rows) if config.annotate.batch else CHUNK  # a batch of requests takes hours: there is one
    for first in range(0, len(rows), at_once):
        job.report("scored rows", first, len(rows))
        part = rows[first : first + at_once]
        texts = [text for each in drawn[first : first + at_once] for text in each["responses"]]
        scores = score(judges.reward, part, texts)
        examples, places = [example for example in part for _ in range(count)], list(range(count)) * len(part)
        ledger.record(1, examples, texts, scores, as_trained(scores), places)
        unscored += sum(not each.is_scored for each in scores)
    job.report("scored rows", len(rows), len(rows))
    return {
        "samples": count,
        "responses": len(rows) * count,
        "tokens": sum(sum(each["tokens"]) for each in drawn),
        "unscored": unscored,
        "reward": config.reward.expression,
        "lambda": judges.reward.lam,
        "reward_models": list(judges.lines),
        "gold": gold_read("tests", rows) if judges.reward.needs_gold else {},
        **spent_on(judges.rubric),
    }


def rows_to_answer(splits: Mapping[str, Splits]) -> list[Example]:
    """The test rows of all tasks, column by column."""
    return [example for split in splits.values() for rows in split.tests.values() for example in rows]


def read_candidates(folder: Path) -> list[list[Any]]:
    """The candidates of each row, in the order of :func:`rows_to_answer`; raises DataError where files do not fit."""
    from rewardlab.training.scored_samples import Candidate

    drawn, judged = list(read_jsonl(folder / DRAWN_FILE)), iter(read_jsonl(folder / LEDGER_FILE))
    found = [
        [
            Candidate(text, bool(finished), score["score"])
            for text, finished, score in zip(row["responses"], row["finished"], judged, strict=False)
        ]
        for row in drawn
    ]
    if next(judged, None) is not None or any(
        len(own) < len(row["responses"]) for own, row in zip(found, drawn, strict=True)
    ):
        raise DataError(f"{folder}: {DRAWN_FILE} and {LEDGER_FILE} are not of the same answers; make the stage anew")
    return found


def _drawn(
    job: Work, config: RunConfig, rows: Sequence[Example], count: int, trunk: Any, role: str | None
) -> list[dict[str, Any]]:
    """Answers to each row at temperature 1, their lengths, and whether they ended by themselves."""
    from rewardlab.models import SamplingConfig
    from rewardlab.training.fitting import sampling_batch
    from rewardlab.training.scored_samples import draw

    path = job.folder.path / DRAWN_FILE
    found = list(read_jsonl(path, may_be_cut=True)) if path.exists() else []
    write_jsonl(path, found)
    sampling = SamplingConfig(config.new_tokens, 1.0, STOP_STRINGS[config.format], sampling_batch(config, trunk))
    for first in range(len(found), len(rows), CHUNK):
        job.report("answered rows", first, len(rows))
        part = rows[first : first + CHUNK]
        samples = draw(trunk, role, part, count, sampling, (config.seed, "scored"), first)
        for number, example in enumerate(part):
            own = samples[number * count : (number + 1) * count]
            answers = {"responses": [each.text for each in own], "finished": [each.is_finished for each in own]}
            found.append({"task": example.task, "id": example.id, **answers, "tokens": [len(each.ids) for each in own]})
            job.folder.append(DRAWN_FILE, found[-1])
    job.report("answered rows", len(rows), len(rows))
    return found
