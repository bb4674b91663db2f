"""``rewardlab compare``: the table of methods, from run folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rewardlab.errors import InputError

if TYPE_CHECKING:
    from rewardlab.reports.differences import Gain

MOST_SENTENCES = 12
"""More comparisons than these are told in short."""


class ConventionChoice(StrEnum):
    """Which published rule makes a column's number."""

    RLLR = "rllr"
    PPO_NLU = "ppo-nlu"


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
        typer.Option(help="also write the table (md, tex, csv), differences.csv and reward_curves.svg here"),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also write the whole report here, one page without other files")
    ] = None,
    convention: Annotated[
        ConventionChoice, typer.Option(help="Pearson and accuracy (rllr), or Spearman and F1 (ppo-nlu)")
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
    from rich.console import Console

    from rewardlab.reports.budgets import budget_lines, budgets_grid, ppo_spent
    from rewardlab.reports.collect import collect
    from rewardlab.reports.differences import default_against, gains
    from rewardlab.reports.render import notes, rich_grid, to_rich
    from rewardlab.reports.table import DECODINGS, build_table
    from rewardlab.reports.tradeoffs import headline

    collected = collect(paths)
    decodings = DECODINGS if decoding is DecodingChoice.BOTH else (decoding.value,)
    table = build_table(collected.runs, convention=convention.value, decodings=decodings, warnings=collected.warnings)
    console = Console()
    console.print(*to_rich(table, console.width), sep="\n")
    for line in notes(table):
        console.print(line, style="dim", markup=False, highlight=False)
    if ppo_spent(table):
        console.print(rich_grid(budgets_grid(table, of_ppo_alone=True)))
        for line in budget_lines(table):
            console.print(line, style="dim", markup=False, highlight=False)
    found = gains(table, default_against(table) if against is None else against)
    for line in _told(found, headline(table)):
        console.print(line, markup=False, highlight=False)
    if out is not None:
        from rewardlab.reports.files import write_comparison

        written = write_comparison(table, found, paths, out)
        console.print(f"written: {', '.join(map(str, written))}", markup=False, highlight=False, soft_wrap=True)
    if html is not None:
        from rewardlab.reports.cards import load_cards
        from rewardlab.reports.judged_runs import judged_folders, load_judged
        from rewardlab.reports.page import write_page
        from rewardlab.reports.related import related
        from rewardlab.reports.sections import Report

        behind, judged = related(collected.runs, paths), load_judged(judged_folders(collected.runs))
        cards = load_cards(behind.card)
        report = Report(html.parent, table, found, behind, None, "rewardlab compare", judged=judged, cards=cards)
        console.print(f"written: {write_page(html, report)}", markup=False, highlight=False, soft_wrap=True)


def _told(found: Sequence[Gain], column: str) -> Iterator[str]:
    """All differences as sentences, or, where they are many, what they come to in the main column."""
    from rewardlab.reports.differences import p_value_note, sentence
    from rewardlab.reports.in_short import in_short

    if len(found) <= MOST_SENTENCES:
        yield from map(sentence, found)
    else:
        yield from (line for line, _ in in_short(found, column))
        yield f"All {len(found)} comparisons, column by column, are in differences.csv of --out FOLDER."
    if found:
        yield p_value_note(found)
