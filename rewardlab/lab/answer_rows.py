"""Answers that ``reward score`` and ``reward diff`` read: rows of a file as examples, looked up where they are bare.

torch is imported only for expressions with reward models.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from rewardlab.config import RunConfig
from rewardlab.config_loading import load_config
from rewardlab.disk import parse_object
from rewardlab.errors import DataError
from rewardlab.lab.stored import stored_config
from rewardlab.rewards import RewardPlan, label_shares
from rewardlab.rewards.context import LabelShares
from rewardlab.rewards.ledger import LEDGER_FILE
from rewardlab.tasks import resolve_task, resolve_tasks
from rewardlab.tasks.files import READERS, placed_rows
from rewardlab.tasks.rows import RowProblem, read_label
from rewardlab.tasks.tables import DELIMITERS
from rewardlab.tasks.task import Task
from rewardlab.types import AnswerFormat, Example, Label

ALL_ROWS = 1_000_000_000
BATCH = 512
"""Answers that are held in memory and scored at a time."""
STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class AnswerSource:
    """Where answers come from.

    Attributes:
        task: A task's name or file.
        input: A file with one of the endings that rows are read from; ``-`` is JSON Lines on standard input.
        format: Answer format of the responses.
        data: Folder of task data; None is the configured one.
        run: A run whose ledger is read; it says task, format and data itself. None: there is none.
    """

    task: str
    input: Path
    format: AnswerFormat = "rationale"
    data: Path | None = None
    run: Path | None = None

    @classmethod
    def ledger(cls, run: Path) -> AnswerSource:
        """The responses of a run.

        Raises:
            RunFolderError: The folder is no run.
            DataError: It has no ledger.
        """
        config = stored_config(run, finished=False)
        if not (run / LEDGER_FILE).is_file():
            raise DataError(f"{run}: no {LEDGER_FILE}; expected a run that was trained on a reward")
        return cls(config.task, run / LEDGER_FILE, config.format, None, run)


class AnswerRows:
    """The rows of a file as examples and responses, read once.

    Args:
        source: Where they come from.
        plans: What the rewards that will score them read.
        at_once: Score all of them together: graders that are asked in batches take hours for each.

    Attributes:
        tasks: Their tasks by name; several only for the ledger of a run, whose rows say theirs.
        count: How many were read so far.
    """

    def __init__(self, source: AnswerSource, plans: Sequence[RewardPlan], *, at_once: bool = False) -> None:
        known = [resolve_task(source.task, "rewardlab reward")] if source.run is None else resolve_tasks(source.task)
        self.tasks = {task.name: task for task in known}
        self.count = 0
        self._source = source
        self._needs_gold = any(plan.needs_gold for plan in plans)
        self._needs_prompt = any(plan.needs_prompt for plan in plans)
        self._needs_shares = any(plan.needs_shares for plan in plans)
        self._held: list[tuple[Example, str]] | None = None
        self._at_once = at_once and any(plan.needs_rubric for plan in plans)
        self._groups = next((plan.expression for plan in plans if plan.needs_groups), None)
        self._by_id: dict[str, dict[str, list[Example]]] = {}

    def __iter__(self) -> Iterator[tuple[Example, str]]:
        return iter(self._held) if self._held is not None else self._all()

    def label_shares(self) -> LabelShares:
        """Shares of the gold labels, where a reward needs them; all rows are then held in memory."""
        if not self._needs_shares:
            return {}
        self._held = list(self._all())
        return label_shares(example for example, _ in self._held)

    def _all(self) -> Iterator[tuple[Example, str]]:
        for place, row in _rows(self._source.input):
            self.count += 1
            yield self._read(row, place)
        if not self.count:
            raise DataError(f"{self._source.input}: holds no rows; expected rows with response and (id or label)")

    def batches(self) -> Iterator[tuple[list[Example], list[str]]]:
        """Examples and responses to score together: all where that was asked, or a reward compares responses."""
        waiting, size = iter(self), None if self._at_once or self._groups is not None else BATCH
        while batch := list(islice(waiting, size)):
            yield [example for example, _ in batch], [response for _, response in batch]

    def _read(self, row: Mapping[str, Any], place: str) -> tuple[Example, str]:
        response = row.get("response")
        if not isinstance(response, str):
            raise DataError(f"{place}: field 'response' is {_shown(response)}; expected the text of an answer")
        if self._groups is not None and row.get("id") is None:
            raise DataError(
                f"{place}: has no 'id', and reward {self._groups!r} compares the responses to one prompt; expected the "
                "id of the prompt"
            )
        example = self._given(row, place)
        return (example if self._suffices(example) else self._looked_up(row, example, place)), response

    def _given(self, row: Mapping[str, Any], place: str) -> Example:
        """The example as far as the row itself has it."""
        task = self._task_of(row, place)
        fields = {name: row[name] for name in task.fields if isinstance(row.get(name), str)}
        name = f"row {self.count}" if row.get("id") is None else str(row["id"])
        label = row.get("label") if self._source.run is None else row.get("gold")
        return Example(task.name, name, fields, _label(label, task, place), self._source.format)

    def _task_of(self, row: Mapping[str, Any], place: str) -> Task:
        if self._source.run is None:
            return next(iter(self.tasks.values()))
        if row.get("task") not in self.tasks:
            raise DataError(f"{place}: task {_shown(row.get('task'))}; the run's are {', '.join(self.tasks)}")
        return self.tasks[row["task"]]

    def _suffices(self, example: Example) -> bool:
        has_label = example.label is not None or not self._needs_gold
        wanted = self.tasks[example.task].fields
        return has_label and (not self._needs_prompt or len(example.fields) == len(wanted))

    def _looked_up(self, row: Mapping[str, Any], given: Example, place: str) -> Example:
        """The task's own row of that id, under the given label if there is one."""
        if row.get("id") is None:
            fields = f" and {', '.join(self.tasks[given.task].fields)}" if self._needs_prompt else ""
            raise DataError(f"{place}: has no 'id' to look up; expected id, or label{fields}")
        known = self._task_rows(self.tasks[given.task])
        if given.id not in known:
            raise DataError(f"{place}: id {given.id!r} is not among the {len(known)} rows of task {given.task}")
        found, *others = known[given.id]
        if any(other.fields != found.fields or other.label != found.label for other in others):
            raise DataError(
                f"{place}: id {given.id!r} is that of {1 + len(others)} rows of task {given.task}; "
                f"expected label and {', '.join(self.tasks[given.task].fields)} beside it"
            )
        label = given.label if given.label is not None else found.label
        return Example(found.task, found.id, found.fields, label, given.format, found.evidence)

    def _task_rows(self, task: Task) -> dict[str, list[Example]]:
        if task.name not in self._by_id:
            run = self._source.run
            config = load_config() if run is None else stored_config(run, finished=False)
            rows = self._by_id.setdefault(task.name, {})
            for example in _all_examples(task, self._source, config):
                rows.setdefault(example.id, []).append(example)
        return self._by_id[task.name]


