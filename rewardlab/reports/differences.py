"""Paired differences between the methods of a table, as numbers and as plain sentences; and what of a gain is new.

A gain of PPO under sampling has two parts. Sharpening: what greedy decoding of the start model already gives over
sampling from it; a method that only makes the model surer of itself gains this much and no more. The rest: what the
trained model, sampled, gives over the start model decoded greedily.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rewardlab.errors import InputError
from rewardlab.intervals import SIGNIFICANT
from rewardlab.reports.cells import Position
from rewardlab.reports.comparison import Comparison, correct
from rewardlab.reports.statistics import Estimate, UnpairedError
from rewardlab.reports.table import ComparisonTable, Row, compare_rows, differing_formats

BASELINE = "SFT w. rationale"
TESTS = (
    "Tested: would the difference be there again with {sources}? p-values are two-sided; p-values and intervals are "
    "corrected over all {family} comparisons together (Holm), so an interval excludes zero exactly where p < 0.05, and "
    "better or worse is said there alone."
)
SOURCES = {"seeds and items": "new seeds and new test items", "items": "new test items, these seeds as given"}
"""What an interval is over -> what is new in the test."""

SMALL_P = 0.001
"""Smaller p-values are printed as smaller than this."""
Verdict = Literal["better", "worse", "level", "formats differ", "not compared"]


@dataclass(frozen=True, slots=True)
class Gain:
    """Difference of a method to another at one position; ``comparison`` is None when ``reason`` says why.

    Attributes:
        method, baseline: Names of the two rows; the difference is method minus baseline.
        column, decoding: Where.
        comparison: The difference with its interval and tests.
        formats: Answer formats of the two, where they differ.
    """

    method: str
    column: str
    decoding: str
    comparison: Comparison | None
    reason: str = ""
    baseline: str = BASELINE
    formats: tuple[str, str] | None = None

    @property
    def estimate(self) -> Estimate | None:
        """The difference with its interval."""
        return None if self.comparison is None else self.comparison.estimate

    @property
    def verdict(self) -> Verdict:
        """``level`` says that the difference is not statistically significant, not that there is none.

        Where answer formats differ, the difference is not of the methods alone and neither is called better.
        """
        if self.comparison is None:
            return "not compared"
        if self.formats is not None:
            return "formats differ"
        if not self.comparison.test.is_significant:
            return "level"
        return "better" if self.comparison.estimate.value > 0 else "worse"


@dataclass(frozen=True, slots=True)
class Split:
    """A method's gain over the baseline in one column, in shares of 1 like all metrics.

    Attributes:
        sampled: Both sampled.
        sharpening: Baseline greedy minus baseline sampled.
        rest: Method sampled minus baseline greedy; ``sharpening + rest == sampled``.
        greedy: Both greedy.
    """

    method: str
    column: str
    sampled: Estimate
    sharpening: Estimate
    rest: Estimate
    greedy: Estimate


def find_baseline(table: ComparisonTable, name: str = BASELINE) -> Row:
    """The baseline's row; raises InputError that lists the methods there are."""
    return _named(table, name)[0]


def default_against(table: ComparisonTable, wanted: Sequence[str] = ()) -> list[str]:
    """Those of ``wanted`` that have a row; else the usual baseline or the first row; none for a table of one row."""
    if len(table.rows) < 2:
        return []
    names = {name.lower() for row in table.rows for name in (row.name, row.key.method)}
    if found := [name for name in wanted if name.lower() in names]:
        return found
    return [BASELINE if any(row.key.method == BASELINE for row in table.rows) else table.rows[0].name]


def gains(table: ComparisonTable, against: Sequence[str] = (BASELINE,)) -> list[Gain]:
    """Every method against each of ``against``, at every position both have; corrected over all of them.

    A method's name stands for its rows, each compared within its own base model; a row's name stands for that row.

    Raises:
        InputError: No method or row of such a name.
    """
    found = [
        gain(table, row, base, *position) for row, base in _pairs(table, against) for position in _shared(row, base)
    ]
    corrected = iter(correct([each.comparison for each in found if each.comparison is not None]))
    return [each if each.comparison is None else replace(each, comparison=next(corrected)) for each in found]


