"""All differences of a table as lines with their tests: what stands folded under the lines that say it in short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rewardlab.comparison.differences import Gain, gain_row
from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, Source, sources_at
from rewardlab.comparison.table import Row

EXPLAINED = (
    "Effect size: Cohen's h of shares, q of correlations; won and lost: test items that only the first, or only the "
    "second, answered right."
)
TITLES = ("comparison", "effect size", "won and lost, seed by seed")


def differences_grid(found: Sequence[Gain], rows: Mapping[str, Row]) -> Grid:
    """A line a comparison: its sentence, and the tests that the sentence has no room for.

    Args:
        found: The differences.
        rows: The table's rows by name.
    """
    headings = [Heading(title, is_number=False) for title in TITLES]
    return Grid(headings, [_line(gain, rows) for gain in found])


def gain_sources(gain: Gain, rows: Mapping[str, Row]) -> list[Source]:
    """The evaluations behind a difference."""
    position = (gain.column, gain.decoding)
    return [source for name in (gain.method, gain.baseline) for source in sources_at(rows[name], position)]


def _line(gain: Gain, rows: Mapping[str, Row]) -> list[Cell]:
    row = gain_row(gain)
    effect = f"{row['effect']} = {row['effect_value']:.2f}, {row['effect_size']}" if row["effect"] else MISSING
    return [
        Cell(row["sentence"], sources=gain_sources(gain, rows)),
        Cell(effect),
        Cell(row["won_and_lost"] or MISSING),
    ]
