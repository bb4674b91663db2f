"""Rows as examples of a task, checked one by one: every problem names its file and place.

How files become rows stands in ``files.py``. What was read in a way that the file does not spell out (a column under
another name, a label in another case) is told in the reading's notes.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from rewardlab.errors import DataError
from rewardlab.gold_answers import BETWEEN, alternatives, is_one_of
from rewardlab.reading import HalfCharacterError, parse_json
from rewardlab.tasks.candidates import joined as any_of
from rewardlab.tasks.checked import CheckedRows, Outline, text_digest
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
    """The rows of a file, checked.

    Attributes:
        rows: In the file's order; their texts stay in the file.
        notes: What was ignored or chosen, one sentence each; empty when the file says all of it itself.
        unused: Columns that the task does not read, sorted.
        files: Name of the file -> its rows.
    """

    rows: CheckedRows
    notes: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)

    @property
    def examples(self) -> list[Example]:
        """All rows, read again."""
        return self.rows.examples


def read_rows(path: Path, task: Task, format: AnswerFormat) -> Reading:
    """All rows of a file or of a folder of ``save_to_disk``; blank lines are passed over.

    Raises:
        DataError: ``path line N: ...`` for the first problems, and how many more there are.
    """
    columns = [task.columns.get(name, name) for name in (*task.fields, "label")]
    return check_rows(lambda: placed_rows(path, columns), str(path), task, format)


def check_rows(read: Callable[[], Iterable[Placed]], where: str, task: Task, format: AnswerFormat) -> Reading:
    """Rows as examples of a task, each checked.

    Args:
        read: Gives (place, row) with the row as JSON text or as a mapping, from the first row at each call; rows
            without ``id`` get one from ``where``.
        where: File or data set, for messages.
        task: Whose fields and labels a row must have.
        format: Answer format the examples are asked in.
    Raises:
        DataError: As in :func:`read_rows`.
    """
    reader = _RowReader(where, task, format)
    checked = _check(reader, read())
    if repeated := checked.outline.repeated_ids():  # seldom: which rows they are takes another look
        reader = _RowReader(where, task, format)
        checked = _check(reader, read(), repeated)
    if checked.problems:
        more = f"; and {checked.problems - MAX_PROBLEMS} more rows" if checked.problems > MAX_PROBLEMS else ""
        raise DataError(f"{where} {'; '.join(checked.told)}{more}. Fix the rows (task {task.name})")
    outline, file = checked.outline, Path(where).name
    notes = _renamed(file, reader.renamed) + _respelled(file, reader.respelled)
    if not outline:
        notes += (f"{file} holds no rows",)
    rows = CheckedRows(outline, lambda numbers: dict(_taken(reader, read(), outline, numbers)) if numbers else {})
    return Reading(rows, notes, tuple(sorted(reader.unused)), {file: len(outline)})


@dataclass(slots=True)
class _Checked:
    """What was found in a file: its rows, how many problems, and the first of them."""

    outline: Outline = field(default_factory=Outline)
    problems: int = 0
    told: list[str] = field(default_factory=list)


def _check(reader: _RowReader, rows: Iterable[Placed], repeated: Collection[int] = ()) -> _Checked:
    """All rows of a file; ``repeated`` has the hashes of the ids that may occur twice."""
    checked, seen = _Checked(), set[str]()
    for place, row in rows:
        try:
            example = reader.example(row, len(checked.outline))
            if repeated and hash(example.id) in repeated:
                if example.id in seen:
                    raise RowProblem(f"id {example.id!r} occurs a second time; ids are unique in a file")
                seen.add(example.id)
            checked.outline.add(example)
        except RowProblem as problem:
            checked.problems += 1
            if checked.problems <= MAX_PROBLEMS:
                checked.told.append(f"{place}: {problem}")
    return checked


def _taken(
    reader: _RowReader, placed: Iterable[Placed], outline: Outline, numbers: Collection[int]
) -> Iterator[tuple[int, Example]]:
    """The rows of these numbers; raises DataError where they are not those that were checked."""
    rows, passed = iter(placed), 0
    for number in sorted(set(numbers)):
        row = next(islice(rows, number - passed, None), None)
        passed = number + 1
        try:
            example = None if row is None else reader.example(row[1], number)
        except RowProblem:
            example = None
        if example is None or (text_digest(example), hash(example.id)) != (outline.digest(number), outline.ids[number]):
            raise DataError(f"{reader.where}: changed while it was read; run the command again")
        yield number, example


class _RowReader:
    """Turns the rows of one file into examples, and remembers what was not spelled out.

    Args:
        where: File or data set.
        task: Whose rows they are.
        format: Answer format the examples are asked in.
    Attributes:
        unused: Columns that the task does not read.
        respelled: (label as given, as the task spells it) -> rows.
        renamed: Column -> the name under which it is read.
    """

    def __init__(self, where: str, task: Task, format: AnswerFormat) -> None:
        self.where = where
        self.unused: set[str] = set()
        self.respelled: Counter[tuple[str, str]] = Counter()
        self.renamed: dict[str, str] = {}
        self._task, self._format = task, format
        self._begin = f"{task.name}-{Path(where).stem}-"
        self._sources = {name: task.sources(name) for name in (*task.fields, "label")}
        self._wanted = [task.columns.get(name, name) for name in self._sources]
        hub = task.hub.fields if task.hub else {}
        self._used = {"id", *self._wanted, *(hub.get(name, name) for name in self._sources)}
        self._columns: set[tuple[str, ...]] = set()
        self._labels: dict[tuple[type, object], Label] = {}

    def example(self, row: str | Mapping[str, Any], number: int) -> Example:
        """A row, checked; raises RowProblem.

        Args:
            row: JSON text or a mapping.
            number: How many rows stand in front of it; its id where it has none of its own.
        """
        task = self._task
        data = _under_our_names(_parsed(row) if isinstance(row, str) else row, self._wanted, self.renamed)
        found = {name: _first(data, columns) for name, columns in self._sources.items()}
        given, used = found["label"], self._used
        if None in found.values():
            if (column := _conversation_column(data)) is not None:
                missing = [name for name, value in found.items() if value is None]
                found |= _conversation(column, data[column], missing)
                used = {*used, column}
            if missing := [name for name, value in found.items() if value is None]:
                raise RowProblem(_lacking(missing, data, task))
        if task.candidates:
            found |= {name: _any_of(found[name], name) for name in (task.candidates, "label")}
        raw = found.pop("label")
        is_blank = True
        for name, text in found.items():
            if not isinstance(text, str):
                raise RowProblem(f"field {name!r} is {text!r:.60}, expected a text")
            is_blank = is_blank and (not text or text.isspace())
        if is_blank:
            raise RowProblem(f"{', '.join(map(repr, found))} is blank; fill it in or leave the row out")
        own = data.get("id")
        id = f"{self._begin}{number:05d}" if own in (None, "") or own != own else str(own)  # NaN is no id
        label = self._label(raw)
        if task.candidates and not any(is_one_of(each, label) for each in alternatives(found[task.candidates])):
            raise RowProblem(f"none of its gold answers {label!r:.60} is among its {task.candidates}")
        self._note(data, used, given, label)
        return Example(task.name, id, found, label, self._format)

    def _label(self, raw: object) -> Label:
        """The gold label; values of a column of labels are few, and each is looked up once."""
        if self._task.is_numeric or self._task.candidates or isinstance(raw, list | tuple | dict | set):
            return read_label(raw, self._task)
        key = (type(raw), raw)  # 1, 1.0 and True are equal
        if key not in self._labels:
            self._labels[key] = read_label(raw, self._task)
        return self._labels[key]

    def _note(self, data: Mapping[str, Any], used: Collection[str], given: object, label: Label) -> None:
        """Columns that were not used, and a label that is spelled otherwise."""
        task, columns = self._task, tuple(data)
        if columns not in self._columns or used is not self._used:
            self._columns.add(columns)
            self.unused.update(set(columns).difference(used))
        if given == label or not task.labels or task.multi_label:
            return
        text = _as_text(given)
        if text not in ("", str(label)) and not any(text in each for each in _tables(task)):
            self.respelled[text, str(label)] += 1


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


def _under_our_names(data: Mapping[str, Any], wanted: Sequence[str], renamed: dict[str, str]) -> Mapping[str, Any]:
    """A row with its columns under the names that are ``wanted``, where only case and outer blanks differ.

    ``renamed`` gets column -> name. Nothing is renamed where two columns would be the same.
    """
    if all(map(data.__contains__, wanted)):
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


def _first(data: Mapping[str, Any], columns: Sequence[str]) -> Any:
    """The first value that is there: of the column that the task names for a field, or of the hub's."""
    for column in columns:
        if (value := data.get(column)) is not None:
            return value
    return None


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
