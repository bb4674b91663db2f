"""What a suite prints at the end: times, choices, table, where the report lies, and the cells that are missing."""

from __future__ import annotations

from rewardlab.cli.compare import print_comparison
from rewardlab.cli.output import echo
from rewardlab.lab.suite_run import SuiteRun
from rewardlab.reports.sections.cards import card_tables
from rewardlab.reward_models.over_seeds import load_cards
from rewardlab.suites.file import Suite


def print_suite(suite: Suite, run: SuiteRun) -> None:
    """Print the time of each stage, what each grid chose, and the table of the finished cells."""
    for title, taken in run.seconds.items():
        echo(f"{sum(seconds for _, seconds in taken):8.1f} s  {title}")
    for choice in run.choices:
        echo(str(choice))
    if suite.only_grid:
        if run.report:
            echo(f"settings chosen on validation rows, no test row was answered: {run.report}")
        return
    if run.compared is not None:
        print_comparison(run.compared, suite.budget)
    if run.cards:
        echo(card_tables(load_cards(run.cards)))
    if run.report is None:
        echo("no cell was evaluated, so there is no table")
    else:
        echo(f"report: {run.report} and {run.report.with_suffix('.html').name} beside it")


def print_missing(run: SuiteRun) -> None:
    """One line a missing cell, on standard error."""
    echo(f"{len(run.missing)} of {run.cells} cells are missing:", err=True)
    for title, why in run.missing:
        echo(f"  {title}: {why}", err=True)
