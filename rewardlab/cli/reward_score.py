"""``rewardlab reward score``: read answers, score them in batches, write rows, sum up.

Rows stream through, so memory holds one batch, or all rows where a reward compares the responses to one
prompt or weighs labels by their shares.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardlab.config import RewardConfig, RunConfig
from rewardlab.disk import atomic_file
from rewardlab.errors import ConfigError
from rewardlab.lab.answer_rows import AnswerRows, AnswerSource
from rewardlab.lab.asked import RUNS
from rewardlab.lab.scoring import grader_of
from rewardlab.rewards import RewardPlan, build_reward, plan_reward
from rewardlab.rewards.learned import reward_context
from rewardlab.rewards.ledger import scored_row, summary
from rewardlab.types import PairKind, Reward


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """What ``reward score`` was asked.

    Attributes:
        source: The answers.
        reward: Expression, lambda, r2, reading.
        output: Where rows go; None is standard output.
        folders: Trained reward models by pair kind.
        config: Settings of who grades by the rubric.
        runs: Folder of runs, in which grades are kept.
    """

    source: AnswerSource
    reward: RewardConfig
    output: Path | None = None
    folders: Mapping[PairKind, Path] = field(default_factory=dict)
    config: RunConfig = field(default_factory=RunConfig)
    runs: Path = RUNS


def score_file(request: ScoreRequest) -> str:
    """Score a file; returns the summary.

    Raises:
        InputError: The expression, the task, a row (with file and line) or a reward model that is missing.
    """
    plan = plan_reward(request.reward)
    rows = AnswerRows(request.source, [plan], at_once=request.config.annotate.batch is not None)
    rubric = grader_of([plan], request.config, rows.tasks, request.runs)
    context = reward_context([plan], request.folders, request.reward.reading, rows.label_shares(), rubric)
    reward = build_reward(request.reward, context)
    with writer(request.output) as write:
        means = summary(_scored(rows, reward, write), reward.lam)
    spent = {} if rubric is None else rubric.spent()
    return _paragraph(plan, ", ".join(rows.tasks), rows.count, means, spent)


def _scored(rows: AnswerRows, reward: Reward, write: Callable[[str], object]) -> Iterator[dict[str, Any]]:
    for examples, responses in rows.batches():
        for example, response, score in zip(examples, responses, reward(examples, responses), strict=True):
            row = scored_row(example, response, score)
            write(json.dumps(row, ensure_ascii=False) + "\n")
            yield row


@contextmanager
def writer(path: Path | None) -> Iterator[Callable[[str], object]]:
    """Where rows are written; a file appears whole or not at all."""
    if path is None:
        yield sys.stdout.write
        return
    try:
        with atomic_file(path) as file:
            yield file.write
    except OSError as error:
        raise ConfigError(f"--output {path}: cannot be written ({error.strerror}); choose another file") from error


def _paragraph(plan: RewardPlan, tasks: str, count: int, means: Mapping[str, float], spent: Mapping[str, Any]) -> str:
    mean = f"mean score {means['reward/score']:.4f}" if "reward/score" in means else "no score"
    facts = [
        f"{count} responses of {tasks} scored by {plan.expression}: {mean}",
        f"{means['reward/unscored']:.1%} unscored",
        f"{means['reward/malformed']:.1%} malformed",
    ]
    if "reward/gold_accuracy" in means:
        facts.append(f"accuracy {means['reward/gold_accuracy']:.4f}")
    if "reward/gold_error" in means:
        facts.append(f"mean distance to gold {means['reward/gold_error']:.4f}")
    if "reward/lambda_saturation" in means:
        facts.append(f"{means['reward/lambda_saturation']:.1%} at or above lambda")
    if spent:
        cost = spent["spent"].get("cost_usd")
        facts.append(f"{spent['annotator_calls']} grades" + ("" if cost is None else f" for ${cost:.4f}"))
    return ", ".join(facts) + "."
