"""``rewardlab reward score``: read answers, look their examples up, score them in batches, write rows, sum up.

Rows stream through, so memory holds one batch. torch is imported only for expressions with reward models.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from rewardlab.config import RewardConfig, load_config
from rewardlab.errors import ConfigError, DataError
from rewardlab.rewards import RewardContext, RewardPlan, build_reward, plan_reward
from rewardlab.rewards.ledger import scored_row, summary
from rewardlab.tasks import resolve_task
from rewardlab.tasks.rows import RowProblem, read_label
from rewardlab.tasks.task import Task
from rewardlab.types import AnswerFormat, Example, Label, PairKind, Reward

BATCH = 512
ALL_ROWS = 1_000_000_000
STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """What ``reward score`` was asked.

    Attributes:
        task: A task's name or file.
        input: JSON Lines; ``-`` is standard input.
        reward: Expression, lambda, r2, reading.
        output: Where rows go; None is standard output.
        format: Answer format of the responses.
        folders: Trained reward models by pair kind.
        data: Folder of task data; None is the configured one.
    """

    task: str
    input: Path
    reward: RewardConfig
    output: Path | None = None
    format: AnswerFormat = "rationale"
    folders: Mapping[PairKind, Path] = field(default_factory=dict)
    data: Path | None = None


def run(request: ScoreRequest) -> str:
    """Score a file; returns the summary.

    Raises:
        InputError: The expression, the task, a row (with file and line) or a reward model that is missing.
    """
    plan = plan_reward(request.reward)
    task = resolve_task(request.task, "reward score")
    reward = build_reward(request.reward, _context(request, plan))
    rows = _Rows(task, plan, request)
    with _output(request.output) as write:
        means = summary(_scored(rows, reward, write), reward.lam)
    if not rows.count:
        raise DataError(f"{request.input}: holds no rows; expected JSON Lines with response and (id or label)")
    return _paragraph(plan, task, rows.count, means)


class _Rows:
    """The rows of the input as examples and responses."""

    def __init__(self, task: Task, plan: RewardPlan, request: ScoreRequest) -> None:
        self.count = 0
        self._task = task
        self._plan = plan
        self._request = request
        self._by_id: dict[str, Example] | None = None

    def __iter__(self) -> Iterator[tuple[Example, str]]:
        for number, line in _lines(self._request.input):
            place = f"{self._request.input} line {number}"
            self.count += 1
            yield self._read(line, place)

    def _read(self, line: str, place: str) -> tuple[Example, str]:
        row = _object(line, place)
        response = row.get("response")
        if not isinstance(response, str):
            raise DataError(f"{place}: field 'response' is {_shown(response)}; expected the text of an answer")
        example = self._given(row, place)
        return (example if self._suffices(example) else self._looked_up(row, example, place)), response

    def _given(self, row: Mapping[str, Any], place: str) -> Example:
        """The example as far as the row itself tells it."""
        fields = {name: row[name] for name in self._task.fields if isinstance(row.get(name), str)}
        name = str(row.get("id", self.count))
        return Example(self._task.name, name, fields, self._label(row.get("label"), place), self._request.format)

    def _label(self, value: object, place: str) -> Label | None:
        try:
            return None if value is None else read_label(value, self._task)
        except RowProblem as problem:
            raise DataError(f"{place}: {problem}; fix the row (task {self._task.name})") from problem

    def _suffices(self, example: Example) -> bool:
        has_label = example.label is not None or not self._plan.needs_gold
        return has_label and (not self._plan.needs_prompt or len(example.fields) == len(self._task.fields))

    def _looked_up(self, row: Mapping[str, Any], given: Example, place: str) -> Example:
        """The task's own row of that id, under the given label if there is one."""
        if "id" not in row:
            fields = f" and {', '.join(self._task.fields)}" if self._plan.needs_prompt else ""
            raise DataError(f"{place}: has no 'id' to look up; expected id, or label{fields}")
        known = self._task_rows()
        if given.id not in known:
            raise DataError(f"{place}: id {given.id!r} is not among the {len(known)} rows of task {self._task.name}")
        found = known[given.id]
        label = given.label if given.label is not None else found.label
        return Example(found.task, found.id, found.fields, label, given.format, found.evidence)

    def _task_rows(self) -> dict[str, Example]:
        if self._by_id is None:
            self._by_id = {example.id: example for example in _all_examples(self._task, self._request)}
        return self._by_id


