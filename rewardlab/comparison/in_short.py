"""What a table's differences come to, in a few lines: what is significant in one column, and what is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rewardlab.comparison.differences import Gain, of_these_runs, p_text, points_interval
from rewardlab.comparison.differences import points as signed

Line = tuple[str, Sequence[Gain]]
"""A line of text and the differences it tells of."""


def in_short(found: Sequence[Gain], column: str) -> list[Line]:
    """A line for each method that differs significantly in ``column``, then one for each other verdict.

    Where nothing was compared in ``column``, the lines are of the column with the most comparisons.
    """
    counts = Counter(gain.column for gain in found)
    told = column if column in counts else max(counts, key=lambda name: counts[name], default=column)
    here = [gain for gain in found if gain.column == told]
    lines = [_real_line(gains) for gains in _by_pair(here) if gains]
    return [*lines, *_others(here, told)]


def _by_pair(found: Sequence[Gain]) -> list[list[Gain]]:
    """The significant differences of each two methods, under all decodings, one direction at a time."""
    grouped: dict[tuple[str, str, str], list[Gain]] = {}
    for gain in found:
        if gain.verdict in ("better", "worse"):
            grouped.setdefault((gain.method, gain.baseline, gain.verdict), []).append(gain)
    return list(grouped.values())


def _real_line(gains: Sequence[Gain]) -> Line:
    first = gains[0]
    numbers = "; ".join(f"{_numbers(gain)}, {gain.decoding}" for gain in gains)
    of = of_these_runs(gain.estimate for gain in gains if gain.estimate is not None)
    told = f"{first.method} is significantly {first.verdict} than {first.baseline} on {first.column}"
    return f"{told}: {numbers}{of}.", gains


def _numbers(gain: Gain) -> str:
    if gain.comparison is None:
        return "not compared"
    found = gain.comparison.estimate
    return f"{signed(found.value)} points {points_interval(found)}, {p_text(gain.comparison.test.p_holm)}"


def _others(here: Sequence[Gain], column: str) -> Iterator[Line]:
    others = {
        "level": "Not significantly different from",
        "formats differ": "In another answer format than",
        "not compared": "Not compared with",
    }
    for verdict, told in others.items():
        for baseline in dict.fromkeys(gain.baseline for gain in here):
            gains = [gain for gain in here if gain.verdict == verdict and gain.baseline == baseline]
            if gains:
                yield f"{told} {baseline} on {column}: {_listed(gains)}.", gains


def _listed(gains: Sequence[Gain]) -> str:
    """Each method with the decodings that are meant, or its reason."""
    methods = dict.fromkeys(gain.method for gain in gains)
    meant = {method: [gain for gain in gains if gain.method == method] for method in methods}
    return "; ".join(f"{method} ({_decodings(found)})" for method, found in meant.items())


def _decodings(gains: Sequence[Gain]) -> str:
    said = " and ".join(gain.decoding for gain in gains)
    return f"{said}: {gains[0].reason}" if gains[0].reason else said
