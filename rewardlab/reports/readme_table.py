"""README's table: for each column, methods with both decodings and their paired difference to one baseline.

Run as ``python -m rewardlab.reports.readme_table RUNS...``; the Markdown goes to standard output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rewardlab.errors import RewardlabError
from rewardlab.reports.collect import collect
from rewardlab.reports.conventions import metric_title
from rewardlab.reports.differences import BASELINE, Gain, find_baseline, gains, p_value_note, points, points_interval
from rewardlab.reports.render import MISSING, Cell, Grid, Heading, markdown_grid, notes, score_cell, sign_of
from rewardlab.reports.statistics import RESAMPLES
from rewardlab.reports.table import AVERAGE, ComparisonTable, Row, build_table, marks


def readme_table(
    paths: Sequence[Path], *, against: str = BASELINE, convention: str = "rllr", resamples: int = RESAMPLES
) -> str:
    """Markdown for README from the evaluations behind ``paths``.

    Raises:
        InputError: No evaluation could be used, or no method is called ``against``.
    """
    collected = collect(paths)
    table = build_table(collected.runs, convention=convention, warnings=collected.warnings, resamples=resamples)
    baseline = find_baseline(table, against)
    found = gains(table, [against])
    told = {(each.method, each.column, each.decoding): each for each in found}
    parts = [f"**{_title(table, column)}**\n\n{_column(table, column, baseline, told)}\n" for column in table.columns]
    return "\n".join([*parts, *(f"{line}  " for line in [*notes(table), p_value_note(found)] if line), ""])


def _title(table: ComparisonTable, column: str) -> str:
    return "average over tasks" if column == AVERAGE else f"{column}, {metric_title(table.metrics[column])}"


def _column(table: ComparisonTable, column: str, baseline: Row, told: Mapping[tuple[str, str, str], Gain]) -> str:
    headings = [Heading("method", is_number=False)]
    for decoding in table.decodings:
        headings += [Heading(decoding), Heading(f"{decoding}, over {baseline.key.method}")]
    headings += [Heading("gold labels"), Heading("annotator calls")]
    marked = marks(table)
    rows = []
    for number, row in enumerate(table.rows):
        cells = [Cell(row.key.method)]
        for decoding in table.decodings:
            place = (number, (column, decoding))
            value = score_cell(row, place[1], marked.get(place, ""), sign_of(table, place))
            cells += [replace(value, spread="")]
            cells += [_difference(told.get((row.name, column, decoding)))]
        rows.append([*cells, *(Cell(f"{row.cost[name]:.0f}") for name in ("gold_labels", "annotator_calls"))])
    return markdown_grid(Grid(headings, rows))


def _difference(found: Gain | None) -> Cell:
    """Corrected over all differences of the page; a dash for the baseline, and where one has no value."""
    if found is None:
        return Cell(MISSING)
    size = found.estimate
    return Cell("not paired") if size is None else Cell(points(size.value), points_interval(size))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="rewardlab.reports.readme_table", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="evaluation folders, method runs, or folders of runs")
    parser.add_argument("--against", default=BASELINE, help="the method that differences are taken to")
    parser.add_argument("--convention", default="rllr", help="rllr or ppo-nlu")
    given = parser.parse_args(arguments)
    try:
        text = readme_table(given.runs, against=given.against, convention=given.convention)
    except RewardlabError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