def _all_examples(task: Task, request: ScoreRequest) -> Iterator[Example]:
    from rewardlab.tasks.sources import load_splits

    config = load_config()
    data = config.data
    wanted = ("labelled", "prompts", "validation", "test")
    limits = {name: getattr(data, name) if task.generate else ALL_ROWS for name in wanted}
    splits = load_splits(
        task,
        source=data.source,
        data_dir=request.data or data.dir,
        format=request.format,
        seed=config.data.seed,
        **limits,
    )
    yield from (*splits.labelled, *splits.prompts, *splits.validation)
    for rows in splits.tests.values():
        yield from rows


def _scored(
    rows: Iterable[tuple[Example, str]], reward: Reward, write: Callable[[str], object]
) -> Iterator[dict[str, Any]]:
    waiting = iter(rows)
    while batch := list(islice(waiting, BATCH)):
        examples, responses = [example for example, _ in batch], [response for _, response in batch]
        for example, response, score in zip(examples, responses, reward(examples, responses), strict=True):
            row = scored_row(example, response, score)
            write(json.dumps(row, ensure_ascii=False) + "\n")
            yield row


def _context(request: ScoreRequest, plan: RewardPlan) -> RewardContext:
    missing = [kind for kind in sorted(plan.pair_kinds) if kind not in request.folders]
    if missing:
        options = " ".join(f"--rm {kind}=DIR" for kind in missing)
        raise ConfigError(
            f"reward {plan.expression!r} needs trained reward models; add {options} (made by `rewardlab rm train`)"
        )
    folders: dict[str, Path] = {kind: request.folders[kind] for kind in sorted(plan.pair_kinds)}
    if not folders:
        return RewardContext(reading=request.reward.reading)
    from rewardlab.models.scoring import load_scorers

    loaded = load_scorers(folders)
    return RewardContext(loaded.scorers, loaded.sft_scores, request.reward.reading)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank."""
    try:
        with _opened(path) as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected JSON Lines in UTF-8") from error


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if path == STDIN:
        yield sys.stdin
        return
    with path.open(encoding="utf-8") as file:
        yield file


@contextmanager
def _output(path: Path | None) -> Iterator[Callable[[str], object]]:
    """Where rows are written; a file appears whole or not at all."""
    if path is None:
        yield sys.stdout.write
        return
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            yield file.write
        os.replace(part, path)
    except OSError as error:
        raise ConfigError(f"--output {path}: cannot be written ({error.strerror}); choose another file") from error
    finally:
        part.unlink(missing_ok=True)


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON ({error}); expected one object a line") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: found {_shown(row)}, expected one JSON object a line")
    return row


def _shown(value: object) -> str:
    return "missing" if value is None else f"{value!r:.40}"


def _paragraph(plan: RewardPlan, task: Task, count: int, means: Mapping[str, float]) -> str:
    mean = f"mean score {means['reward/score']:.4f}" if "reward/score" in means else "no score"
    facts = [
        f"{count} responses of {task.name} scored by {plan.expression}: {mean}",
        f"{means['reward/unscored']:.1%} unscored",
        f"{means['reward/malformed']:.1%} malformed",
    ]
    if "reward/gold_accuracy" in means:
        facts.append(f"accuracy {means['reward/gold_accuracy']:.4f}")
    if "reward/gold_error" in means:
        facts.append(f"mean distance to gold {means['reward/gold_error']:.4f}")
    if "reward/lambda_saturation" in means:
        facts.append(f"{means['reward/lambda_saturation']:.1%} at or above lambda")
    return ", ".join(facts) + "."
