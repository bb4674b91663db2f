"""Rows of the sandbox language: seeded, in splits that cannot overlap, thousands a second.

The text of a row decides its split (a hash of it), so no text is in two splits whatever the seed. What a row
looks like stands in ``sentiment``, ``topic`` and ``similarity``.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rewardlab.errors import DataError
from rewardlab.types import Example, Label

SPLITS: Mapping[str, range] = {"train": range(14), "validation": range(14, 17), "test": range(17, 20)}
"""Split -> which of the 20 buckets of text hashes are its own."""

_BUCKETS = 20
_TRIES_PER_ROW = 60


@dataclass(frozen=True, slots=True)
class Row:
    """What a grammar writes: the texts, the gold label, and all that is known about them."""

    fields: Mapping[str, str]
    label: Label
    evidence: Mapping[str, Any]


RowWriter = Callable[[random.Random], Row]


def split_of(fields: Mapping[str, str]) -> str:
    """The split a text belongs to; depends on nothing but the text."""
    bucket = _digest(fields) % _BUCKETS
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def generate_rows(task: str, write: RowWriter, split: str, n: int, seed: int) -> list[Example]:
    """``n`` different rows of one split; the same arguments give the same rows.

    Args:
        task: Name of the task the rows belong to.
        write: Draws one row.
        split: ``train``, ``validation`` or ``test``.
        n: Number of rows.
        seed: Other seeds give other rows.
    Raises:
        DataError: Unknown split, a negative number, or more rows than the language has.
    """
    if split not in SPLITS or n < 0:
        raise DataError(f"{task}: cannot generate {n} rows of split {split!r}; splits are {', '.join(SPLITS)}")
    rng = random.Random(f"{task}/{split}/{seed}")
    found: dict[str, Example] = {}
    for _ in range(_TRIES_PER_ROW * n + 1000):
        if len(found) == n:
            break
        row = write(rng)
        if split_of(row.fields) == split:
            example = _example(task, row)
            found.setdefault(example.id, example)
    if len(found) < n:
        raise DataError(
            f"{task}: split {split!r} has about {len(found)} different rows, {n} were asked for; ask for fewer"
        )
    return list(found.values())


def _example(task: str, row: Row) -> Example:
    return Example(task, f"{_digest(row.fields):016x}"[:12], row.fields, row.label, evidence=row.evidence)


def _digest(fields: Mapping[str, str]) -> int:
    text = "\x1f".join(fields[name] for name in sorted(fields))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
