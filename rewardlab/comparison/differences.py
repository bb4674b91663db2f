"""Paired differences between the methods of a table, and what of a gain is new; ``difference_text`` says them in words.

A gain of PPO under sampling has two parts. Sharpening: what greedy decoding of the start model already gives over
sampling from it; a method that only makes the model surer of itself gains this much and no more. The rest: what the
trained model, sampled, gives over the start model decoded greedily.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rewardlab.comparison.evaluations import Position
from rewardlab.comparison.paired import Comparison, correct
from rewardlab.comparison.statistics import Estimate, UnpairedError
from rewardlab.comparison.table import ComparisonTable, Row, compare_rows, differing_formats
from rewardlab.errors import InputError

BASELINE = "SFT w. rationale"
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
    if named := [name for name in wanted if name.lower() in names]:
        return named
    return [BASELINE if any(row.key.method == BASELINE for row in table.rows) else table.rows[0].name]


def gains(table: ComparisonTable, against: Sequence[str] = (BASELINE,)) -> list[Gain]:
    """Every method against each of ``against``, at every position both have; corrected over all of them.

    A method's name stands for its rows, each compared within its own base model; a row's name stands for that row. The
    first words of a name do for the whole one where they begin one method only.

    Raises:
        InputError: No method or row of such a name.
    """
    places = [(row, base, position) for row, base in _pairs(table, against) for position in _shared(row, base)]
    compared = [gain(table, row, base, *position) for row, base, position in places]
    corrected = iter(correct([each.comparison for each in compared if each.comparison is not None]))
    return [each if each.comparison is None else replace(each, comparison=next(corrected)) for each in compared]


def rivals_of(gains: Sequence[Gain]) -> list[str]:
    """Names of the rows that others are compared with."""
    return list(dict.fromkeys(each.baseline for each in gains))


def gain(table: ComparisonTable, row: Row, baseline: Row, column: str, decoding: str) -> Gain:
    """One paired difference, not corrected; where the two cannot be paired, the reason."""
    try:
        comparison = compare_rows(table, (row, decoding), (baseline, decoding), column)
    except UnpairedError as error:
        return Gain(row.name, column, decoding, None, str(error), baseline.name)
    return Gain(
        row.name, column, decoding, comparison, baseline=baseline.name, formats=differing_formats(row, baseline)
    )


def splits(table: ComparisonTable, baseline: Row) -> list[Split]:
    """Every gain of a method with a reward, split; columns that cannot be paired are left out, and methods that answer
    in another format than the baseline.
    """
    split_gains = []
    for row in table.rows:
        is_of_interest = row.key.reward and row is not baseline and differing_formats(row, baseline) is None
        for column in table.columns if is_of_interest else ():
            split = _split(table, row, baseline, column)
            split_gains += [split] if split is not None else []
    return split_gains


def _named(table: ComparisonTable, name: str) -> list[Row]:
    """The row of that name, or the rows of that method."""
    wanted = name.lower()
    exact = [row for row in table.rows if row.name.lower() == wanted]
    rows = exact or [row for row in table.rows if row.key.method.lower() == wanted]
    if not rows:  # "SFT" for "SFT w. rationale", as long as no other method begins so
        begun = [row for row in table.rows if row.key.method.lower().startswith(f"{wanted} ")]
        rows = begun if len({row.key.method for row in begun}) == 1 else []
    if not rows:
        known = ", ".join(dict.fromkeys(row.name for row in table.rows))
        raise InputError(f"no method {name!r} among the runs to compare against; found: {known}")
    return rows


def _pairs(table: ComparisonTable, against: Sequence[str]) -> Iterator[tuple[Row, Row]]:
    """(row, row it is compared with), each two rows once."""
    seen: set[frozenset[int]] = set()
    for name in against:
        for base in _named(table, name):
            for row in table.rows:
                fits = row.key.stands_beside(base.key) or name.lower() == base.name.lower()
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
