"""Paired differences between the methods of a table, as numbers and as plain sentences; and what of a gain is new.

A gain of PPO under sampling has two parts. Sharpening: what greedy decoding of the start model already gives over
sampling from it; a method that only makes the model surer of itself gains this much and no more. The rest: what the
trained model, sampled, gives over the start model decoded greedily.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardlab.errors import InputError
from rewardlab.reports.collect import cells_by_seed
from rewardlab.reports.statistics import Estimate, SeedDraws, UnpairedError, estimate, mean_of, paired_draws
from rewardlab.reports.table import AVERAGE, ComparisonTable, Row

BASELINE = "SFT w. rationale"


@dataclass(frozen=True, slots=True)
class Gain:
    """Difference of a method to the baseline at one position; ``estimate`` is None when ``reason`` says why."""

    method: str
    column: str
    decoding: str
    estimate: Estimate | None
    reason: str = ""


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
    row = table.row(name)
    if row is None:
        known = ", ".join(sorted({row.key.method for row in table.rows}))
        raise InputError(f"no method {name!r} among the runs to compare against; found: {known}")
    return row


def gains(table: ComparisonTable, baseline: Row) -> list[Gain]:
    """Difference of every other method to ``baseline``, at every position both have."""
    return [
        gain(table, row, baseline, column, decoding)
        for row in table.rows
        for column, decoding in table.positions
        if row is not baseline and (column, decoding) in row.scores and (column, decoding) in baseline.scores
    ]


def gain(table: ComparisonTable, row: Row, baseline: Row, column: str, decoding: str) -> Gain:
    """One paired difference; where the two cannot be paired, the reason."""
    name = row_name(row)
    try:
        drawn = _draws(table, (row, decoding), (baseline, decoding), column)
    except UnpairedError as error:
        return Gain(name, column, decoding, None, str(error))
    return Gain(name, column, decoding, estimate(drawn))


def splits(table: ComparisonTable, baseline: Row) -> list[Split]:
    """Every gain of a method with a reward, split; columns that cannot be paired are left out."""
    found = []
    for row in table.rows:
        for column in table.columns if row.key.reward and row is not baseline else ():
            split = _split(table, row, baseline, column)
            found += [split] if split is not None else []
    return found


def row_name(row: Row) -> str:
    """How sentences call a method."""
    return row.key.method


def sentence(gain: Gain, baseline: str = BASELINE) -> str:
    """A difference in plain words, points being hundredths."""
    where = f"{gain.column}, {gain.decoding} decoding"
    if gain.estimate is None:
        return f"{gain.method} and {baseline} are not compared on {where}: {gain.reason}."
    found = gain.estimate
    covered = f"{found.seeds} seed{'s' if found.seeds > 1 else ''}, interval over {found.basis}"
    if not found.excludes_zero:
        numbers = f"{points(found.value)} points {points_interval(found)}"
        return f"{gain.method} and {baseline} do not differ beyond noise on {where}: {numbers} ({covered})."
    verdict = "better" if found.value > 0 else "worse"
    numbers = f"{points(found.value).lstrip('+−')} points {points_interval(found)}"
    return f"{gain.method} is {verdict} than {baseline} by {numbers} on {where} ({covered})."


def points(value: float) -> str:
    """A signed difference in points.

    >>> points(-0.0123)
    '−1.2'
    """
    text = f"{abs(100 * value):.1f}"
    return text if text == "0.0" else f"{'+' if value > 0 else '−'}{text}"


def points_interval(found: Estimate) -> str:
    """The interval of a difference, signed."""
    return f"[{points(found.low)}, {points(found.high)}]"


def _split(table: ComparisonTable, row: Row, baseline: Row, column: str) -> Split | None:
    try:
        return Split(
            row_name(row),
            column,
            sampled=estimate(_draws(table, (row, "sampled"), (baseline, "sampled"), column)),
            sharpening=estimate(_draws(table, (baseline, "greedy"), (baseline, "sampled"), column)),
            rest=estimate(_draws(table, (row, "sampled"), (baseline, "greedy"), column)),
            greedy=estimate(_draws(table, (row, "greedy"), (baseline, "greedy"), column)),
        )
    except UnpairedError:
        return None


def _draws(table: ComparisonTable, a: tuple[Row, str], b: tuple[Row, str], column: str) -> SeedDraws:
    """Paired draws of (row, decoding) a minus b; the average column is the mean over the others."""
    columns: Sequence[str] = list(table.metrics) if column == AVERAGE else [column]
    parts = [_column_draws(table, a, b, name) for name in columns]
    if len({len(part.values) for part in parts}) > 1:
        raise UnpairedError(f"{row_name(a[0])} and {row_name(b[0])}: their columns have different seeds in common")
    return mean_of(parts)


def _column_draws(table: ComparisonTable, a: tuple[Row, str], b: tuple[Row, str], column: str) -> SeedDraws:
    left, right = (cells_by_seed(row.runs, (column, decoding)) for row, decoding in (a, b))
    return paired_draws(left, right, table.metrics[column], (row_name(a[0]), row_name(b[0])))
