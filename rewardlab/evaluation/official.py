"""Test rows of GLUE and SuperGLUE whose labels are the servers': a folder of JSON Lines, or the hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rewardlab.errors import DataError
from rewardlab.evaluation.submission import HUBS, Benchmark, OfficialFile, index_text
from rewardlab.reading import parse_json
from rewardlab.tasks.candidates import joined
from rewardlab.tasks.hub import offline_reason
from rewardlab.tasks.rows import RowProblem, read_label
from rewardlab.tasks.task import Task, tasks
from rewardlab.types import AnswerFormat, Example, Label


def official_rows(benchmark: Benchmark, file: OfficialFile, format: AnswerFormat, folder: Path | None) -> list[Example]:
    """The rows of one file, their official index as id; without labels, but for rows of a folder that have some.

    Args:
        benchmark: Whose file.
        file: Which.
        format: In which they are asked.
        folder: Has a file of rows named as the official file, such as ``CoLA.jsonl``: ``idx`` and the task's fields
            under our names or the hub's; None reads the hub.
    Raises:
        DataError: The rows are not there, or lack an index or a field.
    """
    where = HUBS[benchmark] if folder is None else str(official_file(file, folder))
    rows = _hub_rows(where, file) if folder is None else _local_rows(Path(where))
    return [_example(row, f"{where} row {number}", file, format) for number, row in enumerate(rows, 1)]


def official_file(file: OfficialFile, folder: Path) -> Path:
    """Where the rows of one file lie in a folder: ``CoLA.jsonl`` for ``CoLA.tsv``."""
    return folder / f"{Path(file.name).stem}.jsonl"


def _local_rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        return [parse_json(line) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected a JSON object a line, with idx") from error


def _hub_rows(path: str, file: OfficialFile) -> Iterable[Mapping[str, Any]]:
    if reason := offline_reason():
        raise DataError(f"{path}, {file.config}: {reason}; give --data DIR with {Path(file.name).stem}.jsonl in it")
    import datasets

    try:
        rows: Iterable[Mapping[str, Any]] = datasets.load_dataset(path, file.config, split=file.split)
    except Exception as error:
        # datasets raises its own errors, those of the hub's client and of pyarrow
        raise DataError(f"{path}, {file.config}, {file.split}: {type(error).__name__}: {error}") from error
    return rows


def _example(row: Mapping[str, Any], where: str, file: OfficialFile, format: AnswerFormat) -> Example:
    task = tasks.get(file.task)
    found = {name: _text(row, name, task, file) for name in task.fields}
    missing = [name for name, text in found.items() if text is None]
    if missing or row.get("idx") is None:
        raise DataError(
            f"{where}: no {', '.join([*missing, *(() if 'idx' in row else ('idx',))])}, found {', '.join(row)}"
        )
    fields = {name: text for name, text in found.items() if text is not None}
    return Example(task.name, index_text(row["idx"]), fields, _gold(row, task, where), format)


def _gold(row: Mapping[str, Any], task: Task, where: str) -> Label | None:
    """The label of a row that is no test row; the benchmarks have -1, or an empty list, where it is hidden."""
    label = next((row[name] for name in task.sources("label") if row.get(name) is not None), None)
    if label in (None, -1, []):
        return None
    try:
        return read_label(label, task)
    except RowProblem as problem:
        raise DataError(f"{where}: {problem}; leave label out where it is not known") from problem


def _text(row: Mapping[str, Any], name: str, task: Task, file: OfficialFile) -> str | None:
    columns = (file.fields.get(name, name), *task.sources(name))
    kinds: tuple[type, ...] = (str, list, tuple) if name == task.candidates else (str,)
    found = next((row[column] for column in columns if isinstance(row.get(column), kinds)), None)
    return found if found is None or isinstance(found, str) else joined(map(str, found))
