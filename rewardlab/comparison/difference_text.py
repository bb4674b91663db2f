"""Differences in words: a sentence each, all of a table in short, and a line of tests for tables and files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rewardlab.comparison.differences import Gain, Verdict
from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, Source, sources_at
from rewardlab.comparison.numbers import p_number, p_text, points, points_interval
from rewardlab.comparison.statistics import Estimate
from rewardlab.comparison.table import Mark, Row

TESTS = (
    "Two-sided tests of whether a difference holds for {sources}. p-values and intervals are corrected over all "
    "{family} comparisons together (Holm), so an interval excludes zero exactly where p < 0.05. Better or worse means "
    "that the difference is significant."
)
SOURCES = {"seeds and items": "new seeds and new test items", "items": "new test items, these seeds as given"}
"""What an interval is over -> what is new in the test."""
EXPLAINED = (
    "Points by which the method is above the one it is compared with; bold: significant. Effect size: Cohen's h of "
    "shares, q of correlations; won and lost: test items that only the first, or only the second, answered right."
)
TITLES = ("method", "against", "column", "decoding", "points", "p", "effect size", "won and lost, seed by seed")
_MARKS: Mapping[Verdict, Mark] = {"better": "best", "worse": "best"}
NOT_SIGNIFICANT: Mapping[Verdict, str] = {
    "level": "Not significantly different from",
    "formats differ": "In another answer format than",
    "not compared": "Not compared with",
}
Line = tuple[str, Sequence[Gain]]
"""A line of text and the differences it reports."""


def sentence(gain: Gain) -> str:
    """A difference in plain words, points being hundredths."""
    where = f"{gain.column}, {gain.decoding} decoding"
    if gain.comparison is None:
        return f"{gain.method} and {gain.baseline} are not compared on {where}: {gain.reason}."
    size, p = gain.comparison.estimate, p_text(gain.comparison.test.p_holm)
    covered = f"{size.seeds} seed{'s' if size.seeds > 1 else ''}, interval over {size.basis}"
    covered += ": of these runs, not of other seeds" if size.basis == "items" else ""
    numbers = f"{points(size.value)} points {points_interval(size)}, {p}"
    if gain.formats is not None:
        answered = f"{gain.method} answers in format {gain.formats[0]}, {gain.baseline} in {gain.formats[1]}"
        return f"{answered}. The difference, which is not of the method alone, is {numbers}, on {where} ({covered})."
    if gain.verdict == "level":
        return f"{gain.method} and {gain.baseline} do not differ significantly on {where}: {numbers} ({covered})."
    low, high = sorted((abs(size.low), abs(size.high)))  # "better by" and "worse by" need no sign
    numbers = f"{100 * abs(size.value):.1f} points [{100 * low:.1f}, {100 * high:.1f}], {p}"
    return f"{gain.method} is significantly {gain.verdict} than {gain.baseline} by {numbers}, on {where} ({covered})."


def sentences(gains: Sequence[Gain]) -> list[str]:
    """All differences in plain words; what one reason keeps two methods from being compared on, in one sentence."""
    grouped: dict[tuple[object, ...], list[Gain]] = {}
    for number, gain in enumerate(gains):
        key = (number,) if gain.comparison is not None else (gain.method, gain.baseline, gain.reason)
        grouped.setdefault(key, []).append(gain)
    return [sentence(each[0]) if len(each) == 1 else _not_compared(each) for each in grouped.values()]


def p_value_note(gains: Sequence[Gain]) -> str:
    """What the p-values of ``gains`` are, in a line to stand under the sentences; empty where there is none."""
    compared = [gain.comparison.estimate for gain in gains if gain.comparison is not None]
    sources = dict.fromkeys(SOURCES[each.basis] for each in compared)
    return TESTS.format(family=len(compared), sources=" or ".join(sources)) if compared else ""


def gain_row(gain: Gain) -> dict[str, Any]:
    """A line of ``differences.csv``; values are not multiplied by 100, missing ones are None.

    ``low`` and ``high`` are corrected like ``p_holm``; ``low_alone`` and ``high_alone`` are the comparison's own 95 %.
    """
    line: dict[str, Any] = {
        "method": gain.method,
        "baseline": gain.baseline,
        "column": gain.column,
        "decoding": gain.decoding,
        "verdict": gain.verdict,
        "formats": " / ".join(gain.formats) if gain.formats else None,
        **dict.fromkeys(("difference", "low", "high", "low_alone", "high_alone", "sd", "seeds", "interval_over")),
        **dict.fromkeys(("p_holm", "family", "effect", "effect_value", "effect_size", "won_and_lost")),
        "sentence": sentence(gain),
    }
    if gain.comparison is None:
        return line
    size, alone, test = gain.comparison.estimate, gain.comparison.alone, gain.comparison.test
    items = "; ".join(f"seed {each.seed}: {each.only_a} to {each.only_b}" for each in test.by_seed)
    line |= {"difference": size.value, "low": size.low, "high": size.high, "sd": size.sd, "seeds": size.seeds}
    line |= {"low_alone": alone.low, "high_alone": alone.high, "interval_over": size.basis}
    line |= {"p_holm": test.p_holm, "family": test.family, "won_and_lost": items or None}
    if test.effect is not None:
        line |= {"effect": test.effect.name, "effect_value": test.effect.value, "effect_size": test.effect.size}
    return line


def of_these_runs(sizes: Iterable[Estimate]) -> str:
    """What stands behind a sentence about methods that no second seed speaks for; empty otherwise."""
    return " (one seed: of these runs, not of other seeds)" if any(each.basis == "items" for each in sizes) else ""


def _not_compared(gains: Sequence[Gain]) -> str:
    """Of two methods, wherever one reason holds."""
    columns, decodings = (list(dict.fromkeys(getattr(gain, name) for gain in gains)) for name in ("column", "decoding"))
    where = f"{', '.join(columns)}, {' and '.join(decodings)} decoding"
    if len(gains) != len(columns) * len(decodings):
        where = "; ".join(f"{gain.column}, {gain.decoding} decoding" for gain in gains)
    return f"{gains[0].method} and {gains[0].baseline} are not compared on {where}: {gains[0].reason}."


def in_short(gains: Sequence[Gain], column: str) -> list[Line]:
    """A line for each method that differs significantly in ``column``, then one for each other verdict.

    Where nothing was compared in ``column``, the lines are of the column with the most comparisons.
    """
    counts = Counter(gain.column for gain in gains)
    told = column if column in counts else max(counts, key=lambda name: counts[name], default=column)
    grouped: dict[tuple[str, str, Verdict], list[Gain]] = {}  # of two methods and one verdict, all decodings
    for gain in gains:
        if gain.column == told:
            grouped.setdefault((gain.method, gain.baseline, gain.verdict), []).append(gain)
    lines = [_significant(each) for key, each in grouped.items() if key[2] in ("better", "worse")]
    for verdict, words in NOT_SIGNIFICANT.items():
        for rival in dict.fromkeys(key[1] for key in grouped):
            others = {key[0]: each for key, each in grouped.items() if key[1:] == (rival, verdict)}
            listed = "; ".join(f"{method} ({_decodings(each)})" for method, each in others.items())
            if others:
                lines.append(
                    (f"{words} {rival} on {told}: {listed}.", [gain for each in others.values() for gain in each])
                )
    return lines


def _significant(gains: Sequence[Gain]) -> Line:
    """What one method is better or worse in than another, under each decoding."""
    first, tested = gains[0], [(gain.decoding, gain.comparison) for gain in gains if gain.comparison is not None]
    numbers = "; ".join(
        f"{points(each.estimate.value)} points {points_interval(each.estimate)}, {p_text(each.test.p_holm)}, {decoding}"
        for decoding, each in tested
    )
    told = f"{first.method} is significantly {first.verdict} than {first.baseline} on {first.column}"
    return f"{told}: {numbers}{of_these_runs(each.estimate for _, each in tested)}.", gains


def _decodings(gains: Sequence[Gain]) -> str:
    """The decodings that are meant, and the reason where nothing was compared."""
    decodings = " and ".join(gain.decoding for gain in gains)
    return f"{decodings}: {gains[0].reason}" if gains[0].reason else decodings


def differences_grid(gains: Sequence[Gain], rows: Mapping[str, Row]) -> Grid:
    """A line a comparison: where, by how much, and its tests; its sentence stands in ``differences.csv``.

    Args:
        gains: The differences.
        rows: The table's rows by name.
    """
    headings = [Heading(title, is_number=title in ("points", "p")) for title in TITLES]
    return Grid(headings, [_line(gain, rows) for gain in gains])


def gain_sources(gain: Gain, rows: Mapping[str, Row]) -> list[Source]:
    """The evaluations behind a difference."""
    position = (gain.column, gain.decoding)
    return [source for name in (gain.method, gain.baseline) for source in sources_at(rows[name], position)]


def _line(gain: Gain, rows: Mapping[str, Row]) -> list[Cell]:
    row = gain_row(gain)
    effect = f"{row['effect']} = {row['effect_value']:.2f}, {row['effect_size']}" if row["effect"] else MISSING
    size, p = Cell(MISSING, gain.reason), MISSING
    if gain.comparison is not None:
        formats = f", formats {' and '.join(gain.formats)}" if gain.formats else ""
        numbers = (points(gain.comparison.estimate.value), points_interval(gain.comparison.estimate) + formats)
        size = Cell(*numbers, _MARKS.get(gain.verdict, ""), sources=gain_sources(gain, rows))
        p = p_number(gain.comparison.test.p_holm)
    texts = (gain.method, gain.baseline, gain.column, gain.decoding)
    return [*map(Cell, texts), size, Cell(p), Cell(effect), Cell(row["won_and_lost"] or MISSING)]
