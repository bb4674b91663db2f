"""``rewardlab compare``: the table of methods, from run folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardlab.cli.output import echo
from rewardlab.errors import InputError
from rewardlab.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

    from rewardlab.comparison.differences import Gain
    from rewardlab.comparison.table import ComparisonTable
    from rewardlab.lab.compared import Compared

MOST_SENTENCES = 12
"""More sentences than these are told in short."""


class ConventionChoice(StrEnum):
    """Which published rule makes a column's number."""

    RLLR = "rllr"
    PPO_NLU = "ppo-nlu"
    LEADERBOARD = "leaderboard"


class DecodingChoice(StrEnum):
    """Which decodings are shown."""

    BOTH = "both"
    SAMPLED = "sampled"
    GREEDY = "greedy"


def compare(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN...", help="evaluations, trained runs, or folders of runs")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="also write the table (md, tex, csv), differences.csv and pictures (svg, pdf) here"),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="also write the whole report here, one page; its pictures lie beside it as PDF"
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="also draw the differences with their intervals here (pdf, svg or png)"),
    ] = None,
    convention: Annotated[
        ConventionChoice,
        typer.Option(
            help="Pearson and accuracy (rllr); Spearman, F1 and averages without WNLI and AX (ppo-nlu); means of a "
            "task's metrics, as GLUE and SuperGLUE score (leaderboard)"
        ),
    ] = ConventionChoice.RLLR,
    decoding: Annotated[DecodingChoice, typer.Option(help="decodings to show")] = DecodingChoice.BOTH,
    against: Annotated[
        list[str] | None,
        typer.Option(help="method to compare all others with, item by item; repeatable [default: SFT w. rationale]"),
    ] = None,
) -> None:
    """Compare methods: one table with 95 % intervals, best bold, second underlined; differences as sentences."""
    if not paths:
        raise InputError("compare: no runs given; name evaluation folders, or a folder of runs such as runs/")
    from rewardlab.lab.compared import compare_runs

    decodings = None if decoding is DecodingChoice.BOTH else (decoding.value,)
    compared = compare_runs(paths, convention=convention.value, decodings=decodings, against=against)
    written = compared.write(out, html=html, figure=figure) if out or html or figure else []
    print_comparison(compared)
    if written:
        echo(f"written: {', '.join(map(str, written))}")


def print_comparison(compared: Compared, budget: str = "updates") -> None:
    """Print the table, what PPO spent, and the differences; files are written before, since a terminal may fail.

    Args:
        compared: What to print.
        budget: What PPO rows were meant to be equal in: updates, tokens or seconds.
    """
    from rich.console import Console

    from rewardlab.comparison.budgets import budget_lines
    from rewardlab.comparison.notes import notes
    from rewardlab.comparison.table import headline
    from rewardlab.comparison.terminal import spent_tables, to_rich

    console, table = Console(), compared.table
    console.print(*to_rich(table, console.width), sep="\n")
    _print_lines(console, notes(table), style="dim")
    _print_by_label(console, table)
    if spent := spent_tables(table, console.width):
        console.print(*spent, sep="\n")
        _print_lines(console, budget_lines(table, budget), style="dim")
    _print_lines(console, _told(compared.gains, headline(table)))


def _print_by_label(console: Console, table: ComparisonTable) -> None:
    """Accuracy by gold label, where labels are uneven, and confidence, where answers state any."""
    from rewardlab.comparison.by_label import EXPLAINED, all_by_label, by_label_grid
    from rewardlab.comparison.confidence import EXPLAINED as STATED
    from rewardlab.comparison.confidence import all_confidences, confidence_grid
    from rewardlab.comparison.terminal import rich_grid

    if found := all_by_label(table):
        console.print(rich_grid(by_label_grid(table, found)))
        _print_lines(console, [EXPLAINED], style="dim")
    if stated := all_confidences(table):
        console.print(rich_grid(confidence_grid(table, stated)))
        _print_lines(console, [STATED], style="dim")


def _print_lines(console: Console, lines: Iterable[str], style: str | None = None) -> None:
    for line in lines:
        console.print(printable(line), style=style, markup=False, highlight=False)


def _told(found: Sequence[Gain], column: str) -> Iterator[str]:
    """All differences as sentences, or, where they are many, what they come to in the main column."""
    from rewardlab.comparison.difference_text import in_short, p_value_note, sentences

    if len(told := sentences(found)) <= MOST_SENTENCES:
        yield from told
    else:
        yield from (line for line, _ in in_short(found, column))
        yield f"All {len(found)} comparisons, column by column, are in differences.csv of --out FOLDER."
    if note := p_value_note(found):
        yield note
