"""The sections on how long stages took, and how each row was made."""

from __future__ import annotations

from pathlib import Path

from rewardlab.comparison.grid import MISSING, Cell, Grid, Heading, Source
from rewardlab.comparison.runs import trained_folder
from rewardlab.reports.blocks import Block, Table, Text
from rewardlab.reports.links import Links
from rewardlab.reports.report import Report, Timings


def time_blocks(timings: Timings) -> list[Block]:
    if not timings:
        return [Text("Not recorded.")]
    totals = {stage: sum(seconds for _, seconds in runs) for stage, runs in timings.items()}
    rows = [
        [Cell(stage), Cell(f"{totals[stage]:.1f}", sources=[Source(path, f"{s:.1f}") for path, s in runs])]
        for stage, runs in timings.items()
    ]
    rows.append([Cell("total"), Cell(f"{sum(totals.values()):.1f}")])
    return [Table(Grid([Heading("stage", is_number=False), Heading("seconds")], rows))]


def origin_blocks(report: Report) -> list[Block]:
    titles = ("method", "seed", "evaluation", "config", "trained run", "fingerprint", "code", "command")
    links = report.links
    rows = [
        [
            Cell(run.key.method),
            Cell(str(run.seed)),
            _folder_cell(links, run.path),
            Cell("config", href=links.to(run.path, "config.json")),
            _folder_cell(links, trained_folder(run)),
            Cell(run.fingerprint, is_code=True),
            Cell(run.version),
            Cell(run.command, is_code=True) if run.command else Cell(MISSING),
        ]
        for row in report.table.rows
        for run in sorted(row.runs, key=lambda run: run.seed)
    ]
    listed = Grid([Heading(title, is_number=title == "seed") for title in titles], rows)
    return [Table(listed, f"All {len(rows)} evaluations, with their folders, fingerprints and commands")]


def _folder_cell(links: Links, target: Path | None) -> Cell:
    return Cell(MISSING) if target is None else Cell(target.name, href=links.to(target))
