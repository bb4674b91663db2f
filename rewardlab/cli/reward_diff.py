"""``rewardlab reward diff``: two rewards on the answers of a file, as a page of text and as rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from rewardlab.cli.reward_score import writer
from rewardlab.config import RewardConfig, RunConfig
from rewardlab.lab.answer_rows import AnswerRows, AnswerSource
from rewardlab.lab.asked import RUNS
from rewardlab.lab.scoring import grader_of
from rewardlab.lab.two_rewards import both_configs, difference_of
from rewardlab.rewards import plan_reward
from rewardlab.types import PairKind


@dataclass(frozen=True, slots=True)
class DiffRequest:
    """What ``reward diff`` was asked.

    Attributes:
        source: The answers.
        a, b: The two expressions.
        shared: Lambda, r2 and reading of both; lambda is for those that use it.
        folders: Trained reward models by pair kind.
        output: Where all rows go, the largest disagreement first; None writes none.
        rows: Disagreements on the page.
        config: Settings of who grades by the rubric.
        runs: Folder of runs, in which grades are kept.
    """

    source: AnswerSource
    a: str
    b: str
    shared: RewardConfig
    folders: Mapping[PairKind, Path] = field(default_factory=dict)
    output: Path | None = None
    rows: int = 10
    config: RunConfig = field(default_factory=RunConfig)
    runs: Path = RUNS


def run(request: DiffRequest) -> str:
    """Score every answer twice and compare; returns the page.

    Raises:
        InputError: An expression, the task, a row (with file and line) or a reward model that is missing.
    """
    configs = both_configs(request.a, request.b, request.shared)
    plans = [plan_reward(config) for config in configs]
    answers = AnswerRows(request.source, plans, at_once=request.config.annotate.batch is not None)
    shares, rubric = answers.label_shares(), grader_of(plans, request.config, answers.tasks, request.runs)
    with writer(request.output) if request.output is not None else nullcontext() as write:
        differ = difference_of(configs, plans, answers.batches(), request.folders, shares, rubric)
        if write is not None:
            for row in differ.rows():
                write(json.dumps(row, ensure_ascii=False) + "\n")
    return differ.text(request.rows)
