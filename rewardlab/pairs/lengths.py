"""Whether length gives the preferred response away, and what to drop so that it does not."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewardlab.pairs.statistics import length_only_accuracy, length_statistics
from rewardlab.types import Pair

logger = logging.getLogger(__name__)

LIMIT = 0.6
"""Share of pairs that length alone may rank right before it is reported as a leak."""
RATIO = 1.2
"""Length differences within one bucket differ by this factor at most."""
UNBALANCED = "unbalanced_length"
"""Outcome of a pair that was dropped because its like, with the shorter response preferred, is too rare (or longer)."""


def length_report(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Lengths of both responses, and how far length alone gets on these very pairs.

    Returns:
        :func:`length_statistics` with ``length_alone`` (share ranked right by a scorer fitted on the words and
        characters of these pairs; 0.5 is guessing) and ``leaks`` (it is above :data:`LIMIT`); empty without pairs.
    """
    alone = length_only_accuracy(pairs, pairs)
    return {} if alone is None else {**length_statistics(pairs), "length_alone": alone, "leaks": alone > LIMIT}


def warn_of_leaks(kind: str, reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Log a warning for each task whose :func:`length_report` says that length leaks."""
    for task, report in reports.items():
        if report.get("leaks"):
            logger.warning(
                "%s: length alone ranks %.0f %% of the %s pairs right (limit %.0f %%), so a reward model can win by "
                "counting; --balance-length drops pairs until it cannot",
                task,
                100 * report["length_alone"],
                kind,
                100 * LIMIT,
            )


def balanced(pairs: Sequence[Pair], seed: int) -> list[bool]:
    """Which pairs to keep so that, per task, longer and shorter responses are preferred equally often at every gap.

    Pairs are put into buckets by the size of the gap in characters and in words; in each bucket the more frequent
    direction loses pairs, drawn by ``seed``, until both are as frequent. A pair of equal lengths always stays.

    Args:
        pairs: Of any tasks.
        seed: Decides which pairs of the more frequent direction go.
    """
    rng = random.Random(f"balance {seed}")
    dropped = {number for task in _directions(pairs) for number in _surplus(task, rng)}
    return [number not in dropped for number in range(len(pairs))]


Directions = Mapping[tuple[int, int], Mapping[bool, list[int]]]
"""Bucket -> is the chosen response the longer one -> places of the pairs."""


def _directions(pairs: Sequence[Pair]) -> list[Directions]:
    """The buckets of each task; pairs of equal lengths are in none."""
    found: dict[str, dict[tuple[int, int], dict[bool, list[int]]]] = {}
    for number, pair in enumerate(pairs):
        characters, words = _gaps(pair)
        if characters or words:
            turn = 1 if (characters, words) > (0, 0) else -1
            bucket = (_size(turn * characters), _size(turn * words))
            both = found.setdefault(pair.task, {}).setdefault(bucket, {True: [], False: []})
            both[turn > 0].append(number)
    return list(found.values())


def _surplus(buckets: Directions, rng: random.Random) -> Iterator[int]:
    """Places of the pairs to drop."""
    for directions in buckets.values():
        few, many = sorted(directions.values(), key=len)
        yield from rng.sample(many, len(many) - len(few))


def _gaps(pair: Pair) -> tuple[int, int]:
    """How much longer the chosen response is: characters, words."""
    return len(pair.chosen) - len(pair.rejected), len(pair.chosen.split()) - len(pair.rejected.split())


def _size(gap: int) -> int:
    """Number of a gap's bucket; negative gaps mirror positive ones."""
    size = math.ceil(math.log(abs(gap)) / math.log(RATIO)) + 1 if gap else 0
    return size if gap >= 0 else -size
