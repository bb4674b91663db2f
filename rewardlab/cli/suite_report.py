"""What a suite prints and writes at the end: times, choices, table, report, and the cells that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from rewardlab.cli.compare import compare
from rewardlab.pipeline.suite_board import Board
from rewardlab.pipeline.suite_cells import Cell, stages_of
from rewardlab.pipeline.suite_file import Suite
from rewardlab.pipeline.suite_record import choices, write_record
from rewardlab.reports.card_sections import card_tables
from rewardlab.reports.cards import load_cards
from rewardlab.reports.page import write_report
from rewardlab.reports.suite import suite_sections

KINDS = ("annotate", "sft", "samples", "pairs", "rm", "card", "ppo", "validate", "eval")


def print_suite(suite: Suite, board: Board, root: Path, out: Path) -> None:
    """Print the time of each stage and the table of the finished cells; write record and report into ``out``."""
    write_record(out, suite, board, root)
    done, found = board.finished(), choices(board.cells, root)
    times = stage_times(done, root)
    for title, taken in times.items():
        typer.echo(f"{sum(seconds for _, seconds in taken):8.1f} s  {title}")
    for line in found:
        typer.echo(str(line))
    folders = [path for cell in done for path in cell.evaluations(root)]
    ppo, rm, pairs, cards = (
        [stage.folder(root).path for stage in stages_of(done, kind)] for kind in ("ppo", "rm", "pairs", "card")
    )
    if not folders and not cards:
        typer.echo("no cell was evaluated, so there is no table")
        return
    if folders:
        compare(folders)
    if cards:
        typer.echo(card_tables(load_cards(cards)))
    page = write_report(
        out,
        folders,
        ppo,
        rm,
        pairs,
        times,
        card_runs=cards,
        command=f"rewardlab suite run ({suite.name})",
        more=suite_sections([(cell.title, why) for cell, why in board.failures()], found),
    )
    typer.echo(f"report: {page} and {page.with_suffix('.html').name} beside it")


def print_failures(board: Board) -> None:
    """One line a missing cell, on standard error."""
    failures = board.failures()
    typer.echo(f"{len(failures)} of {len(board.cells)} cells are missing:", err=True)
    for cell, why in failures:
        typer.echo(f"  {cell.title}: {why}", err=True)


def stage_times(todo: Sequence[Cell], root: Path) -> dict[str, list[tuple[Path, float]]]:
    """Stage -> the folder of each run of it, and the seconds it took when it ran; equal stages of seeds together."""
    times: dict[str, list[tuple[Path, float]]] = {}
    for kind in KINDS:
        for stage in stages_of(todo, kind):
            folder = stage.folder(root)
            times.setdefault(stage.title, []).append((folder.path, float(folder.result()["stage_seconds"])))
    return times
