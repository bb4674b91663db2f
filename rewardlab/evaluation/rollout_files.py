"""Responses that were logged while a policy was trained: a ledger of ours, or what other libraries write.

======================================================= ============================================================
columns                                                 who writes them
======================================================= ============================================================
``step task id gold correct parts score response``      ``samples.jsonl`` of a run, rows of ``reward score``
``step prompt completion`` + a column a reward          TRL, ``log_completions``: ``completions_00010.parquet``
``step input output gts score`` + what the reward says  verl, ``trainer.rollout_data_dir``: ``10.jsonl``
``input output reward``                                 OpenRLHF, batch inference
======================================================= ============================================================

Other columns are named by the caller; what is not found is refused with the columns that are there. Every other
column of numbers is a raw part under its own name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rewardlab.disk import parse_object, read_jsonl
from rewardlab.errors import ConfigError, DataError
from rewardlab.rewards.expression import RESERVED
from rewardlab.rewards.ledger import scored_row
from rewardlab.rewards.rescoring import StoredResponse
from rewardlab.tasks.files import READERS, placed_rows, row_files
from rewardlab.tasks.places import is_known
from rewardlab.tasks.rows import RowProblem, read_label
from rewardlab.tasks.tables import DELIMITERS
from rewardlab.tasks.task import tasks
from rewardlab.tasks.turns import as_turns, written_out
from rewardlab.types import AnswerFormat, Example, Label, Score

USUAL: Mapping[str, tuple[str, ...]] = {
    "step": ("step", "global_step", "global_steps"),
    "prompt": ("prompt", "input", "query", "question"),
    "response": ("response", "completion", "output"),
    "reward": ("reward", "score"),
    "gold": ("gold", "gts", "label", "ground_truth", "solution"),
    "correct": ("correct", "acc", "accuracy", "is_correct"),
    "id": ("id", "uid", "prompt_id"),
}
"""What is looked for -> names that libraries give it; the first that a file has is taken."""
OWN = ("task", "error", "answer", "sample")
"""Columns of a ledger that other libraries have not."""
TOLD = 12
"""Columns that a message names."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns where they are not the usual ones (:data:`USUAL`); None is the usual ones.

    Attributes:
        step: Training step, a whole number.
        prompt: Text or messages; identifies the prompt where there is no id.
        response: Text or messages.
        reward: What the policy was trained on.
        gold: Gold label; needs the task, whose parser reads the response.
        correct: Whether the response is right: true or false, or a number from 0 to 1.
        id: Name of the prompt.
        parts: Part -> the column of its raw score, where that is not called like the part.
    """

    step: str | None = None
    prompt: str | None = None
    response: str | None = None
    reward: str | None = None
    gold: str | None = None
    correct: str | None = None
    id: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict)


USUAL_COLUMNS = Columns()


@dataclass(frozen=True, slots=True)
class RolloutFile:
    """A log of responses.

    Attributes:
        path: A file of rows, or a folder of such files.
        columns: Names of columns that are not the usual ones.
        task: Task of rows that do not say theirs; None is unknown, so that gold labels cannot be compared.
        format: Answer format of the responses.
        needs: What every file must have, keys of :data:`USUAL`.
        may_be_cut: The run may still write to it: half of a last line of JSON Lines is left out.
    """

    path: Path
    columns: Columns = USUAL_COLUMNS
    task: str | None = None
    format: AnswerFormat = "rationale"
    needs: Sequence[str] = ("response",)
    may_be_cut: bool = False


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where one file has what: role -> column, part -> column."""

    roles: Mapping[str, str]
    parts: Mapping[str, str]


def read_rollouts(source: RolloutFile) -> list[StoredResponse]:
    """All responses of a log, by step; within a step in the order of the file.

    Raises:
        DataError: No rows, a column that is needed and missing, or a value that is not what its column holds; the
            line names the file, the row and the columns that are there.
    """
    found: list[StoredResponse] = []
    for path in _files(source.path):
        if rows := list(_rows(path, source.may_be_cut)):
            layout = _layout(source, path, [row for _, row in rows])
            found += [_read(source, layout, row, place) for place, row in rows]
    if not found:
        raise DataError(f"{source.path}: holds no rows; expected a log of responses, one a row")
    return sorted(found, key=lambda row: row.step)


def _files(path: Path) -> list[Path]:
    """The file, or the files of a folder, those with numbers in their names in the order of the numbers."""
    if not path.is_dir():
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; expected a run, or a log of responses")
        if path.suffix.lower() not in READERS:
            raise DataError(f"{path}: unknown format {path.suffix!r}; expected {', '.join(READERS)}, or a folder")
        return [path]
    found = [each for each in row_files(path) if each.is_file()]
    if not found:
        raise DataError(
            f"{path}: neither a run with a ledger nor a folder of logs; rows are read from {', '.join(READERS)}"
        )
    return sorted(
        found, key=lambda each: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", each.name)]
    )


