"""Rows as examples of a task, checked one by one: every problem names its file and place.

How files become rows stands in ``files.py``. What was read in a way that the file does not spell out (a column under
another name, a label in another case) is told in the reading's notes.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rewardlab.errors import DataError
from rewardlab.gold_answers import BETWEEN, alternatives, is_one_of
from rewardlab.reading import HalfCharacterError, parse_json
from rewardlab.tasks.candidates import joined as any_of
from rewardlab.tasks.files import Placed, placed_rows
from rewardlab.tasks.sets import joined
from rewardlab.tasks.task import Task
from rewardlab.tasks.text import composed
from rewardlab.tasks.turns import as_turns, written_out
from rewardlab.types import AnswerFormat, Example, Label

MAX_PROBLEMS = 5
"""Problems of one file that a message spells out; the rest are counted."""
MAX_NAMED = 5
"""Columns or labels that a note names; the rest are counted."""
_NUMBER = re.compile(r"[-+]?[0-9]{1,15}(?:\.[0-9]{1,15})?")
CONVERSATIONS = ("messages", "conversations", "conversation")
"""Columns that may hold a conversation: turns as :mod:`rewardlab.tasks.turns` reads them, the answer last."""


class SourceMissing(DataError):
    """A source of rows has none for this task; another source may."""


class RowsMissing(DataError):
    """No source has rows for this task."""


class RowProblem(ValueError):
    """What is wrong with one row, without the place."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The rows of a file.

    Attributes:
        examples: In the file's order.
        notes: What was ignored or chosen, one sentence each; empty when the file says all of it itself.
        unused: Columns that the task does not read, sorted.
        files: Name of the file -> its rows.
    """

    examples: list[Example]
    notes: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)


def read_rows(path: Path, task: Task, format: AnswerFormat) -> Reading:
    """All rows of a file or of a folder of ``save_to_disk``; blank lines are passed over.

    Raises:
        DataError: ``path line N: ...`` for the first problems, and how many more there are.
    """
    columns = [task.columns.get(name, name) for name in (*task.fields, "label")]
    return to_examples(placed_rows(path, columns), str(path), task, format)


def to_examples(rows: Iterable[Placed], where: str, task: Task, format: AnswerFormat) -> Reading:
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
    unused: set[str] = set()
    respelled: Counter[tuple[str, str]] = Counter()
    renamed: dict[str, str] = {}
    for place, row in rows:
        try:
            data = _under_our_names(_parsed(row) if isinstance(row, str) else row, task, renamed)
            example = _example(data, f"{task.name}-{Path(where).stem}-{len(examples):05d}", task, format)
            if example.id in examples:
                raise RowProblem(f"id {example.id!r} occurs a second time; ids are unique in a file")
            examples[example.id] = example
            unused.update(set(data) - _used_columns(data, task))
            given = _as_text(_column(data, "label", task))
            if (
                task.labels
                and not task.multi_label
                and given not in ("", str(example.label))
                and not any(given in each for each in _tables(task))
            ):
                respelled[given, str(example.label)] += 1
        except RowProblem as problem:
            problems.append(f"{place}: {problem}")
    if problems:
        more = f"; and {len(problems) - MAX_PROBLEMS} more rows" if len(problems) > MAX_PROBLEMS else ""
        raise DataError(f"{where} {'; '.join(problems[:MAX_PROBLEMS])}{more}. Fix the rows (task {task.name})")
    file = Path(where).name
    notes = _renamed(file, renamed) + _respelled(file, respelled)
    if not examples:
        notes += (f"{file} holds no rows",)
    return Reading(list(examples.values()), notes, tuple(sorted(unused)), {file: len(examples)})


def read_label(raw: object, task: Task) -> Label:
    """A gold label as the task spells it.

    Labels match by the table of the task's file (``[labels]``: 1 = "0"), as they are, by the hub's table, or, where
    that leaves one label, without regard to case, outer blanks and the form of accents, or as the same number
    ("1.0", as tables write whole numbers beside gaps).

    Raises:
        RowProblem: It is none of the task's labels, or a number outside its range.
    """
    if task.is_numeric:
        return _read_number(raw, task)
    if task.candidates:
        return _any_of(raw, "label")
    if task.multi_label:
        parts = raw if isinstance(raw, list | tuple) else [part for part in _as_text(raw).split(",") if part.strip()]
        if not parts:
            raise RowProblem(f"label {raw!r:.60} names no label; expected one or several of {some(task.labels)}")
        return joined([str(read_label(part, replace(task, multi_label=False))) for part in parts], task.labels)
    text = _as_text(raw)
    hub = task.hub.labels if task.hub else {}
    spelled = {composed(label): label for label in task.labels}
    for known in (task.label_values.get(text), text, hub.get(text)):
        if known is not None and composed(known) in spelled:
            return spelled[composed(known)]
    means = {**{label: label for label in task.labels}, **hub, **task.label_values}
    forms: tuple[Callable[[str], object], ...] = (_folded, _plain_number)
    for form in forms:
        alike = {label for value, label in means.items() if form(value) == form(text) is not None}
        if len(alike) == 1 and not alike.isdisjoint(task.labels):
            return alike.pop()
    how = f"; for numbered labels write [labels] with {text} = ... in the task file" if text.isdigit() else ""
    raise RowProblem(f"label {raw!r:.60} is not one of {some(task.labels)}{how}")


def _tables(task: Task) -> tuple[Mapping[str, str], ...]:
    """What the task says that other values of the label column mean: its file's table, and the hub's."""
    return task.label_values, task.hub.labels if task.hub else {}


def _read_number(raw: object, task: Task) -> float:
    lowest, highest = task.numeric_range or (-math.inf, math.inf)
    number = _number(raw)
    if number is None or not lowest <= number <= highest:
        raise RowProblem(f"label {raw!r:.60} is not a number from {lowest:g} to {highest:g}")
    return number


def _example(data: Mapping[str, Any], default_id: str, task: Task, format: AnswerFormat) -> Example:
    found = {name: _column(data, name, task) for name in (*task.fields, "label")}
    missing = [name for name, value in found.items() if value is None]
    if missing and (column := _conversation_column(data)) is not None:
        found |= _conversation(column, data[column], missing)
        missing = [name for name, value in found.items() if value is None]
    if missing:
        raise RowProblem(_lacking(missing, data, task))
    if task.candidates:
        found |= {name: _any_of(found[name], name) for name in (task.candidates, "label")}
    for name in task.fields:
        if not isinstance(found[name], str):
            raise RowProblem(f"field {name!r} is {found[name]!r:.60}, expected a text")
    fields = {column: found[column] for column in task.fields}
    if not any(text.strip() for text in fields.values()):
        raise RowProblem(f"{', '.join(map(repr, fields))} is blank; fill it in or leave the row out")
    name = default_id if data.get("id") in (None, "") or data["id"] != data["id"] else str(data["id"])  # NaN is no id
    label = read_label(found["label"], task)
    if task.candidates and not any(is_one_of(each, label) for each in alternatives(fields[task.candidates])):
        raise RowProblem(f"none of its gold answers {label!r:.60} is among its {task.candidates}")
    return Example(task.name, name, fields, label, format)


def _any_of(raw: object, name: str) -> str:
    """Candidates, or gold answers, of a row as one text: from a list of texts, or from texts with `` | `` between."""
    texts = list(alternatives(raw)) if isinstance(raw, str) else raw
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise RowProblem(f"{name!r} is {raw!r:.60}, expected a list of texts")
    if not (text := any_of(text for text in texts if text.strip())):
        raise RowProblem(f"{name!r} names nothing; fill it in or leave the row out")
    if len(alternatives(text)) != len({" ".join(each.split()) for each in texts if each.strip()}):
        raise RowProblem(f"{name!r} has {BETWEEN!r} inside of a text, which stands between texts; spell it otherwise")
    return text


def _under_our_names(data: Mapping[str, Any], task: Task, renamed: dict[str, str]) -> Mapping[str, Any]:
    """A row with its columns under the names that the task asks for, where only case and outer blanks differ.

    ``renamed`` gets column -> name. Nothing is renamed where two columns would be the same.
    """
    wanted = [task.columns.get(name, name) for name in (*task.fields, "label")]
    if all(name in data for name in wanted):
        return data
    for name in wanted:
        alike = [column for column in data if str(column).strip().casefold() == name.casefold()]
        if name not in data and len(alike) == 1:
            data = {name if column == alike[0] else column: value for column, value in data.items()}
            renamed[alike[0]] = name
    return data


def _lacking(missing: Sequence[str], data: Mapping[str, Any], task: Task) -> str:
    """What a row lacks: columns, or values in columns that are there."""
    wanted = [task.columns.get(name, name) for name in missing]
    if all(name in data for name in wanted):
        return f"{', '.join(map(repr, wanted))} has no value; fill it in or leave the row out"
    return (
        f"no field {', '.join(map(repr, wanted))}, found {', '.join(sorted(map(str, data))) or 'none'}; "
        "name columns in the task file's table [columns]"
    )


def _column(data: Mapping[str, Any], name: str, task: Task) -> Any:
    """A field's value: from the column that the task names for it, or from the hub's."""
    return next((data[column] for column in task.sources(name) if data.get(column) is not None), None)


def _used_columns(data: Mapping[str, Any], task: Task) -> set[str]:
    names = (*task.fields, "label")
    hub = task.hub.fields if task.hub else {}
    used = {"id", *(task.columns.get(name, name) for name in names), *(hub.get(name, name) for name in names)}
    has_all = all(_column(data, name, task) is not None for name in names)
    column = None if has_all else _conversation_column(data)
    return used if column is None else used | {column}


def _conversation_column(data: Mapping[str, Any]) -> str | None:
    return next((name for name in CONVERSATIONS if isinstance(data.get(name), list)), None)


def _conversation(column: str, messages: Sequence[Any], missing: Sequence[str]) -> dict[str, str]:
    """The missing label from the last turn, the one missing text from the turns before it, written out."""
    try:
        turns = as_turns(messages) or []
    except ValueError as error:
        raise RowProblem(f"a turn of {column!r}: {error}, expected role and content") from error
    texts = [name for name in missing if name != "label"]
    if len(turns) < 2 or turns[-1].role != "assistant" or len(texts) > 1:
        raise RowProblem(f"{column!r} holds {len(turns)} turns; expected a prompt and, last, the assistant's answer")
    prompt = dict.fromkeys(texts, written_out(turns[:-1]))
    return prompt | ({"label": turns[-1].text.strip()} if "label" in missing else {})


def _renamed(file: str, renamed: Mapping[str, str]) -> tuple[str, ...]:
    pairs = some([f"{column!r} as {name!r}" for column, name in renamed.items()])
    return (f"{file}: columns are read under the task's names: {pairs}",) if renamed else ()


def _respelled(file: str, respelled: Counter[tuple[str, str]]) -> tuple[str, ...]:
    if not respelled:
        return ()
    pairs = some([f"{given!r} as {label!r}" for (given, label), _ in respelled.most_common()])
    return (f"{file}: {respelled.total()} labels are spelled otherwise than the task's: {pairs}",)


def some(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED + 1 else ""
    return ", ".join(names[:MAX_NAMED] if more else names) + more


def _parsed(line: str) -> Mapping[str, Any]:
    try:
        row = parse_json(line)
    except HalfCharacterError as error:
        raise RowProblem(str(error)) from error
    except ValueError as error:
        raise RowProblem(f"not valid JSON ({error})") from error
    if not isinstance(row, dict):
        raise RowProblem(f"a JSON {type(row).__name__}, expected an object with {{}}")
    return row


def _as_text(raw: object) -> str:
    """A label as text: whole numbers without a decimal point, as tables lose their integers to gaps."""
    if isinstance(raw, bool):
        return json.dumps(raw)
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    return "" if raw is None else str(raw)


def _plain_number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def _folded(text: str) -> str:
    return composed(text).strip().casefold()


def _number(raw: object) -> float | None:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str) or (isinstance(raw, str) and "_" in raw):
        return None  # Python reads 1_000 as a number
    try:
        return float(raw)
    except (ValueError, OverflowError):
        return None
