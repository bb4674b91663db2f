"""How the rows of a task are divided into labelled rows, PPO prompts, validation and test (SPEC section 4).

Whatever the files, no text is in two parts: tests are served first, then validation, then labelled rows, then
prompts. Cuts keep the label shares, so that a file of 32 rows still gives useful parts.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rewardlab.errors import DataError
from rewardlab.tasks.task import Task
from rewardlab.types import Example, Label

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


def divide(task: Task, files: Mapping[str, Sequence[Example]], limits: Limits, seed: int, test_seed: int = 0) -> Parts:
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

    tests, validation = _held_out(task, files)
    if not task.trainable:
        return Parts([], [], [], _sampled(task, tests, limits, test_rng))
    left_out, cuts = _left_out(files, tests, validation), []
    train = _without(files.get("train", ()), [*_flat(tests), *validation])
    rest = _stratified(train, test_rng("train"))
    cuts += [
        f"no rows of {split} for the test {column}"
        for column, split in task.test_splits.items()
        if not files.get(split)
    ]
    if tests and not any(files.get(split) for split in _test_files(task).values()):
        cuts.append(f"no test file: the {len(_flat(tests))} rows of validation are the test")
    if not tests:
        tests = {next(iter(_test_files(task))): _take(rest, min(limits.test, _share(rest, TEST_SHARE)))}
        cuts.append(f"no test file: {len(_flat(tests))} rows of train are the test")
    if not validation:
        validation = _take(rest, min(limits.validation, _share(rest, VALIDATION_SHARE)))
        cuts.append(f"no validation file: {len(validation)} rows of train are the validation rows")
    left = {example.id for example in rest}
    pool = [example for example in _stratified(train, rng("train")) if example.id in left]
    if len(pool) < 2:
        gone = f" ({'; '.join(map(str, left_out))})" if left_out else ""
        raise DataError(f"task {task.name}: {len(train)} training rows are left, at least {MIN_TRAIN} are needed{gone}")
    labelled = _take(pool, min(limits.labelled, max(1, int(len(pool) * LABELLED_SHARE))))
    return Parts(
        labelled=_shuffled(labelled, rng("labelled")),
        prompts=_shuffled(pool[: limits.prompts], rng("prompts")),
        validation=_shuffled(
            _stratified(validation, test_rng("validation"))[: limits.validation], test_rng("validation order")
        ),
        tests=_sampled(task, tests, limits, test_rng),
        left_out=tuple(left_out),
        cuts=tuple(cuts),
    )


def content_key(example: Example) -> tuple[str, ...]:
    """What makes two rows the same text: their fields, whatever the case, white space and order."""
    return tuple(sorted(" ".join(text.split()).casefold() for text in example.fields.values()))


def _test_files(task: Task) -> Mapping[str, str]:
    return task.test_splits or {task.name: "test"}


def _held_out(task: Task, files: Mapping[str, Sequence[Example]]) -> tuple[dict[str, list[Example]], list[Example]]:
    """The tests by column, and the validation rows that are in no test; either may be empty."""
    columns = _test_files(task)
    tests = {column: list(files[split]) for column, split in columns.items() if files.get(split)}
    if not tests and files.get("validation"):
        return {next(iter(columns)): list(files["validation"])}, []
    return tests, _without(files.get("validation", ()), _flat(tests))


def _sampled(
    task: Task, tests: Mapping[str, Sequence[Example]], limits: Limits, rng: Callable[[str], random.Random]
) -> dict[str, list[Example]]:
    return {
        column: _shuffled(
            _stratified(rows, rng(column))[: limits.test]
            if task.group is None
            else _whole_groups(rows, task.group, limits.test, rng(column)),
            rng(f"{column} order"),
        )
        for column, rows in tests.items()
    }


def _whole_groups(
    rows: Sequence[Example], group: Callable[[Mapping[str, str]], str], most: int, rng: random.Random
) -> list[Example]:
    """Rows of groups drawn at random, all of each, as far as ``most`` allows; one group at least."""
    groups: dict[str, list[Example]] = {}
    for row in rows:
        groups.setdefault(group(row.fields), []).append(row)
    kept: list[Example] = []
    for name in rng.sample(list(groups), len(groups)):
        members = groups[name]
        if not kept or len(kept) + len(members) <= most:
            kept += members
    return kept


def _flat(tests: Mapping[str, Sequence[Example]]) -> list[Example]:
    return [example for rows in tests.values() for example in rows]


def _without(rows: Iterable[Example], others: Iterable[Example]) -> list[Example]:
    """``rows`` without texts that ``others`` have, each text once."""
    seen = {content_key(example) for example in others}
    kept: list[Example] = []
    for example in rows:
        key = content_key(example)
        if key not in seen:
            seen.add(key)
            kept.append(example)
    return kept


def _left_out(
    files: Mapping[str, Sequence[Example]], tests: Mapping[str, Sequence[Example]], validation: Sequence[Example]
) -> list[str]:
    """How many rows of train, and of validation beside a test, are left out because their text occurs elsewhere."""
    in_test = {content_key(example) for example in _flat(tests)}
    seen = {"test": in_test, "validation": {content_key(example) for example in validation}}
    counts: Counter[str] = Counter()
    labels: dict[tuple[str, ...], Label | None] = {}
    for example in files.get("train", ()):
        key = content_key(example)
        other = next((part for part, keys in seen.items() if key in keys), None)
        if other:
            counts[f"train whose text is in {other}"] += 1
        elif key in labels:
            same = labels[key] == example.label
            counts[
                f"train that repeat a text {'' if same else 'under another label (the first label is kept)'}".strip()
            ] += 1
        else:
            labels[key] = example.label
    if tests and validation:
        validation_keys = Counter(content_key(example) for example in files.get("validation", ()))
        counts["validation whose text is in test"] = sum(
            validation_keys[key] for key in validation_keys if key in in_test
        )
        counts["validation that repeat a text"] = sum(
            count - 1 for key, count in validation_keys.items() if key not in in_test
        )
    return [f"left out {count} rows of {what}" for what, count in counts.items() if count]


def _share(rows: Sequence[Example], share: float) -> int:
    return max(1, int(len(rows) * share))


def _take(pool: list[Example], count: int) -> list[Example]:
    """Remove and return the first ``count`` rows."""
    taken, pool[:] = pool[:count], pool[count:]
    return taken


def _shuffled(rows: Sequence[Example], rng: random.Random) -> list[Example]:
    return rng.sample(rows, len(rows))


def _stratified(rows: Sequence[Example], rng: random.Random) -> list[Example]:
    """A random order in which every stretch has the labels in about their overall shares."""
    groups: dict[Label | None, list[Example]] = defaultdict(list)
    for example in _shuffled(rows, rng):
        groups[None if isinstance(example.label, float) else example.label].append(example)
    placed = [
        ((place + rng.random()) / len(group), example)
        for group in groups.values()
        for place, example in enumerate(group)
    ]
    return [example for _, example in sorted(placed, key=lambda item: item[0])]