def rivals_of(found: Sequence[Gain]) -> list[str]:
    """Names of the rows that others are compared with."""
    return list(dict.fromkeys(each.baseline for each in found))


def gain(table: ComparisonTable, row: Row, baseline: Row, column: str, decoding: str) -> Gain:
    """One paired difference, not corrected; where the two cannot be paired, the reason."""
    try:
        found = compare_rows(table, (row, decoding), (baseline, decoding), column)
    except UnpairedError as error:
        return Gain(row.name, column, decoding, None, str(error), baseline.name)
    return Gain(row.name, column, decoding, found, baseline=baseline.name, formats=differing_formats(row, baseline))


def splits(table: ComparisonTable, baseline: Row) -> list[Split]:
    """Every gain of a method with a reward, split; columns that cannot be paired are left out, and methods that answer
    in another format than the baseline.
    """
    found = []
    for row in table.rows:
        is_of_interest = row.key.reward and row is not baseline and differing_formats(row, baseline) is None
        for column in table.columns if is_of_interest else ():
            split = _split(table, row, baseline, column)
            found += [split] if split is not None else []
    return found


def sentence(gain: Gain) -> str:
    """A difference in plain words, points being hundredths."""
    where = f"{gain.column}, {gain.decoding} decoding"
    if gain.comparison is None:
        return f"{gain.method} and {gain.baseline} are not compared on {where}: {gain.reason}."
    found, p = gain.comparison.estimate, p_text(gain.comparison.test.p_holm)
    covered = f"{found.seeds} seed{'s' if found.seeds > 1 else ''}, interval over {found.basis}"
    covered += ": of these runs, not of other seeds" if found.basis == "items" else ""
    if gain.formats is not None:
        numbers = f"{points(found.value)} points {points_interval(found)}, {p}"
        answered = f"{gain.method} answers in format {gain.formats[0]}, {gain.baseline} in {gain.formats[1]}"
        return f"{answered}; the difference, not of the method alone, is {numbers}, on {where} ({covered})."
    if gain.verdict == "level":
        numbers = f"{points(found.value)} points {points_interval(found)}, {p}"
        return f"{gain.method} and {gain.baseline} do not differ significantly on {where}: {numbers} ({covered})."
    low, high = sorted((abs(found.low), abs(found.high)))
    numbers = f"{100 * abs(found.value):.1f} points [{100 * low:.1f}, {100 * high:.1f}], {p}"
    return f"{gain.method} is significantly {gain.verdict} than {gain.baseline} by {numbers}, on {where} ({covered})."


def sentences(found: Sequence[Gain]) -> list[str]:
    """All differences in plain words; what one reason keeps two methods from being compared on, in one sentence."""
    grouped: dict[tuple[object, ...], list[Gain]] = {}
    for number, gain in enumerate(found):
        key = (number,) if gain.comparison is not None else (gain.method, gain.baseline, gain.reason)
        grouped.setdefault(key, []).append(gain)
    return [sentence(gains[0]) if len(gains) == 1 else _not_compared(gains) for gains in grouped.values()]


def p_value_note(found: Sequence[Gain]) -> str:
    """What the p-values of ``found`` are, in a line to stand under the sentences; empty where there is none."""
    compared = [gain.comparison.estimate for gain in found if gain.comparison is not None]
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
    found, alone, test = gain.comparison.estimate, gain.comparison.alone, gain.comparison.test
    line |= {"difference": found.value, "low": found.low, "high": found.high, "sd": found.sd, "seeds": found.seeds}
    line |= {"low_alone": alone.low, "high_alone": alone.high, "interval_over": found.basis}
    line |= {"p_holm": test.p_holm, "family": test.family, "won_and_lost": _items_text(gain.comparison) or None}
    if test.effect is not None:
        line |= {"effect": test.effect.name, "effect_value": test.effect.value, "effect_size": test.effect.size}
    return line