def _rows(path: Path, may_be_cut: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place, row) of a file."""
    if may_be_cut:
        yield from ((f"{path} row {number}", row) for number, row in enumerate(read_jsonl(path, may_be_cut=True), 1))
        return
    for place, row in placed_rows(path, ()):
        yield f"{path} {place}", parse_object(row, f"{path} {place}") if isinstance(row, str) else row


def _layout(source: RolloutFile, path: Path, rows: Sequence[Mapping[str, Any]]) -> _Layout:
    """Find the columns of one file.

    Raises:
        DataError: One that is named or needed is not there.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    roles: dict[str, str] = {name: name for name in OWN if name in columns}
    for role, usual in USUAL.items():
        asked = getattr(source.columns, role)
        if asked is not None and asked not in columns:
            raise DataError(f"{path}: --{role}-column {asked}: no such column; {_told(columns)}")
        chosen = asked or next((name for name in usual if name in columns), None)
        if chosen is not None:
            roles[role] = chosen
    missing = [role for role in source.needs if role not in roles]
    if missing:
        looked = "; ".join(f"{role} (looked for {', '.join(USUAL[role])})" for role in missing)
        options = " ".join(f"--{role}-column" for role in missing)
        raise DataError(f"{path}: no column for {looked}; {_told(columns)}. Name it with {options}")
    return _Layout(roles, {} if _is_ledger(rows[0]) else _parts(source, path, columns, roles, rows))


def _is_ledger(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("parts"), Mapping)


def _told(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - TOLD} more" if len(columns) > TOLD else ""
    return f"the columns are {', '.join(columns[:TOLD])}{more}"


def _parts(
    source: RolloutFile, path: Path, columns: Sequence[str], roles: Mapping[str, str], rows: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Raw parts by name: the columns of numbers that expressions can name, and those that the caller names."""
    for part, column in source.columns.parts.items():
        if column not in columns:
            raise DataError(f"{path}: --part {part}={column}: no such column; {_told(columns)}")
    texts = {roles.get(role) for role in ("step", "prompt", "response", "gold", "id", "task", "answer", "sample")}
    named = [name for name in columns if name not in texts and name.isidentifier() and name not in RESERVED]
    in_text = path.suffix.lower() in DELIMITERS
    numeric = {name: name for name in named if _is_numeric((row.get(name) for row in rows), in_text=in_text)}
    return {**numeric, **source.columns.parts}


def _is_numeric(values: Iterable[object], *, in_text: bool) -> bool:
    """All numbers, missing ones aside, and at least one; in a table numbers are texts."""
    known = [value for value in values if value is not None and value != ""]
    return bool(known) and all((in_text or not isinstance(each, str)) and _number(each) is not None for each in known)


def _number(value: object) -> float | None:
    """A number, also one that a table holds as text; NaN counts, as other libraries write "could not judge"."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return {"true": 1.0, "false": 0.0}.get(value.strip().lower())
    return float(value) if isinstance(value, bool | int | float) else None


def _read(source: RolloutFile, layout: _Layout, row: Mapping[str, Any], place: str) -> StoredResponse:
    def at(role: str) -> Any:
        return row.get(layout.roles[role]) if role in layout.roles else None

    response = _text(at("response"), f"{place}: column {layout.roles.get('response')!r}")
    name = at("id") if at("id") is not None else _text(at("prompt"), f"{place}: column {layout.roles.get('prompt')!r}")
    example = Example(str(at("task") or source.task or ""), str(name or place), {}, None, source.format)
    example = replace(example, label=_gold(at("gold"), example, place))
    parts = row["parts"] if not layout.parts and _is_ledger(row) else {p: row.get(c) for p, c in layout.parts.items()}
    known = StoredResponse(
        step=_whole(at("step"), place),
        example=example,
        response=response,
        parts={part: _finite(value, f"{place}: part {part!r}") for part, value in parts.items()},
        score=_finite(at("reward"), f"{place}: column {layout.roles.get('reward')!r}"),
        correct=_finite(at("correct"), f"{place}: column {layout.roles.get('correct')!r}"),
        error=_finite(at("error"), f"{place}: column 'error'"),
        answer=at("answer"),
        sample=_whole(at("sample"), place),
    )
    return known if example.label is None or "correct" in layout.roles else _judged(known)


def _judged(row: StoredResponse) -> StoredResponse:
    """With what the task's parser reads in the response, against its gold label."""
    read = scored_row(row.example, row.response, Score(None))
    correct = None if read["correct"] is None else float(read["correct"])
    return replace(row, correct=correct, error=read["error"], answer=read["answer"])


def _gold(value: object, example: Example, place: str) -> Label | None:
    """The gold label, where the task is known whose labels it must be among."""
    if value is None or not is_known(example.task):
        return None
    try:
        return read_label(value, tasks.get(example.task))
    except RowProblem as problem:
        raise DataError(f"{place}: {problem} (task {example.task})") from problem


def _text(value: object, place: str) -> str:
    """A text, or the words of messages; empty where there is none."""
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return written_out(as_turns(value) or [])
    except ValueError as error:
        raise DataError(f"{place}: {error}; expected a text or messages") from error


def _whole(value: object, place: str) -> int:
    number = 0.0 if value is None else _number(value)
    if number is None or not number.is_integer():
        raise DataError(f"{place}: step is {value!r:.40}, expected a whole number")
    return int(number)


def _finite(value: object, place: str) -> float | None:
    """A number; None where the reward could not judge, which TRL writes as NaN."""
    if value is None or value == "":
        return None
    number = _number(value)
    if number is None or math.isinf(number):
        raise DataError(f"{place} is {value!r:.40}, expected a finite number")
    return None if math.isnan(number) else number


def parse_parts(options: Sequence[str]) -> dict[str, str]:
    """Read ``--part NAME=COLUMN`` options.

    Raises:
        ConfigError: No ``=``, or a name that no expression can have.
    """
    found: dict[str, str] = {}
    for option in options:
        name, separator, column = option.partition("=")
        if not separator or not name.isidentifier() or name in RESERVED:
            raise ConfigError(f"--part {option!r}: expected NAME=COLUMN with a name that expressions can use")
        found[name] = column
    return found


NAMED = tuple(each.name for each in fields(Columns) if each.name != "parts")
"""Roles that a command has an option for."""
