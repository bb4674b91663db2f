"""What a suite prints and writes at the end: times, table, report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from rewardlab.cli.compare import compare
from rewardlab.pipeline.suite_cells import Cell, stages_of
from rewardlab.pipeline.suite_file import Suite
from rewardlab.reports.page import write_report

KINDS = ("annotate", "sft", "samples", "pairs", "rm", "ppo", "eval")


def print_suite(suite: Suite, todo: Sequence[Cell], folders: Sequence[Path], root: Path, out: Path) -> None:
    """Print the time of each stage and the table; write the report into ``out``."""
    times = stage_times(todo, root)
    for title, taken in times.items():
        typer.echo(f"{sum(seconds for _, seconds in taken):8.1f} s  {title}")
    compare(list(folders))
    kinds = {kind: [stage.folder(root).path for stage in stages_of(todo, kind)] for kind in ("ppo", "rm", "pairs")}
    page = write_report(
        out, folders, kinds["ppo"], kinds["rm"], kinds["pairs"], times, command=f"rewardlab suite run ({suite.name})"
    )
    typer.echo(f"report: {page} and {page.with_suffix('.html').name} beside it")


def stage_times(todo: Sequence[Cell], root: Path) -> dict[str, list[tuple[Path, float]]]:
    """Stage -> the folder of each run of it, and the seconds it took when it ran; equal stages of seeds together."""
    times: dict[str, list[tuple[Path, float]]] = {}
    for kind in KINDS:
        for stage in stages_of(todo, kind):
            folder = stage.folder(root)
            times.setdefault(stage.title, []).append((folder.path, float(folder.result()["stage_seconds"])))
    return times