def _label(value: object, task: Task, place: str) -> Label | None:
    try:
        return None if value is None else read_label(value, task)
    except RowProblem as problem:
        raise DataError(f"{place}: {problem}; fix the row (task {task.name})") from problem


def _all_examples(task: Task, source: AnswerSource, config: RunConfig) -> Iterator[Example]:
    from rewardlab.tasks.sources import load_splits

    data = config.data
    wanted = ("labelled", "prompts", "validation", "test")
    limits = {name: getattr(data, name) if task.generate else ALL_ROWS for name in wanted}
    splits = load_splits(
        task,
        source=data.source,
        data_dir=source.data or data.dir,
        format=source.format,
        seed=config.data_seed,
        test_seed=data.test_seed,
        **limits,
    )
    yield from (*splits.labelled, *splits.prompts, *splits.validation)
    for rows in splits.tests.values():
        yield from rows


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows with their places; a name without a known ending, and standard input, are JSON Lines."""
    if path != STDIN and not path.exists():
        raise DataError(f"{path}: no such file")
    if path == STDIN or path.suffix.lower() not in READERS:
        for number, line in _lines(path):
            yield (place := f"{path} line {number}"), parse_object(line, place)
        return
    for where, row in placed_rows(path, ("response",)):
        place = f"{path} {where}"
        if isinstance(row, str):
            yield place, parse_object(row, place)
        elif path.suffix.lower() in DELIMITERS and "response" in row:
            yield place, {**row, "response": row["response"] or ""}  # an empty cell is an empty answer
        else:
            yield place, row


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
    with path.open(encoding="utf-8-sig") as file:
        yield file


def _shown(value: object) -> str:
    return "missing" if value is None else f"{value!r:.40}"
