"""What a suite leaves behind beside its report: every cell with its state, its folders and its chosen settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewardlab.disk import write_json
from rewardlab.reports.links import Links
from rewardlab.reports.sections.suite import Choice
from rewardlab.suites.cells import Cell
from rewardlab.suites.file import Suite
from rewardlab.suites.scheduler import Scheduler

RECORD_FILE = "cells.json"


def write_record(out: Path, suite: Suite, scheduler: Scheduler, root: Path, links: Links) -> Path:
    """Write ``cells.json`` into the folder of the report; returns its path.

    A cell has method, task, model, seed, state (done or failed), error, the folders of what it wanted (where
    ``links`` lead), the values that a grid chose for it, and all that were tried with their scores by seed and task.
    """
    failed = {id(cell): why for cell, why in scheduler.failures()}
    rows = [_row(cell, failed.get(id(cell)), root, links) for cell in scheduler.cells]
    write_json(out / RECORD_FILE, {"suite": suite.name, "budget": suite.budget, "cells": rows})
    return out / RECORD_FILE


def choices(found: Sequence[Cell], root: Path) -> list[Choice]:
    """The settings that were chosen, once for all seeds of a method in one place."""
    made = {(cell.method, cell.task, cell.model): cell for cell in found if cell.chosen}
    return [_choice(cell, root) for cell in made.values()]


def _choice(cell: Cell, root: Path) -> Choice:
    scored = [(each.values, score) for each in cell.tries if (score := each.score(root)) is not None]
    chosen = next(number for number, (values, _) in enumerate(scored) if values == cell.chosen)
    seeds = tuple(dict.fromkeys(int(stage.config["seed"]) for stage in cell.tries[0].stages))
    return Choice(f"{cell.method}, {cell.task}, {cell.model}", seeds, scored, chosen)


def _row(cell: Cell, error: str | None, root: Path, links: Links) -> dict[str, Any]:
    return {
        "method": cell.method,
        "task": cell.task,
        "model": cell.model,
        "seed": cell.seed,
        "stage": cell.stage,
        "state": "done" if error is None else "failed",
        "error": error or "",
        "folders": [links.to(goal.folder(root).path) for goal in cell.goals],
        "chosen": dict(cell.chosen),
        "tries": [{"values": dict(each.values), "scores": each.scores(root)} for each in cell.tries],
    }
