"""README's results: a table of methods under both decodings with their paired differences, and what they come to.

Run as ``python -m experiments.tools.readme_table RUNS...``, a table for each column goes to standard output. With
``--readme FILE`` the main column's table and the sentences that the differences earn take the place of the block in
that file, between two comments of which the first holds the command. A file without a block gets one under its heading
"What came out". ``--sentences 3`` leaves the table out and keeps three sentences with links to the reports, which is
what a short README needs. A test makes the block again and compares.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rewardlab.claims.rivals import measure_gains, measures_note, told_of
from rewardlab.comparison.conventions import metric_title
from rewardlab.comparison.difference_text import in_short, p_value_note
from rewardlab.comparison.differences import BASELINE, Gain, find_baseline, gains, rivals_of
from rewardlab.comparison.grid import (
    MISSING,
    OTHER_FORMAT,
    TROUBLE,
    Cell,
    Grid,
    Heading,
    is_troubled,
    score_cell,
    sign_of,
)
from rewardlab.comparison.markdown import markdown_grid
from rewardlab.comparison.notes import notes
from rewardlab.comparison.numbers import points, points_interval, shown_value
from rewardlab.comparison.runs import collect
from rewardlab.comparison.statistics import RESAMPLES
from rewardlab.comparison.table import AVERAGE, ComparisonTable, Row, build_table, headline
from rewardlab.disk import write_atomic
from rewardlab.errors import InputError, RewardlabError
from rewardlab.judge.verdicts import load_judged


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
    told = _by_place(found, baseline)
    parts = [f"**{_title(table, column)}**\n\n{_column(table, column, baseline, told)}\n" for column in table.columns]
    return "\n".join([*parts, *(f"{line}  " for line in _small_print(table, found)), ""])


BEGIN, END = "<!-- results, made by: {command} -->", "<!-- end of results -->"
HEADING = "## What came out\n"
MODULE = "python -m experiments.tools.readme_table"
BLOCK = re.compile(r"<!-- results, made by: (?P<command>[^\n]*?) -->\n(?P<text>.*?)<!-- end of results -->", re.S)


def readme_block(
    paths: Sequence[Path],
    *,
    against: Sequence[str] = (BASELINE,),
    convention: str = "rllr",
    resamples: int = RESAMPLES,
    sentences: int | None = None,
) -> str:
    """What README says of results: the main column's table, and every sentence as the corrected differences have it.

    Args:
        paths: Evaluations, or a report that brings its runs.
        against: Rivals; differences in the table are to the first, sentences are about all.
        convention: ``rllr`` or ``ppo-nlu``.
        resamples: Bootstrap resamples.
        sentences: Most sentences, in place of the table; links to the reports beside ``paths`` follow them.
    Raises:
        InputError: No evaluation could be used, or no method is called as ``against`` says.
    """
    collected = collect(paths)
    table = build_table(collected.runs, convention=convention, warnings=collected.warnings, resamples=resamples)
    baseline, column = find_baseline(table, against[0]), headline(table)
    found = gains(table, against)
    shown = f"**{_title(table, column)}**\n\n{_column(table, column, baseline, _by_place(found, baseline))}"
    told = [line for line, _ in in_short(found, column)]
    if sentences is not None:
        reports = ", ".join(f"[{path.name}]({(path / 'report.md').as_posix()})" for path in paths)
        return "\n".join(f"* {line}" for line in told[:sentences]) + f"\n\nAll methods and differences: {reports}.\n"
    more = measure_gains(table, rivals_of(found), load_judged(collected.runs))
    told += [line for line, _ in told_of(more)]
    small = [line for line in (*_small_print(table, found), measures_note(more)) if line]
    return (
        "\n\n".join([shown, "\n".join(f"* {line}" for line in told), "\n".join(f"{line}  " for line in small)]) + "\n"
    )


def with_block(text: str, block: str, command: str) -> str:
    """A README with this block in place of the one it has, or under its heading "What came out".

    Raises:
        InputError: It has several blocks, or neither a block nor the heading.
    """
    made = f"{BEGIN.format(command=command)}\n{block}{END}"
    blocks = len(BLOCK.findall(text))
    if not blocks and text.count(HEADING) == 1:
        return text.replace(HEADING, f"{HEADING}\n{made}\n")
    if blocks != 1:
        raise InputError(f"found {blocks} blocks of results, expected one, or the heading {HEADING.strip()!r}")
    return BLOCK.sub(lambda _: made, text)


def _small_print(table: ComparisonTable, found: Sequence[Gain]) -> list[str]:
    """How to read the table and its differences."""
    lines = notes(table, is_brief=True, compares_formats=any(each.formats for each in found))
    return [line for line in (*lines, p_value_note(found)) if line]


def _title(table: ComparisonTable, column: str) -> str:
    return "average over tasks" if column == AVERAGE else f"{column}, {metric_title(table.metrics[column])}"


def _column(table: ComparisonTable, column: str, baseline: Row, told: Mapping[tuple[str, str, str], Gain]) -> str:
    trouble = TROUBLE if is_troubled(table) else {}
    headings = [Heading("method", is_number=False)]
    for decoding in table.decodings:
        headings += [Heading(decoding), Heading(f"{decoding}, over {baseline.name}")]
        headings += [Heading(f"{decoding}, {title}") for title in trouble.values()]
    headings += [Heading("gold labels"), Heading("annotator calls")]
    rows = []
    for number, row in enumerate(table.rows):
        cells = [Cell(row.name)]
        for decoding in table.decodings:
            place = (number, (column, decoding))
            value = score_cell(row, place[1], table.marks.get(place, ""), sign_of(table, place))
            cells += [replace(value, spread="")]
            cells += [_difference(told.get((row.name, column, decoding)))]
            cells += [_share(row.summaries.get(place[1], {}).get(name)) for name in trouble]
        rows.append([*cells, *(Cell(f"{row.cost[name]:.0f}") for name in ("gold_labels", "annotator_calls"))])
    return markdown_grid(Grid(headings, rows))


def _by_place(found: Sequence[Gain], baseline: Row) -> dict[tuple[str, str, str], Gain]:
    """(method, column, decoding) -> its difference to one rival."""
    return {(each.method, each.column, each.decoding): each for each in found if each.baseline == baseline.name}


def _difference(found: Gain | None) -> Cell:
    """Corrected over all differences of the page; a dash for the baseline, and where one has no value."""
    if found is None:
        return Cell(MISSING)
    size = found.estimate
    if size is None:
        return Cell("not paired")
    return Cell(points(size.value), points_interval(size), sign=OTHER_FORMAT if found.formats else "")


def _share(value: float | None) -> Cell:
    return Cell(MISSING if value is None else shown_value(value))


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line: runs, against, convention, readme."""
    parser = argparse.ArgumentParser(prog="experiments.tools.readme_table", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="evaluation folders, method runs, or folders of runs")
    parser.add_argument("--against", action="append", help=f"rivals, the table's first; default: {BASELINE}")
    parser.add_argument("--convention", default="rllr", help="rllr or ppo-nlu")
    parser.add_argument("--readme", type=Path, help="write the block of results in this file")
    parser.add_argument("--sentences", type=int, help="with --readme: so many sentences in place of the table")
    given = parser.parse_args(arguments)
    given.against = given.against or [BASELINE]
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    typed = sys.argv[1:] if arguments is None else list(arguments)
    given = parsed(typed)
    try:
        if given.readme is not None:
            block = readme_block(
                given.runs, against=given.against, convention=given.convention, sentences=given.sentences
            )
            text = given.readme.read_text(encoding="utf-8")
            write_atomic(given.readme, with_block(text, block, f"{MODULE} {shlex.join(typed)}"))
        else:
            sys.stdout.write(readme_table(given.runs, against=given.against[0], convention=given.convention))
    except OSError as error:
        sys.stderr.write(f"error: {given.readme}: {error.strerror}; give an existing file\n")
        return InputError.exit_code
    except RewardlabError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
