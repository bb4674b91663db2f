"""What a suite prints and writes at the end: times, choices, table, report, and the cells that are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Literal

import typer

from rewardlab.cli.compare import ConventionChoice, compare
from rewardlab.errors import RewardlabError
from rewardlab.pipeline.judging import has_judge, judge_runs
from rewardlab.reports.card_sections import card_tables
from rewardlab.reports.cards import load_cards
from rewardlab.reports.claim import Claim
from rewardlab.reports.collect import load_eval
from rewardlab.reports.links import Links
from rewardlab.reports.page import SuiteFacts, write_report
from rewardlab.reports.suite import Choice, suite_sections
from rewardlab.suites.board import Board
from rewardlab.suites.cells import Cell, distinct, stages_of
from rewardlab.suites.file import Suite
from rewardlab.suites.record import choices, write_record

KINDS = ("annotate", "sft", "samples", "pairs", "rm", "card", "ppo", "validate", "eval")


def print_suite(suite: Suite, board: Board, root: Path, out: Path, command: str) -> None:
    """Print the time of each stage and the table of the finished cells; write record and report into ``out``.

    Args:
        suite: What was run.
        board: Its cells.
        root: Where run folders live.
        out: Folder of the report; outside ``root`` it gets copies of what is small in the runs that it links to.
        command: What makes the report; printed under it.
    """
    links = Links(out, brings=not out.resolve().is_relative_to(root.resolve()))
    links.clear()
    write_record(out, suite, board, root, links)
    done, found = board.finished(), choices(board.cells, root)
    times = stage_times(done, root)
    _print_times(times, found)
    folders, cards = [path for cell in done for path in cell.evaluations(root)], _folders(done, "card", root)
    if not folders and not cards:
        typer.echo("no cell was evaluated, so there is no table")
        return
    if folders:
        compare(folders, convention=ConventionChoice(suite.convention))
        judge_claims(suite.claim, done, root)
    if cards:
        typer.echo(card_tables(load_cards(cards)))
    page = write_report(
        out,
        folders,
        _folders(done, "ppo", root),
        _folders(done, "rm", root),
        _folders(done, "pairs", root),
        times,
        card_runs=cards,
        convention=suite.convention,
        command=command,
        more=suite_sections([(cell.title, why) for cell, why in board.failures()], found),
        suite=_facts(suite, done),
        brings_runs=links.brings,
    )
    typer.echo(f"report: {page} and {page.with_suffix('.html').name} beside it")


def _print_times(times: Mapping[str, Sequence[tuple[Path, float]]], found: Sequence[Choice]) -> None:
    """The seconds of each stage, then what each grid chose."""
    for title, taken in times.items():
        typer.echo(f"{sum(seconds for _, seconds in taken):8.1f} s  {title}")
    for choice in found:
        typer.echo(str(choice))


def _folders(done: Sequence[Cell], kind: str, root: Path) -> list[Path]:
    """Of the stages of one kind."""
    return [stage.folder(root).path for stage in stages_of(done, kind)]


def _facts(suite: Suite, done: Sequence[Cell]) -> SuiteFacts:
    models, seeds = (list(dict.fromkeys(getattr(cell, name) for cell in done)) for name in ("model", "seed"))
    return SuiteFacts(suite.name, suite.title, suite.budget, suite.claim, models, sorted(seeds))


def judge_claims(claims: Sequence[Claim], done: Sequence[Cell], root: Path) -> None:
    """Have the answers judged that a claim compares by a judge, seed by seed; what cannot be judged is told."""
    for claim in claims:
        for cell in done if claim.measure == "judged" and not claim.not_testable else ():
            rivals = [other for other in done if other.method == claim.than and _place(other) == _place(cell)]
            if cell.method == claim.better and rivals and has_judge(cell.config):
                _judge(cell, rivals[0], claim.decoding, root)


def _place(cell: Cell) -> tuple[str, str, int]:
    return cell.task, cell.model, cell.seed


def _judge(cell: Cell, rival: Cell, decoding: Literal["sampled", "greedy"], root: Path) -> None:
    """All evaluations of the one with those of the other that have the same items."""
    problems = []
    pairs = list(product(cell.evaluations(root), rival.evaluations(root)))
    for a, b in pairs:
        try:
            judge_runs(load_eval(a), load_eval(b), cell.config, root, decoding)
        except RewardlabError as error:
            problems.append(str(error))
    if len(problems) == len(pairs):
        typer.echo(f"{cell.title} and {rival.method} are not judged: {problems[0]}", err=True)


def print_failures(board: Board) -> None:
    """One line a missing cell, on standard error."""
    failures = board.failures()
    typer.echo(f"{len(failures)} of {len(board.cells)} cells are missing:", err=True)
    for cell, why in failures:
        typer.echo(f"  {cell.title}: {why}", err=True)


def stage_times(todo: Sequence[Cell], root: Path) -> dict[str, list[tuple[Path, float]]]:
    """Stage -> the folder of each run of it, and the seconds it took when it ran; equal stages of seeds together.

    Tries that a grid did not choose took their time too.
    """
    times: dict[str, list[tuple[Path, float]]] = {}
    stages = distinct(stage for cell in todo for stage in (*cell.chain(), *cell.searched()))
    for kind in KINDS:
        for stage in (stage for stage in stages if stage.kind == kind):
            folder = stage.folder(root)
            times.setdefault(stage.title, []).append((folder.path, float(folder.result()["stage_seconds"])))
    return times
