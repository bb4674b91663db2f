"""How the rows of a task are divided into labelled rows, PPO prompts, validation and test.

Whatever the files, no text is in two parts: tests are served first, then validation, then labelled rows, then
prompts. Cuts keep the label shares, so that a file of 32 rows still gives useful parts. Rows are numbers until they are
chosen: arrays of shape (rows,).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias

from rewardlab.errors import DataError
from rewardlab.tasks.checked import DIGEST, CheckedRows
from rewardlab.tasks.task import Task
from rewardlab.types import Example, Label

if TYPE_CHECKING:
    import numpy as np

    Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

TEST_SHARE = 0.25
"""Part of the rows that becomes the test when there is neither a test nor a validation file."""
VALIDATION_SHARE = 0.15
"""Part of the training rows that becomes validation when no file is free for it."""
LABELLED_SHARE = 1 / 3
"""Part of the training rows that is used with labels; the rest are PPO prompts."""
MIN_TRAIN = 4
"""Fewest training rows from which every part gets a row."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Most rows of each part."""

    labelled: int = 5000
    prompts: int = 5000
    validation: int = 500
    test: int = 1000


@dataclass(frozen=True, slots=True)
class Parts:
    """The rows of one task, divided. ``tests`` has one entry per column (MNLI has two).

    ``left_out`` counts rows that are in no part although a file has them; ``cuts`` says what was cut from which file.
    """

    labelled: list[Example]
    prompts: list[Example]
    validation: list[Example]
    tests: dict[str, list[Example]]
    left_out: tuple[str, ...] = ()
    cuts: tuple[str, ...] = ()