def of_these_runs(found: Iterable[Estimate]) -> str:
    """What stands behind a sentence about methods that no second seed speaks for; empty otherwise."""
    return " (one seed: of these runs, not of other seeds)" if any(each.basis == "items" for each in found) else ""


def p_text(p: float) -> str:
    """A p-value as sentences print it.

    >>> p_text(0.00012), p_text(0.0478)
    ('p < 0.001', 'p = 0.048')
    """
    return f"p {p_number(p)}" if p < SMALL_P else f"p = {p_number(p)}"


def p_number(p: float) -> str:
    """A p-value as tables print it; never 0.050 for one that is below.

    >>> p_number(0.00012), p_number(0.0478), p_number(0.04996)
    ('< 0.001', '0.048', '0.0500')
    """
    if p < SMALL_P:
        return f"< {SMALL_P}"
    return f"{p:.3f}" if f"{p:.3f}" != "0.050" or p == SIGNIFICANT else f"{p:.4f}"


def points(value: float) -> str:
    """A signed difference in points.

    >>> points(-0.0123)
    '−1.2'
    """
    text = f"{100 * value:+.1f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def points_interval(found: Estimate) -> str:
    """The interval of a difference, signed."""
    return f"[{points(found.low)}, {points(found.high)}]"


def _not_compared(gains: Sequence[Gain]) -> str:
    """Of two methods, wherever one reason holds."""
    columns, decodings = (list(dict.fromkeys(getattr(gain, name) for gain in gains)) for name in ("column", "decoding"))
    where = f"{', '.join(columns)}, {' and '.join(decodings)} decoding"
    if len(gains) != len(columns) * len(decodings):
        where = "; ".join(f"{gain.column}, {gain.decoding} decoding" for gain in gains)
    return f"{gains[0].method} and {gains[0].baseline} are not compared on {where}: {gains[0].reason}."


def _items_text(comparison: Comparison) -> str:
    """Items won and lost, seed by seed."""
    return "; ".join(f"seed {s.seed}: {s.only_a} to {s.only_b}" for s in comparison.test.by_seed)


def _named(table: ComparisonTable, name: str) -> list[Row]:
    """The row of that name, or the rows of that method."""
    wanted = name.lower()
    exact = [row for row in table.rows if row.name.lower() == wanted]
    found = exact or [row for row in table.rows if row.key.method.lower() == wanted]
    if not found:
        known = ", ".join(dict.fromkeys(row.name for row in table.rows))
        raise InputError(f"no method {name!r} among the runs to compare against; found: {known}")
    return found


def _pairs(table: ComparisonTable, against: Sequence[str]) -> Iterator[tuple[Row, Row]]:
    """(row, row it is compared with), each two rows once."""
    seen: set[frozenset[int]] = set()
    for name in against:
        for base in _named(table, name):
            for row in table.rows:
                fits = row.key.model == base.key.model or name.lower() == base.name.lower()
                pair = frozenset((id(row), id(base)))
                if fits and row is not base and pair not in seen:
                    seen.add(pair)
                    yield row, base


def _shared(row: Row, base: Row) -> list[Position]:
    return [position for position in row.scores if position in base.scores]


def _split(table: ComparisonTable, row: Row, baseline: Row, column: str) -> Split | None:
    def between(a: tuple[Row, str], b: tuple[Row, str]) -> Estimate:
        return compare_rows(table, a, b, column).estimate

    try:
        return Split(
            row.name,
            column,
            sampled=between((row, "sampled"), (baseline, "sampled")),
            sharpening=between((baseline, "greedy"), (baseline, "sampled")),
            rest=between((row, "sampled"), (baseline, "greedy")),
            greedy=between((row, "greedy"), (baseline, "greedy")),
        )
    except UnpairedError:
        return None
