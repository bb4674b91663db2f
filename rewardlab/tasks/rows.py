"""JSON Lines and hub rows as examples, checked one by one: every problem names its file and line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rewardlab.errors import DataError
from rewardlab.tasks.task import Task
from rewardlab.tasks.text import composed
from rewardlab.types import AnswerFormat, Example, Label

MAX_PROBLEMS = 5
"""Problems of one file that a message spells out; the rest are counted."""


class SourceMissing(DataError):
    """A source of rows has none for this task; another source may."""


class RowsMissing(DataError):
    """No source has rows for this task."""


class RowProblem(ValueError):
    """What is wrong with one row, without the place."""


def read_rows(path: Path, task: Task, format: AnswerFormat) -> list[Example]:
    """All rows of a JSON Lines file; blank lines are passed over.

    Raises:
        DataError: ``path line N: ...`` for the first problems, and how many more there are.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected JSON Lines in UTF-8") from error
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    return to_examples(((f"line {number}", line) for number, line in numbered), str(path), task, format)


def to_examples(
    rows: Iterable[tuple[str, str | Mapping[str, Any]]], where: str, task: Task, format: AnswerFormat
) -> list[Example]:
    """Rows as examples of a task.

    Args:
        rows: (place, row) with the row as JSON text or as a mapping; rows without ``id`` get one from ``where``.
        where: File or data set, for messages.
        task: Whose fields and labels a row must have.
        format: Answer format the examples are asked in.
    Raises:
        DataError: As in :func:`read_rows`.
    """
    examples: dict[str, Example] = {}
    problems: list[str] = []
    for place, row in rows:
        try:
            example = _example(row, f"{task.name}-{Path(where).stem}-{len(examples):05d}", task, format)
            if example.id in examples:
                raise RowProblem(f"id {example.id!r} occurs a second time; ids are unique in a file")
            examples[example.id] = example
        except RowProblem as problem:
            problems.append(f"{place}: {problem}")
    if problems:
        more = f"; and {len(problems) - MAX_PROBLEMS} more rows" if len(problems) > MAX_PROBLEMS else ""
        raise DataError(f"{where} {'; '.join(problems[:MAX_PROBLEMS])}{more}. Fix the rows (task {task.name})")
    return list(examples.values())


def read_label(raw: object, task: Task) -> Label:
    """A gold label as the task spells it; raises RowProblem when it is none of them."""
    if not task.is_numeric:
        text = composed(str(raw)) if isinstance(raw, int | str) else ""
        if (label := next((label for label in task.labels if composed(label) == text), None)) is not None:
            return label
        raise RowProblem(f"label {raw!r} is not one of {', '.join(task.labels)}")
    lowest, highest = task.numeric_range or (-math.inf, math.inf)
    number = _number(raw)
    if number is None or not lowest <= number <= highest:
        raise RowProblem(f"label {raw!r} is not a number from {lowest:g} to {highest:g}")
    return number


def _example(row: str | Mapping[str, Any], default_id: str, task: Task, format: AnswerFormat) -> Example:
    data = _parsed(row) if isinstance(row, str) else row
    missing = [name for name in (*task.fields, "label") if data.get(name) is None]
    if missing:
        raise RowProblem(f"no field {', '.join(map(repr, missing))}, found {', '.join(sorted(data)) or 'none'}")
    for name in task.fields:
        if not isinstance(data[name], str):
            raise RowProblem(f"field {name!r} is {data[name]!r:.60}, expected a text")
    fields = {name: data[name] for name in task.fields}
    return Example(task.name, str(data.get("id", default_id)), fields, read_label(data["label"], task), format)


def _parsed(line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise RowProblem(f"not valid JSON ({error})") from error
    if not isinstance(row, dict):
        raise RowProblem(f"a JSON {type(row).__name__}, expected an object with {{}}")
    return row


def _number(raw: object) -> float | None:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    try:
        return float(raw)
    except (ValueError, OverflowError):
        return None
