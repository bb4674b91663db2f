"""What a suite prints and writes at the end: times, choices, table, report, and the cells that are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rewardlab.annotate.money import Purse
from rewardlab.claims.claim import Claim
from rewardlab.cli.compare import print_comparison
from rewardlab.cli.output import echo
from rewardlab.lab.compared import compare_runs
from rewardlab.pipeline.kinds import stage_kinds
from rewardlab.reports.links import Links
from rewardlab.reports.page import SuiteFacts, write_report
from rewardlab.reports.sections.cards import card_tables
from rewardlab.reports.sections.suite import Choice, suite_sections, write_choices
from rewardlab.reward_models.over_seeds import load_cards
from rewardlab.suites.cells import Cell, distinct, stages_of
from rewardlab.suites.file import Suite
from rewardlab.suites.judged import judge_cells, judged_cells
from rewardlab.suites.record import choices, write_record
from rewardlab.suites.scheduler import Scheduler
from rewardlab.training.methods import methods


def print_suite(
    suite: Suite, scheduler: Scheduler, root: Path, out: Path, command: str, purse: Purse | None = None
) -> int:
    """Write record and report into ``out``, then print the time of each stage and the table of the finished cells.

    Args:
        suite: What was run.
        scheduler: Its cells.
        root: Where run folders live.
        out: Folder of the report; outside ``root`` it gets copies of what is small in the runs that it links to.
        command: What makes the report; printed under it.
        purse: What the suite spends, which pays for what has to be judged; None is what the judge spends.
    Returns:
        How many comparisons could not be judged.
    """
    links = Links(out, brings=not out.resolve().is_relative_to(root.resolve()))
    links.clear()
    write_record(out, suite, scheduler, root, links)
    done, found = scheduler.finished(), choices(scheduler.cells, root)
    times = stage_times(done, root)
    if suite.only_grid:
        if found:
            write_choices(out / "report.md", suite.title or suite.name, found, command)
        _print_times(times, found)
        if found:
            echo(f"settings chosen on validation rows, no test row was answered: {out / 'report.md'}")
        return 0
    folders, cards = [path for cell in done for path in cell.evaluations(root)], _folders(done, "card", root)
    if not folders and not cards:
        _print_times(times, found)
        echo("no cell was evaluated, so there is no table")
        return 0
    unjudged = judge_claims(suite.claim, done, root, purse, suite.against)
    page = write_report(
        out,
        folders,
        [path for kind in methods.every() for path in _folders(done, kind, root)],
        _folders(done, "rm", root),
        _folders(done, "pairs", root),
        times,
        card_runs=cards,
        convention=suite.convention,
        command=command,
        more=suite_sections([(cell.title, why) for cell, why in scheduler.failures()], found, unjudged),
        suite=_facts(suite, done),
        brings_runs=links.brings,
    )
    _print_times(times, found)
    if folders:
        compared = compare_runs(folders, convention=suite.convention, wanted=suite.against)
        print_comparison(compared, suite.budget)
    if cards:
        echo(card_tables(load_cards(cards)))
    echo(f"report: {page} and {page.with_suffix('.html').name} beside it")
    return len(unjudged)


def _print_times(times: Mapping[str, Sequence[tuple[Path, float]]], found: Sequence[Choice]) -> None:
    """The seconds of each stage, then what each grid chose."""
    for title, taken in times.items():
        echo(f"{sum(seconds for _, seconds in taken):8.1f} s  {title}")
    for choice in found:
        echo(str(choice))


def _folders(done: Sequence[Cell], kind: str, root: Path) -> list[Path]:
    """Of the stages of one kind."""
    return [stage.folder(root).path for stage in stages_of(done, kind)]


def _facts(suite: Suite, done: Sequence[Cell]) -> SuiteFacts:
    models, seeds = (list(dict.fromkeys(getattr(cell, name) for cell in done)) for name in ("model", "seed"))
    return SuiteFacts(suite.name, suite.title, suite.budget, suite.claim, models, sorted(seeds), suite.against)


def judge_claims(
    claims: Sequence[Claim],
    done: Sequence[Cell],
    root: Path,
    purse: Purse | None = None,
    against: Sequence[str] = (),
) -> list[tuple[str, str]]:
    """Have the answers judged that a claim compares by a judge, and against every rival; returns what could not be
    judged, and why."""
    heard = [(each.title, judge_cells(each, root, purse)) for each in judged_cells(claims, done, against)]
    problems = [(title, why) for title, why in heard if why is not None]
    for title, why in problems:
        echo(f"{title}: {why}", err=True)
    return problems


def print_failures(scheduler: Scheduler) -> None:
    """One line a missing cell, on standard error."""
    failures = scheduler.failures()
    echo(f"{len(failures)} of {len(scheduler.cells)} cells are missing:", err=True)
    for cell, why in failures:
        echo(f"  {cell.title}: {why}", err=True)


def stage_times(todo: Sequence[Cell], root: Path) -> dict[str, list[tuple[Path, float]]]:
    """Stage -> the folder of each run of it, and the seconds it took when it ran; equal stages of seeds together.

    Tries that a grid did not choose took their time too.
    """
    times: dict[str, list[tuple[Path, float]]] = {}
    stages = distinct(stage for cell in todo for stage in (*cell.chain(), *cell.searched()))
    for kind in stage_kinds():
        for stage in (stage for stage in stages if stage.kind == kind):
            folder = stage.folder(root)
            times.setdefault(stage.title, []).append((folder.path, float(folder.result()["stage_seconds"])))
    return times