class _Rows:
    """The rows of all files of a task under one numbering.

    Attributes:
        of: Split -> its rows.
        texts: A number for each row, equal where texts are.
        labels: The same for labels.
        groups: The same for what cuts keep the shares of: labels, but all numbers are one group.
    """

    def __init__(self, files: Mapping[str, CheckedRows]) -> None:
        import numpy as np

        self._files = files
        starts = [0, *accumulate(map(len, files.values()))]
        self._starts = dict(zip(files, starts, strict=False))
        self.of = {split: np.arange(start, start + len(files[split])) for split, start in self._starts.items()}
        digests = np.frombuffer(b"".join(rows.outline.texts for rows in files.values()), f"S{DIGEST}")
        self.texts = np.unique(digests, return_inverse=True)[1]
        known: dict[Label | None, int] = {}
        self.labels = np.zeros(len(digests), np.int64)
        for split, rows in files.items():
            codes = np.array([known.setdefault(label, len(known)) for label in rows.outline.labels], np.int64)
            self.labels[self.of[split]] = codes[np.frombuffer(rows.outline.codes, np.int32)] if len(rows) else 0
        alike = np.array([-1 if isinstance(label, float) else code for label, code in known.items()], np.int64)
        self.groups = alike[self.labels] if known else self.labels

    def none(self) -> Numbers:
        """No row."""
        import numpy as np

        return np.zeros(0, np.int64)

    def read(self, chosen: Sequence[Numbers]) -> list[list[Example]]:
        """The rows of these numbers, part by part; each file is read once."""
        wanted = {number for part in chosen for number in part.tolist()}
        examples: dict[int, Example] = {}
        for split, start in self._starts.items():
            own = [number - start for number in wanted if start <= number < start + len(self._files[split])]
            examples |= {start + number: example for number, example in self._files[split].take(own).items()}
        return [[examples[number] for number in part.tolist()] for part in chosen]

    def has_text_of(self, numbers: Numbers, others: Numbers) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which of the rows have a text that one of the others has."""
        import numpy as np

        there = np.zeros(len(self.texts), np.bool_)
        there[self.texts[others]] = True
        return there[self.texts[numbers]]

    def first_of_text(self, numbers: Numbers) -> Numbers:
        """For each row, the first one of its text among these."""
        import numpy as np

        _, first, text = np.unique(self.texts[numbers], return_index=True, return_inverse=True)
        found: Numbers = numbers[first[text]]
        return found

    def without(self, numbers: Numbers, others: Numbers) -> Numbers:
        """``numbers`` without texts that ``others`` have, each text once."""
        fresh = numbers[~self.has_text_of(numbers, others)]
        kept: Numbers = fresh[self.first_of_text(fresh) == fresh]
        return kept

    def stratified(self, numbers: Numbers, rng: random.Random) -> Numbers:
        """A random order in which every stretch has the labels in about their overall shares."""
        import numpy as np

        shuffled = _shuffled(numbers, rng)
        _, first, group = np.unique(self.groups[shuffled], return_index=True, return_inverse=True)
        group = np.argsort(np.argsort(first))[group]  # numbered as they appear, for each row takes a random number
        by_group, sizes = np.argsort(group, kind="stable"), np.bincount(group)
        size = np.repeat(sizes, sizes)
        place = np.arange(len(numbers)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        drawn = np.fromiter((rng.random() for _ in range(len(numbers))), np.float64, len(numbers))
        order: Numbers = shuffled[by_group][np.argsort((place + drawn) / size, kind="stable")]
        return order


def divide(task: Task, files: Mapping[str, CheckedRows], limits: Limits, seed: int, test_seed: int = 0) -> Parts:
    """Divide the rows of the files ``train``, ``validation``, ``test`` ... of one task.

    Labelled rows are at most a third of train and the rest are prompts. Without a test file, validation is the
    test and the validation rows are cut from train; without either, both are cut from train.

    Args:
        task: Its ``test_splits`` name the test files.
        files: Split name -> rows.
        limits: Most rows of each part; larger parts are sampled.
        seed: Of labelled rows and prompts, and of their order.
        test_seed: Of validation and test rows, and of what is cut from train for them.
    Raises:
        DataError: There are too few training rows for every part to get one.

    A task that is not trainable has test rows alone.
    """

    def rng(part: str) -> random.Random:
        """One per part, so that the limit of one part cannot change which rows another gets."""
        return random.Random(f"{seed}/{task.name}/{part}")

    def test_rng(part: str) -> random.Random:
        return random.Random(f"{test_seed}/{task.name}/{part}")

    rows = _Rows(files)
    tests, validation = _held_out(task, rows)
    if not task.trainable:
        sampled = _sampled(task, tests, rows, limits, test_rng)
        return Parts([], [], [], dict(zip(sampled, rows.read([*sampled.values()]), strict=True)))
    train = rows.of.get("train", rows.none())
    left_out, cuts = _left_out(rows, train, _flat(tests), validation), []
    train = rows.without(train, _joined(_flat(tests), validation))
    rest = rows.stratified(train, test_rng("train"))
    cuts += [
        f"no rows of {split} for the test {column}"
        for column, split in task.test_splits.items()
        if not files.get(split)
    ]
    if tests and not any(files.get(split) for split in _test_files(task).values()):
        cuts.append(f"no test file: the {len(_flat(tests))} rows of validation are the test")
    if not tests:
        test, rest = _cut(rest, min(limits.test, _share(rest, TEST_SHARE)))
        tests = {next(iter(_test_files(task))): test}
        cuts.append(f"no test file: {len(test)} rows of train are the test")
    if not len(validation):
        validation, rest = _cut(rest, min(limits.validation, _share(rest, VALIDATION_SHARE)))
        cuts.append(f"no validation file: {len(validation)} rows of train are the validation rows")
    pool = rows.stratified(train, rng("train"))
    pool = pool[rows.has_text_of(pool, rest)]
    if len(pool) < 2:
        gone = f" ({'; '.join(map(str, left_out))})" if left_out else ""
        raise DataError(f"task {task.name}: {len(train)} training rows are left, at least {MIN_TRAIN} are needed{gone}")
    labelled, pool = _cut(pool, min(limits.labelled, max(1, int(len(pool) * LABELLED_SHARE))))
    shuffled = (
        _shuffled(labelled, rng("labelled")),
        _shuffled(pool[: limits.prompts], rng("prompts")),
        _shuffled(
            rows.stratified(validation, test_rng("validation"))[: limits.validation], test_rng("validation order")
        ),
    )
    sampled = _sampled(task, tests, rows, limits, test_rng)
    trained, prompts, validated, *tested = rows.read([*shuffled, *sampled.values()])
    return Parts(
        labelled=trained,
        prompts=prompts,
        validation=validated,
        tests=dict(zip(sampled, tested, strict=True)),
        left_out=tuple(left_out),
        cuts=tuple(cuts),
    )


def _test_files(task: Task) -> Mapping[str, str]:
    return task.test_splits or {task.name: "test"}


def _held_out(task: Task, rows: _Rows) -> tuple[dict[str, Numbers], Numbers]:
    """The tests by column, and the validation rows that are in no test; either may be empty."""
    columns, validation = _test_files(task), rows.of.get("validation", rows.none())
    tests = {column: rows.of[split] for column, split in columns.items() if len(rows.of.get(split, ()))}
    if not tests and len(validation):
        return {next(iter(columns)): validation}, rows.none()
    return tests, rows.without(validation, _flat(tests))


def _sampled(
    task: Task, tests: Mapping[str, Numbers], rows: _Rows, limits: Limits, rng: Callable[[str], random.Random]
) -> dict[str, Numbers]:
    return {
        column: _shuffled(
            rows.stratified(numbers, rng(column))[: limits.test]
            if task.group is None
            else _whole_groups(numbers, rows, task.group, limits.test, rng(column)),
            rng(f"{column} order"),
        )
        for column, numbers in tests.items()
    }


def _whole_groups(
    numbers: Numbers, rows: _Rows, group: Callable[[Mapping[str, str]], str], most: int, rng: random.Random
) -> Numbers:
    """Rows of groups drawn at random, all of each, as far as ``most`` allows; one group at least."""
    import numpy as np

    groups: dict[str, list[int]] = {}
    for number, row in zip(numbers.tolist(), rows.read([numbers])[0], strict=True):
        groups.setdefault(group(row.fields), []).append(number)
    kept: list[int] = []
    for name in rng.sample(list(groups), len(groups)):
        members = groups[name]
        if not kept or len(kept) + len(members) <= most:
            kept += members
    return np.array(kept, np.int64)


def _flat(tests: Mapping[str, Numbers]) -> Numbers:
    return _joined(*tests.values())


def _joined(*parts: Numbers) -> Numbers:
    import numpy as np

    return np.concatenate([np.zeros(0, np.int64), *parts])


def _left_out(rows: _Rows, train: Numbers, test: Numbers, validation: Numbers) -> list[str]:
    """How many rows of train, and of validation beside a test, are left out because their text occurs elsewhere."""
    in_test, in_validation = rows.has_text_of(train, test), rows.has_text_of(train, validation)
    is_left = in_test | in_validation
    rest = train[~is_left]
    first = rows.first_of_text(rest)
    is_alike = rows.labels[first] == rows.labels[rest]
    kinds = {
        "train whose text is in test": train[in_test],
        "train whose text is in validation": train[in_validation & ~in_test],
        "train that repeat a text": rest[(first != rest) & is_alike],
        "train that repeat a text under another label (the first label is kept)": rest[(first != rest) & ~is_alike],
    }
    told = sorted((what for what in kinds if len(kinds[what])), key=lambda what: int(kinds[what][0]))  # as they come
    counts = {what: len(kinds[what]) for what in told}
    if len(test) and len(validation):
        of_file = rows.of.get("validation", rows.none())
        is_in_test = rows.has_text_of(of_file, test)
        others = of_file[~is_in_test]
        counts["validation whose text is in test"] = int(is_in_test.sum())
        counts["validation that repeat a text"] = int((rows.first_of_text(others) != others).sum())
    return [f"left out {count} rows of {what}" for what, count in counts.items() if count]


def _share(rows: Numbers, share: float) -> int:
    return max(1, int(len(rows) * share))


def _cut(pool: Numbers, count: int) -> tuple[Numbers, Numbers]:
    """The first ``count`` rows, and the others."""
    return pool[:count], pool[count:]


def _shuffled(rows: Numbers, rng: random.Random) -> Numbers:
    import numpy as np

    return rows[np.array(rng.sample(range(len(rows)), len(rows)), np.int64)]
